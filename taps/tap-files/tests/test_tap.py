# SPDX-License-Identifier: Apache-2.0
"""What every tap does: singer-sdk's suite, the house rules, the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from ipai_kit.testing import connector_conformance, run_tap, running_sandbox
from tap_files.tap import TapFiles

COMMAND = str(Path(sys.executable).parent / "tap-files")
DATA = Path(__file__).parent / "data"
WAIVERS = {"streams": "the operator names them, except for the one of the files themselves"}


# singer-sdk warns of columns without values: those of deleted lines and of extra cells.
@pytest.mark.filterwarnings("ignore:Fields in transformed catalog but not in records")
@pytest.mark.filterwarnings("ignore:No records were available to test")
class TestStandard(
    get_tap_test_class(
        TapFiles,
        config={
            "files": [
                {"name": "orders", "path": str(DATA / "orders.csv")},
                {"name": "events", "path": str(DATA / "*.jsonl")},
            ]
        },
        suite_config=SuiteConfig(max_records_limit=20),
        parse_env_config=False,
    )
):
    """singer-sdk's own suite."""


def by_key(rows):
    return sorted(rows, key=lambda one: str(sorted(one.items())))


@pytest.mark.parametrize("options", [{}, {"token": True, "rows": 3}])
def test_keeps_the_rules_of_every_connector(options):
    assert connector_conformance(TapFiles, sandbox_options=options, waivers=WAIVERS) == []


def test_reads_exactly_what_the_web_server_holds_and_then_only_what_changed():
    with running_sandbox("files") as url:
        config = url.config()
        first = run_tap(TapFiles, config)
        truth = {name: by_key(url.records(name)) for name in url.streams()}
        again = run_tap(TapFiles, config, state=first.state)
        url.advance()
        later = run_tap(TapFiles, config, state=again.state)
        changed = {row["_sdc_source_file"].rsplit("/", 1)[1] for row in later.records["orders"]}

        assert {name: by_key(first.records[name]) for name in truth} == truth
        assert (again.records["orders"], again.records["events"]) == ([], [])
        assert changed == {"orders-2026-01.csv", "orders-2026-03.csv"}
        assert by_key(later.records["files"]) == by_key(url.records("files"))


def test_the_command_shows_a_preview_and_loads_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("id;name\n007;x\n")
    config = tmp_path / "config.json"
    entry = {"name": "agents", "path": str(tmp_path / "*.csv")}
    config.write_text(json.dumps({"files": [entry]}))
    done = subprocess.run(
        [COMMAND, "--config", str(config), "--preview"], capture_output=True, text=True, check=True
    )

    assert "agents: 1 files" in done.stdout
    assert '{"id":"007","name":"x"}' in done.stdout
    assert '"type":"RECORD"' not in done.stdout


def test_the_preview_fails_with_what_is_wrong(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"files": [{"name": "a", "path": str(tmp_path / "a.csv")}]}))
    done = subprocess.run(
        [COMMAND, "--config", str(config), "--preview"], capture_output=True, text=True
    )

    assert done.returncode == 78
    assert "problem   There is no file" in done.stdout
