# SPDX-License-Identifier: Apache-2.0
"""Specs are approved before they are built, and every change has a reviewer who knows the data."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from ipai_kit.spec import load_spec

ROOT = Path(__file__).resolve().parents[1]
TAPS = sorted(path.parent for path in ROOT.glob("taps/tap-*/pyproject.toml"))
MUST_BE_OWNED = ("taps/", "targets/", "kit/", "supabase/", "transform/")


def git(*words: str, root: Path = ROOT) -> str:
    said = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    return said.stdout if said.returncode == 0 else ""


def owners(text: str) -> list[tuple[str, list[str]]]:
    """Patterns and their owners, in order."""
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return [(words[0], words[1:]) for words in lines if words]


def matches(pattern: str, path: str) -> bool:
    """GitHub's rules, as far as our file uses them."""
    plain = pattern.removeprefix("/").replace("**", "*")
    return fnmatch.fnmatchcase(path, plain)


CODEOWNERS = owners((ROOT / ".github/CODEOWNERS").read_text(encoding="utf-8"))


def owners_of(path: str) -> list[str]:
    found = [names for pattern, names in CODEOWNERS if matches(pattern, path)]
    return found[-1] if found else []


def is_released(manifest: Path) -> bool:
    """A connector is released from version 1 on; before, its spec may still wait for approval."""
    version = tomllib.loads(manifest.read_text(encoding="utf-8"))["project"]["version"]
    return int(re.match(r"\d+", version).group()) >= 1


def first_commit(path: str, added: str, root: Path) -> int | None:
    """When a text was first committed to a file, in seconds; None: never."""
    times = git("log", "--reverse", "--format=%ct", f"-S{added}", "--", path, root=root).split()
    return int(times[0]) if times else None


def missing_approval(tap: Path, root: Path = ROOT) -> list[str]:
    """What keeps a released connector from having been approved before it was built."""
    if not is_released(tap / "pyproject.toml"):
        return []
    (spec,) = tap.glob("tap_*/connector.yaml")
    approvers = yaml.safe_load(spec.read_text(encoding="utf-8")).get("approved_by") or []
    if not approvers:
        return [f"{spec.name} of {tap.name} names nobody in approved_by"]
    path = str(spec.relative_to(root))
    strangers = [name for name in approvers if name not in owners_of(path)]
    problems = [f"{name} is no code owner of {path}" for name in strangers]
    approved = first_commit(path, approvers[0], root)
    built = first_commit(str((spec.parent / "tap.py").relative_to(root)), "class ", root)
    if approved is not None and built is not None and built < approved:
        problems.append(f"{tap.name} was built before its spec was approved")
    return problems


@pytest.mark.parametrize("tap", TAPS, ids=lambda tap: tap.name)
def test_a_released_connector_has_a_spec_that_was_approved_first(tap):
    assert missing_approval(tap) == []


@pytest.mark.parametrize("tap", TAPS, ids=lambda tap: tap.name)
def test_an_approver_is_an_account_that_reviews_the_spec(tap):
    (path,) = tap.glob("tap_*/connector.yaml")

    assert set(load_spec(path).approved_by) <= set(owners_of(str(path.relative_to(ROOT))))


def commit(root: Path, name: str, text: str, at: int) -> None:
    file = root / "taps/tap-x" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    git("add", ".", root=root)
    environment = {"GIT_COMMITTER_DATE": f"{at} +0000", "GIT_AUTHOR_DATE": f"{at} +0000"}
    subprocess.run(
        ["git", *who, "commit", "-q", "-m", "x"],
        cwd=root,
        check=True,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def manifest(version: str) -> str:
    return f'[project]\nname = "x"\nversion = "{version}"\n'


NOBODY, OWNER = "approved_by: []\n", 'approved_by: ["@ipai/data-engineers"]\n'


@pytest.mark.parametrize(
    ("version", "steps", "expected"),
    [
        ("0.9", [("tap_x/connector.yaml", NOBODY), ("tap_x/tap.py", "class A: ...\n")], []),
        ("1.0", [("tap_x/connector.yaml", OWNER), ("tap_x/tap.py", "class A: ...\n")], []),
        (
            "1.0",
            [("tap_x/connector.yaml", NOBODY), ("tap_x/tap.py", "class A: ...\n")],
            ["connector.yaml of tap-x names nobody in approved_by"],
        ),
        (
            "1.0",
            [("tap_x/connector.yaml", "a: 1\n"), ("tap_x/tap.py", "class A: ...\n")],
            ["connector.yaml of tap-x names nobody in approved_by"],
        ),
        (
            "2.1",
            [("tap_x/tap.py", "class A: ...\n"), ("tap_x/connector.yaml", OWNER)],
            ["tap-x was built before its spec was approved"],
        ),
        (
            "1.0",
            [
                ("tap_x/connector.yaml", 'approved_by: ["@someone"]\n'),
                ("tap_x/tap.py", "class A: ...\n"),
            ],
            ["@someone is no code owner of taps/tap-x/tap_x/connector.yaml"],
        ),
    ],
)
def test_the_history_tells_what_was_built_before_it_was_approved(
    tmp_path, version, steps, expected
):
    git("init", "-q", root=tmp_path)
    for number, (name, text) in enumerate([("pyproject.toml", manifest(version)), *steps]):
        commit(tmp_path, name, text, 1_700_000_000 + number)

    assert missing_approval(tmp_path / "taps/tap-x", tmp_path) == expected


def tracked() -> list[str]:
    files = git("ls-files").split("\n")
    if files == [""]:
        pytest.skip("this is no git checkout")
    return [name for name in files if name]


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in CODEOWNERS])
def test_every_pattern_of_the_code_owners_matches_a_file(pattern):
    assert any(matches(pattern, path) for path in tracked())


def test_every_file_of_data_and_database_is_reviewed_by_a_data_engineer():
    unowned = [
        path
        for path in tracked()
        if path.startswith(MUST_BE_OWNED) and "@ipai/data-engineers" not in owners_of(path)
    ]

    assert unowned == []
    assert all(any(path.startswith(place) for path in tracked()) for place in MUST_BE_OWNED)


def test_every_pattern_names_an_owner():
    assert [pattern for pattern, names in CODEOWNERS if not names] == []


def test_contributing_says_how_the_branch_is_protected():
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())

    assert "one approval of a code owner" in text
    assert ".github/CODEOWNERS" in text
