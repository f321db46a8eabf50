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

from target_bronze_lake.settings import CONFIG_SCHEMA
from target_bronze_lake.target import TargetBronzeLake

StandardTests = get_target_test_class(TargetBronzeLake, config={})


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAI_LAKE_URL", (tmp_path / "lake").as_uri())


class TestStandard(StandardTests):  # type: ignore[valid-type, misc]
    """Every test of the suite, with nothing configured but the lake."""


def call(*arguments: str, environment: dict[str, str] | None = None, data: bytes = b"") -> Any:
    return subprocess.run(
        [sys.executable, "-m", "target_bronze_lake", *arguments],
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


def test_takes_its_configuration_from_the_environment_through_singer_sdk(lake: Any) -> None:
    lines = (
        b'{"type":"SCHEMA","stream":"a","schema":{"properties":{}},"key_properties":["id"]}\n'
        b'{"type":"RECORD","stream":"a","record":{"id":1}}\n{"type":"STATE","value":{"a":1}}\n'
    )
    settings = {"TARGET_BRONZE_LAKE_LAKE_URL": lake.url, "TARGET_BRONZE_LAKE_FORMAT": "parquet"}

    done = call("--config", "ENV", environment=settings, data=lines)

    assert (done.returncode, done.stdout) == (0, b'{"a":1}\n')
    assert lake.records("a") == ['{"id":1}']
