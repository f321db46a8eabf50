# SPDX-License-Identifier: Apache-2.0
"""Finding the dbt project, and knowing it without starting dbt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.transform import project as project_module
from ipai_orchestrate.transform import run_dbt
from ipai_orchestrate.transform.invocation import prepare
from ipai_orchestrate.transform.process import dbt_command
from ipai_orchestrate.transform.project import Project, find_project

REPOSITORY = Path(__file__).resolve().parents[3]


def make_project(folder: Path) -> Project:
    (folder / "models/silver/shop").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: ipai\n")
    (folder / "models/silver/shop/shop_orders.sql").write_text(
        "{{ silver_rows(source('shop', 'raw_shop_orders'), []) }}"
    )
    return Project(folder)


def test_the_project_of_the_checkout_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IPAI_TRANSFORM_DIR", raising=False)
    monkeypatch.chdir(tmp_path)

    assert find_project().root == REPOSITORY / "transform"


def test_a_setting_names_another_project(tmp_path: Path) -> None:
    make_project(tmp_path / "mine")

    assert find_project({"IPAI_TRANSFORM_DIR": str(tmp_path / "mine")}).root == tmp_path / "mine"


def test_a_setting_without_a_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"IPAI_TRANSFORM_DIR has no dbt_project\.yml"):
        find_project({"IPAI_TRANSFORM_DIR": str(tmp_path)})


@pytest.mark.parametrize("place", ["work", "wheel"])
def test_an_installed_package_uses_the_work_folder_or_its_own_copy(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages/ipai_orchestrate"
    monkeypatch.setattr(project_module, "__file__", str(package / "transform/project.py"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with pytest.raises(ConfigurationError, match="Set IPAI_TRANSFORM_DIR"):
        find_project({})
    wanted = work / "transform" if place == "work" else package / "_transform"
    make_project(wanted)

    assert find_project({}).root == wanted


def test_models_and_sources_are_read_from_the_files(tmp_path: Path) -> None:
    project = make_project(tmp_path)

    assert list(project.models()) == ["shop_orders"]
    assert project.sources() == {("shop", "raw_shop_orders")}


def test_the_fingerprint_changes_with_any_file_and_not_with_artifacts(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    first = project.fingerprint()
    (tmp_path / "target").mkdir()
    (tmp_path / "target/manifest.json").write_text("{}")

    assert project.fingerprint() == first

    (tmp_path / "models/silver/shop/shop_orders.sql").write_text("select 1")

    assert project.fingerprint() != first


def test_artifacts_leave_a_read_only_project_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    monkeypatch.delenv("IPAI_TRANSFORM_TARGET", raising=False)
    monkeypatch.setenv("IPAI_HOME", str(tmp_path / "home"))

    assert project.output("db") == tmp_path / "project/target/db"

    monkeypatch.setattr(os, "access", lambda path, mode: False)

    assert project.output("db") == tmp_path / "home/transform/db"


def test_dbt_gets_the_address_in_pieces_and_never_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", "postgresql://u:secret@h/d")
    monkeypatch.setenv("IPAI_TRANSFORM_TARGET", str(tmp_path / "out"))

    invocation = prepare(make_project(tmp_path / "project"), "postgresql://u:secret@h/d")

    holders = [name for name, value in invocation.environment.items() if "secret" in value]
    assert holders == ["DBT_ENV_SECRET_IPAI_PASSWORD"]
    assert invocation.environment["DBT_SEND_ANONYMOUS_USAGE_STATS"] == "false"
    assert invocation.output.is_relative_to(tmp_path / "out")


@pytest.mark.parametrize("streams", [[], [("other_vendor", "issues")], [("github", "unheard_of")]])
def test_without_rows_for_a_known_stream_nothing_is_started(
    streams: list[tuple[str, str]],
) -> None:
    result = run_dbt("postgresql://nobody@nowhere.invalid/none", streams=streams)

    assert result.ok
    assert "dbt was not started" in result.summary()


def test_the_program_may_live_elsewhere(tmp_path: Path) -> None:
    program = tmp_path / "dbt"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert dbt_command({"IPAI_DBT": str(program)}) == str(program)
    with pytest.raises(ConfigurationError, match="IPAI_DBT names no program: '/nowhere/dbt'"):
        dbt_command({"IPAI_DBT": "/nowhere/dbt"})


def test_a_missing_program_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere")

    with pytest.raises(ConfigurationError, match=r"pip install 'ipai-connectors\[transform\]'"):
        dbt_command({"PATH": "/nowhere"})
