# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for every installed connector, found by entry point. Waivers carry a reason."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from ipai_kit.spec import bronze_schema, bronze_table, discover_connectors, job_name
from ipai_kit.testing import connector_conformance

ROOT = Path(__file__).resolve().parents[1]
CONNECTORS = discover_connectors()
# {source: {rule or rule:stream: why it does not hold there}}
WAIVERS: dict[str, dict[str, str]] = {
    "files": {"streams": "the operator names them, except for the one of the files themselves"},
}
sources = pytest.mark.parametrize("source", sorted(CONNECTORS))


def test_every_tap_folder_is_an_installed_connector():
    folders = {p.name.removeprefix("tap-") for p in ROOT.glob("taps/tap-*") if p.is_dir()}

    assert folders <= {source.replace("_", "-") for source in CONNECTORS}


@sources
def test_keeps_the_rules_of_all_connectors(source):
    (entry,) = entry_points(group="ipai.connectors", name=source)

    assert connector_conformance(entry.load(), waivers=WAIVERS.get(source)) == []


@sources
def test_has_a_stand_in(source):
    assert len(entry_points(group="ipai.sandboxes", name=source)) == 1


@sources
def test_names_its_tables_and_jobs_by_the_rules(source):
    spec = CONNECTORS[source].spec()
    tables = {bronze_table(source, one.name) for one in spec.streams}

    assert len(spec.streams) == len(tables)
    assert all(table.startswith(f"raw_{source}_") and len(table) <= 63 for table in tables)
    assert bronze_schema(spec.domain) == f"ipai_bronze_{spec.domain}"
    assert all(
        job_name(source, one.name, one.sync_mode).startswith(f"sync_{source}_")
        for one in spec.streams
    )


@sources
def test_publishes_contracts_for_all_of_its_streams_or_for_none(source):
    """A new tap has none; `schemas/streams` gets them when Silver is generated from them."""
    published = {p.stem for p in (ROOT / "schemas/streams" / source).glob("*.json")}

    assert published in (set(), {one.name for one in CONNECTORS[source].spec().streams})


@sources
def test_meltano_can_set_every_setting(source):
    folder = ROOT / "taps" / f"tap-{source.replace('_', '-')}"
    (plugin,) = yaml.safe_load((folder / "meltano.yml").read_text())["plugins"]["extractors"]
    known = {setting["name"] for setting in plugin["settings"]}
    spec = CONNECTORS[source].spec()

    assert plugin["name"] == plugin["executable"] == CONNECTORS[source].command
    assert set(spec.config_schema()["properties"]) <= known


@sources
def test_describes_every_stream_in_its_readme(source):
    text = (ROOT / "taps" / f"tap-{source.replace('_', '-')}" / "README.md").read_text()

    unnamed = [one.name for one in CONNECTORS[source].spec().streams if one.name not in text]

    assert unnamed == []


def test_the_contracts_are_json_schemas():
    for path in (ROOT / "schemas/streams").rglob("*.json"):
        assert "x-ipai" in json.loads(path.read_text()), path.name
