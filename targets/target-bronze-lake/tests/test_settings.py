# SPDX-License-Identifier: Apache-2.0
"""Settings: what is left out, what the environment says, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipai_kit.exceptions import ConfigurationError
from target_bronze_lake.settings import read_settings, state_lake

URL = {"lake_url": "file:///srv/lake"}
KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "not-to-be-shown"}


def test_defaults_are_those_of_the_documentation() -> None:
    settings = read_settings(URL, {})

    assert (settings.source, settings.domain, settings.instance_id) == (None, None, "default")
    assert (settings.format, settings.keeps_every_version) == ("delta", True)
    assert (settings.batch_size_rows, settings.batch_size_bytes) == (50_000, 32 * 1024 * 1024)
    assert (settings.flush_seconds, settings.retry_seconds) == (30, 60)
    assert (settings.target_file_bytes, settings.optimize_after) == (128 * 1024 * 1024, 16)
    assert (settings.path_style, settings.allow_http, settings.refuses_nul) == (False, False, False)


def test_the_lake_is_named_by_the_configuration_else_the_environment_else_the_state_directory(
    tmp_path: Path,
) -> None:
    environment = {"IPAI_LAKE_URL": "s3://bucket/prefix/", "IPAI_HOME": str(tmp_path)}

    assert read_settings(URL, environment).lake_url == "file:///srv/lake"
    assert read_settings({}, environment).lake_url == "s3://bucket/prefix"
    del environment["IPAI_LAKE_URL"]
    assert read_settings({}, environment).lake_url == (tmp_path / "lake").as_uri()


def test_the_state_directory_is_that_of_the_system_or_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert state_lake({}) == Path("/var/lib/ipai/lake")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/srv/someone")
    assert state_lake({}) == Path("/srv/someone/.local/share/ipai/lake")


def test_secrets_are_not_shown() -> None:
    assert "not-to-be-shown" not in repr(read_settings({**URL, **KEY}, {}))


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "[::1]:9000"])
def test_loopback_needs_no_tls(host: str) -> None:
    settings = read_settings({"lake_url": "s3://b", "endpoint_url": f"http://{host}"}, {})

    assert (settings.allow_http, settings.path_style) == (True, True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lake_url": "/srv/lake"}, "'lake_url' cannot be '/srv/lake'. Use file:///folder or"),
        ({"lake_url": "file://host/x"}, "'lake_url' cannot be"),
        ({"lake_url": "file:///"}, "'lake_url' cannot be"),
        ({"lake_url": "s3:///x"}, "'lake_url' cannot be"),
        ({"lake_url": "s3://key:secret@bucket"}, "'lake_url' cannot be 'bucket'"),
        ({"lake_url": "gs://bucket"}, "'lake_url' cannot be 'gs://bucket'"),
        ({"endpoint_url": "http://store.example"}, "would receive keys and records without TLS"),
        ({"endpoint_url": "store.example"}, "'endpoint_url' cannot be 'store.example'"),
        ({"access_key_id": "AKIA"}, "belong together"),
        ({"format": "orc"}, "Use one of 'delta', 'parquet'"),
        ({"target_file_bytes": 0}, "Use an integer of at least 1"),
        ({"secret_access_key": 5}, "'secret_access_key' cannot be a value of another type"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_takes(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings({**URL, **config}, {})

    assert message in str(caught.value)


def test_an_endpoint_elsewhere_may_do_without_tls_when_that_is_allowed() -> None:
    config = {"lake_url": "s3://b", "endpoint_url": "http://store.example", "allow_http": True}

    assert read_settings(config, {}).allow_http is True


@pytest.mark.parametrize("below", ["", "/lake"])
def test_a_lake_in_the_place_of_a_file_is_a_setting_to_correct(
    tmp_path: Path, run_target: Callable[..., Any], below: str
) -> None:
    (tmp_path / "notes").write_text("mine")

    refused = run_target([], lake_url=f"{(tmp_path / 'notes').as_uri()}{below}")

    assert refused.exit_code == 78
    assert "there is a file" in refused.error


def test_misspelt_settings_are_warned_of_with_the_nearest_name(
    run_target: Callable[..., Any],
) -> None:
    done = run_target(
        [], batch_size_row=3, Format="delta", colour="crimson", flattening_enabled=False
    )

    assert done.exit_code == 0
    assert {event["setting"]: event["nearest"] for event in done.of("unknown_setting")} == {
        "batch_size_row": "batch_size_rows",
        "Format": "format",
        "colour": None,
    }
    assert "crimson" not in done.stderr
