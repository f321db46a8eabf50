# SPDX-License-Identifier: Apache-2.0
"""Installed connectors are found by entry point, without importing them."""

import sys
from pathlib import Path

import pytest

from ipai_kit.spec import discover_connectors

SMALLEST = (Path(__file__).parent / "good_specs" / "smallest.yaml").read_text("utf-8")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a fake distribution on the path; its module fails when it is imported."""

    def add(distribution, source, *, spec=SMALLEST, script=True, module=None):
        module = module or f"tap_{source}"
        package = tmp_path / module
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
        if spec:
            (package / "connector.yaml").write_text(spec, "utf-8")
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        entries = f"[ipai.connectors]\n{source} = {module}.tap:Tap\n"
        if script:
            entries += f"[console_scripts]\nother = x:y\nread-{source} = {module}.tap:Tap.cli\n"
        (info / "entry_points.txt").write_text(entries)

    monkeypatch.syspath_prepend(str(tmp_path))
    return add


def test_finds_source_command_distribution_and_spec(install):
    install("ipai-connector-open-data", "open_data")

    found = discover_connectors()["open_data"]

    assert (found.source_type, found.command, found.distribution) == (
        "open_data",
        "read-open_data",
        "ipai-connector-open-data",
    )
    assert found.spec().title == "Open data"
    assert "tap_open_data" not in sys.modules


def test_the_command_follows_the_source_type_where_no_script_says_otherwise(install):
    install("ipai-connector-open-data", "open_data", script=False)

    assert discover_connectors()["open_data"].command == "tap-open-data"


def test_a_connector_without_a_spec_is_left_out_with_a_warning(install, caplog):
    install("ipai-connector-bare", "bare", spec="")

    assert "bare" not in discover_connectors()
    assert "connector 'bare' of ipai-connector-bare has no connector.yaml" in caplog.text


def test_a_source_offered_twice_is_taken_once_with_a_warning(install, caplog):
    install("b-shop", "shop", module="tap_shop_b")
    install("a-shop", "shop", module="tap_shop_a")

    assert discover_connectors()["shop"].distribution == "a-shop"
    assert "'shop' is offered twice; using a-shop, not b-shop" in caplog.text
