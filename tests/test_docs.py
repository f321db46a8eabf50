# SPDX-License-Identifier: Apache-2.0
"""README and docs tell the truth: links resolve, commands exist with the options shown."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PAGES = sorted(
    p
    for pattern in ("*.md", "docs/**/*.md", "taps/*/*.md", "targets/*/*.md", "transform/*.md")
    for p in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
PLAIN = {
    "cd",
    "cat",
    "curl",
    "echo",
    "eval",
    "export",
    "git",
    "pg_dump",
    "pg_restore",
    "pip",
    "psql",
    "pytest",
    "source",
    "uv",
}


def commands(page: Path) -> list[str]:
    """Each command of each shell block, pipes and `&&` taken apart, comments left out."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            parts = re.split(r"\s(?:\||&&|;)\s", line.split(" #")[0].strip().removeprefix("$ "))
            found += [p.strip() for p in parts if p.strip() and not p.startswith("#")]
    return found


SHOWN = [(p, c) for p in PAGES for c in commands(p)]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_click(words: list[str]) -> None:
    """Walk the command tree of `ipai` and check that each option shown exists."""
    from ipai_orchestrate.cli import main

    command: click.Command = main
    context = click.Context(main)
    rest = words[1:]
    while rest and isinstance(command, click.Group):
        if rest[0].startswith(("-", ">")):
            break
        child = command.get_command(context, rest[0])
        assert child is not None, f"`ipai {rest[0]}` is no command of {command.name!r}"
        command, rest = child, rest[1:]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    shown = {w.split("=")[0] for w in rest if re.match(r"-{1,2}[a-zA-Z]", w)}
    assert shown <= known, f"{shown - known} not among the options of {' '.join(words[:3])!r}"


def check_program(words: list[str]) -> None:
    program = shutil.which(words[0], path=str(BIN)) or shutil.which(words[0])
    assert program, f"{words[0]!r} is not installed by `make setup`"
    if words[0].startswith(("tap-", "target-")):
        text = subprocess.run(
            [program, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in (w for w in words[1:] if w.startswith("--")):
            assert option.split("=")[0] in text


@pytest.mark.parametrize(
    ("page", "command"), SHOWN, ids=[f"{p.relative_to(ROOT)}: {c[:60]}" for p, c in SHOWN]
)
def test_a_command_in_the_docs_exists(page, command):
    words = [w for w in shlex.split(command) if not re.match(r"^[A-Z_]+=", w)]
    if not words or words[0] in PLAIN:
        return
    if words[0] == "make":
        assert {w for w in words[1:] if re.fullmatch(r"[a-z-]+", w)} <= make_targets()
    elif words[0] == "ipai":
        check_click(words)
    else:
        check_program(words)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target) if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(f"{target}#{anchor}")

    assert broken == []


def test_the_index_leads_to_every_page():
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / target).resolve()
        for target, _ in LINK.findall(index.read_text(encoding="utf-8"))
    }
    pages = {p for p in PAGES if ROOT / "docs" in p.parents} - {index}

    assert {p for p in pages if not linked & {p, p.parent}} == set()


@pytest.mark.parametrize(
    "reader", ["data-engineer", "analyst", "administrator", "author-of-an-agent"]
)
def test_every_reader_has_a_part_of_the_index(reader):
    assert any(a.startswith(reader) for a in anchors(ROOT / "docs" / "README.md"))


def test_the_docs_show_commands():
    assert len(SHOWN) > 10


def test_every_command_teaches_what_it_does():
    from ipai_orchestrate.cli import main

    context = click.Context(main)
    silent = [
        name
        for name in main.list_commands(context)
        if len((main.get_command(context, name).help or "").strip()) < 20
    ]

    assert silent == []
