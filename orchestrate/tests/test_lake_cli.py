# SPDX-License-Identifier: Apache-2.0
"""`ipai lake` hands its verbs to the lake target's own command, and its exit code on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

IPAI = Path(sys.executable).parent / "ipai"
TARGET = Path(sys.executable).parent / "target-bronze-lake"
LINES = (
    b'{"type":"SCHEMA","stream":"a","schema":{"properties":{}},"key_properties":["id"]}\n'
    b'{"type":"RECORD","stream":"a","record":{"id":1}}\n'
    b'{"type":"RECORD","stream":"a","record":{"id":2}}\n'
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A lake with two files in one table."""
    path = tmp_path / "target.json"
    settings = {"lake_url": (tmp_path / "lake").as_uri(), "batch_size_rows": 1}
    path.write_text(json.dumps(settings))
    subprocess.run([TARGET, "--config", path], input=LINES, check=True, capture_output=True)
    return path


def lake(*arguments: Any) -> tuple[int, list[Any], str]:
    done = subprocess.run(
        [IPAI, "lake", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_checks_compacts_and_vacuums(config: Path) -> None:
    table = "ipai_bronze_core/raw_singer_a"

    code, checked, _ = lake("check", "--config", config)
    assert (code, checked[0]["tables"], checked[1]["rows"]) == (0, 1, 2)
    assert lake("optimize", "--config", config, "--table", table)[:2] == (
        0,
        [{"table": table, "replaced": 2, "written": 1}],
    )
    assert lake("vacuum", "--config", config)[:2] == (0, [{"table": table, "removed": 0}])


def test_the_exit_code_is_that_of_the_target(config: Path) -> None:
    code, _, errors = lake("vacuum", "--config", config, "--table", "missing")

    assert code == 78
    assert "The lake has no table 'missing'" in errors
