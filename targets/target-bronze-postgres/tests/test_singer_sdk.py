# SPDX-License-Identifier: Apache-2.0
"""singer-sdk's own tests for targets, and its command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from singer_sdk.testing import get_target_test_class

from target_bronze_postgres.settings import CONFIG_SCHEMA
from target_bronze_postgres.target import TargetBronzePostgres

StandardTests = get_target_test_class(TargetBronzePostgres, config={})


@pytest.fixture(autouse=True)
def environment(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", server.dsn())


class TestStandard(StandardTests):  # type: ignore[valid-type, misc]
    """Every test of the suite, with nothing configured but the database."""


def call(*arguments: str, environment: dict[str, str] | None = None, data: bytes = b"") -> Any:
    return subprocess.run(
        [sys.executable, "-m", "target_bronze_postgres", *arguments],
        input=data,
        capture_output=True,
        env={**os.environ, **(environment or {})},
        check=False,
    )


def test_about_lists_every_setting() -> None:
    about = json.loads(call("--about", "--format=json").stdout)

    listed = set(about["settings"]["properties"])
    assert listed >= set(CONFIG_SCHEMA["properties"])
    assert "activate-version" in about["capabilities"]


def test_takes_its_configuration_from_the_environment_through_singer_sdk(bronze: Any) -> None:
    lines = (
        b'{"type":"SCHEMA","stream":"a","schema":{"properties":{}},"key_properties":["id"]}\n'
        b'{"type":"RECORD","stream":"a","record":{"id":1}}\n{"type":"STATE","value":{"a":1}}\n'
    )
    settings = {
        "TARGET_BRONZE_POSTGRES_DATABASE_URL": bronze.dsn,
        "TARGET_BRONZE_POSTGRES_SOURCE": "env",
        "TARGET_BRONZE_POSTGRES_BATCH_SIZE_ROWS": "1",
    }

    done = call("--config", "ENV", environment=settings, data=lines)

    assert (done.returncode, done.stdout) == (0, b'{"a":1}\n')
    assert bronze.value("select count(*) from ipai_bronze_core.raw_env_a") == 1


def test_a_wrong_configuration_ends_with_78_through_singer_sdk(tmp_path: Path) -> None:
    settings = {"TARGET_BRONZE_POSTGRES_BATCH_SIZE_ROWS": "0"}

    done = call("--config", "ENV", environment=settings)

    assert done.returncode == 78
    assert b"'batch_size_rows' cannot be 0." in done.stderr


def test_help_says_what_goes_in_and_out_and_what_an_exit_code_means() -> None:
    text = call("--help").stdout.decode()

    assert "STATE on standard output" in text
    assert "65 look at the tap" in text
