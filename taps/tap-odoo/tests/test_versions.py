# SPDX-License-Identifier: Apache-2.0
"""Versions 16 to 19 and both ways to them give the same streams of the same facts."""

from __future__ import annotations

from typing import Any

import pytest

from ipai_kit.testing import TapRun, connector_conformance, run_tap, running_sandbox
from tap_odoo.sandbox import World
from tap_odoo.sandbox.server import expected
from tap_odoo.tap import TapOdoo

VERSIONS = (16, 17, 18, 19)
every_version = pytest.mark.parametrize("version", VERSIONS)
# Fields that one version has beside what they are called in all.
OF_ONE_VERSION = {"detailed_type", "active"}


def landed(run: TapRun) -> dict[str, dict[int, Any]]:
    """The last record of each id."""
    return {name: {one["id"]: one for one in rows} for name, rows in run.records.items()}


@every_version
def test_the_api_of_every_version_keeps_the_rules_of_all_connectors(version: int) -> None:
    assert connector_conformance(TapOdoo, sandbox_options={"version": version}) == []


@pytest.fixture(scope="module")
def by_tables(make_database: Any) -> dict[int, TapRun]:
    """What the tables of each version give."""
    return {version: make_database(version).run() for version in VERSIONS}


@every_version
def test_the_tables_of_every_version_give_the_facts(by_tables: Any, version: int) -> None:
    found, world = landed(by_tables[version]), World()

    for stream in found:
        facts = {one["id"]: one for one in expected(world, stream, version)}
        assert facts == found[stream], stream


@every_version
def test_both_ways_give_the_same_records_and_schemas(by_tables: Any, version: int) -> None:
    with running_sandbox("odoo", version=version) as url:
        by_api = run_tap(TapOdoo, {**url.config(), "requests_per_second": 500})

    assert landed(by_tables[version]) == landed(by_api)
    assert _types(by_tables[version]) == _types(by_api)


def test_all_versions_give_the_same_members(by_tables: Any) -> None:
    members = [
        {
            name: set(one["schema"]["properties"]) - OF_ONE_VERSION
            for name, one in run.schemas.items()
        }
        for run in by_tables.values()
    ]

    assert members[0] == members[1] == members[2] == members[3]


def _types(run: TapRun) -> dict[str, Any]:
    return {
        stream: {
            name: {key: value for key, value in one.items() if key != "description"}
            for name, one in message["schema"]["properties"].items()
        }
        for stream, message in run.schemas.items()
    }
