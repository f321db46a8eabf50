# SPDX-License-Identifier: Apache-2.0
"""A new tap is complete and green in a copy of the workspace, and changes nothing beside itself."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from datetime import date
from pathlib import Path

import pytest

from ipai_kit.spec import check_spec, load_spec
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.scaffold import new_tap

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NAMES = ["jira", "a", "google_ads", "one2three", "a_long_name_of_24_letter"]
GATES = {
    "ruff": ["ruff", "check"],
    "format": ["ruff", "format", "--check"],
    "black": ["black", "--check", "--quiet"],
    "isort": ["isort", "--check", "--quiet"],
    "flake8": ["flake8", "--max-line-length", "100", "--extend-ignore", "E203,W503"],
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A copy of the workspace, without what git ignores, in which taps are generated."""
    copy = tmp_path_factory.mktemp("workspace")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "tests", ".*")
    for member in ("kit", "orchestrate"):
        shutil.copytree(ROOT / member, copy / member, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name in NAMES:
        new_tap(name, copy)
    return copy


def _files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_writes_one_folder_and_nothing_beside_it(tmp_path):
    (tmp_path / "taps").mkdir()

    made = new_tap("google-ads", tmp_path, title="Google Ads", domain="marketing")

    assert (made.source_type, made.folder) == ("google_ads", tmp_path / "taps/tap-google-ads")
    assert {str(path.relative_to(tmp_path)) for path in made.files} == _files(tmp_path)
    assert _files(made.folder) == {
        "README.md",
        "meltano.yml",
        "pyproject.toml",
        "tap_google_ads/__init__.py",
        "tap_google_ads/connector.yaml",
        "tap_google_ads/py.typed",
        "tap_google_ads/sandbox.py",
        "tap_google_ads/schemas/items.json",
        "tap_google_ads/streams.py",
        "tap_google_ads/tap.py",
        "tests/test_tap.py",
    }


def test_the_names_follow_the_source_type(tmp_path):
    folder = new_tap("tap-google-ads", tmp_path, title="Google Ads", domain="marketing").folder
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    spec = load_spec(folder / "tap_google_ads" / "connector.yaml")

    assert project["name"] == spec.distribution == "ipai-connector-google-ads"
    assert project["scripts"] == {"tap-google-ads": "tap_google_ads.tap:TapGoogleAds.cli"}
    assert project["entry-points"]["ipai.connectors"] == {
        "google_ads": "tap_google_ads.tap:TapGoogleAds"
    }
    assert (spec.title, spec.domain, spec.command) == ("Google Ads", "marketing", "tap-google-ads")


def test_no_mark_of_the_templates_is_left(tmp_path):
    for path in new_tap("jira", tmp_path).files:
        assert "%%" not in path.read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_of_a_new_tap_has_no_problem(tmp_path, name):
    made = new_tap(name, tmp_path, today=date(2026, 11, 21))
    spec = made.folder / f"tap_{made.source_type}" / "connector.yaml"

    assert check_spec(spec.read_text("utf-8"), today=date(2026, 11, 21)) == []


def test_an_existing_folder_is_left_alone(tmp_path):
    first = new_tap("jira", tmp_path)
    readme = first.folder / "README.md"
    readme.write_text("mine")

    with pytest.raises(ConfigurationError, match="exists already"):
        new_tap("jira", tmp_path)

    assert readme.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("", {}, "Tap name '' is not valid"),
        ("Jira", {}, "Tap name 'Jira' is not valid"),
        ("2jira", {}, "Tap name '2jira' is not valid"),
        ("../jira", {}, "Tap name '../jira' is not valid"),
        ("ji--ra", {}, "Tap name 'ji--ra' is not valid"),
        ("jira\n", {}, "is not valid"),
        ("x" * 25, {}, "has 25 characters. Use at most 24"),
        ("jira", {"domain": "misc"}, "Unknown domain 'misc'. Use one of: core"),
        ("jira", {"title": 'say "hi"'}, "Title 'say \"hi\"' is not valid"),
        ("jira", {"title": "x" * 90}, "is not valid. Use up to 60"),
    ],
)
def test_bad_values_are_refused_before_anything_is_written(tmp_path, name, options, message):
    with pytest.raises(ConfigurationError) as caught:
        new_tap(name, tmp_path, **options)

    assert message in str(caught.value)
    assert _files(tmp_path) == set()


@pytest.mark.parametrize("gate", GATES)
def test_new_taps_pass_the_gates(workspace, gate):
    command = [BIN / GATES[gate][0], *GATES[gate][1:], "taps"]

    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_new_taps_are_strictly_typed(workspace):
    packages = sorted(str(path) for path in workspace.glob("taps/*/tap_*"))
    environment = {
        **os.environ,
        "MYPYPATH": os.pathsep.join(str(path) for path in workspace.glob("taps/*")),
    }

    done = subprocess.run(
        [BIN / "mypy", "--strict", *packages],
        cwd=workspace,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_new_tap_installs_and_its_tests_are_green(workspace, tmp_path):
    """Installed into an environment of its own that sees what the workspace has installed."""
    python = _throw_away_environment(tmp_path / "venv")
    folder = workspace / "taps" / "tap-jira"
    before = _files(workspace)
    install = ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    subprocess.run([BIN / install[0], *install[1:], "--python", python, "-e", folder], check=True)

    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "taps/tap-jira"],
        cwd=workspace,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    about = subprocess.run(
        [python.parent / "tap-jira", "--about", "--format=json"], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert about.returncode == 0, about.stderr
    assert _files(workspace) - before == set()


def _throw_away_environment(folder):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    ours = sysconfig.get_path("purelib")
    (Path(purelib) / "workspace.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return python
