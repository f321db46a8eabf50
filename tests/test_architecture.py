# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, and the house rules a machine can check. Packages are found by glob."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
TAPS = sorted(p.name for p in ROOT.glob("taps/*/tap_*") if p.is_dir())
TARGETS = sorted(p.name for p in ROOT.glob("targets/*/target_*") if p.is_dir())
KIT, ORCHESTRATE = "ipai_kit", "ipai_orchestrate"
OURS = {KIT, ORCHESTRATE, *TAPS, *TARGETS}
VAGUE = {"utils", "util", "common", "helpers", "helper", "core", "shared", "types", "misc", "base"}


def allowed(package: str) -> set[str]:
    """The packages of ours that `package` may import, by module prefix."""
    if package == KIT:
        return set()
    if package == ORCHESTRATE:
        return {f"{KIT}.spec"}
    return {KIT}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*sorted(OURS), include_external_packages=True, cache_dir=None)


def violations(graph: grimp.ImportGraph, package: str) -> list[str]:
    found = []
    own = {package, *graph.find_descendants(package)}
    for module in sorted(own):
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            root = imported.split(".")[0]
            if root not in OURS or root == package:
                continue
            if not any(imported == ok or imported.startswith(f"{ok}.") for ok in allowed(package)):
                found.append(f"{module} imports {imported}")
    return found


@pytest.mark.parametrize("package", sorted(OURS))
def test_a_package_imports_only_what_it_may(graph, package):
    assert violations(graph, package) == []


@pytest.mark.parametrize(
    ("package", "planted"),
    [(KIT, TAPS[0]), (ORCHESTRATE, TAPS[0]), (ORCHESTRATE, f"{KIT}.tap"), (TAPS[0], TARGETS[0])],
)
def test_a_planted_import_is_found(graph, package, planted):
    graph.add_import(importer=package, imported=planted)
    try:
        assert violations(graph, package) == [f"{package} imports {planted}"]
    finally:
        graph.remove_import(importer=package, imported=planted)


def test_the_orchestrator_does_not_load_singer_sdk(graph):
    own = {ORCHESTRATE, *graph.find_descendants(ORCHESTRATE)}

    assert [m for m in own if "singer_sdk" in graph.find_modules_directly_imported_by(m)] == []


def test_every_member_is_named_for_its_folder():
    for manifest in ROOT.glob("taps/*/pyproject.toml"):
        project = tomllib.loads(manifest.read_text())["project"]
        source = manifest.parent.name.removeprefix("tap-")

        assert f"ipai-connector-{source}" == project["name"]
        assert f"tap-{source}" in project["scripts"]
        assert source.replace("-", "_") in project["entry-points"]["ipai.connectors"]


def test_every_member_declares_the_licence():
    for manifest in [
        ROOT / "kit/pyproject.toml",
        ROOT / "orchestrate/pyproject.toml",
        *ROOT.glob("taps/*/pyproject.toml"),
        *ROOT.glob("targets/*/pyproject.toml"),
    ]:
        assert "Apache-2.0" == tomllib.loads(manifest.read_text())["project"]["license"]


def test_every_source_file_names_its_licence():
    missing = [
        str(p.relative_to(ROOT))
        for p in tracked("*.py", "*.sql", "*.toml", "Makefile", ".ci/run")
        if "SPDX-License-Identifier: Apache-2.0" not in p.read_text(encoding="utf-8")[:400]
    ]

    assert missing == []


def test_no_module_has_a_vague_name():
    vague = [
        str(p.relative_to(ROOT))
        for p in tracked("*.py")
        if p.stem in VAGUE or p.stem.startswith("base_") or VAGUE & set(p.relative_to(ROOT).parts)
    ]

    assert vague == []


HOSTS = re.compile(
    "|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs"])
)
PATHS = re.compile(r"(?<![\w.$}/])/(?:work|root|home/\w+)/")


def test_the_project_names_no_machine_and_no_registry():
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}: {match.group()!r}"
            for pattern in (HOSTS, PATHS)
            for match in pattern.finditer(text)
        ]

    assert found == []


def test_http_goes_through_the_one_client():
    """A tap that calls `requests.get` itself would step around quota, retry and the host list."""
    direct = re.compile(r"\brequests\.(get|post|put|patch|delete|head|request|Session)\(")
    found = [
        str(p.relative_to(ROOT))
        for p in [*ROOT.glob("taps/*/tap_*/**/*.py"), *ROOT.glob("targets/*/target_*/**/*.py")]
        if direct.search(p.read_text(encoding="utf-8"))
    ]

    assert found == []
