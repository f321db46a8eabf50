# SPDX-License-Identifier: Apache-2.0
"""Settings and the arguments that need nothing of singer-sdk."""

from pathlib import Path
from typing import Any

import pytest

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.command import PlainCall, parse_plain_call, read_config
from target_bronze_postgres.settings import (
    CONFIG_SCHEMA,
    TARGET_NAME,
    embedded_home,
    read_settings,
)

URL = {"database_url": "postgresql://x@y/z"}


def test_defaults_are_those_of_the_documentation() -> None:
    settings = read_settings(URL, {})

    assert (settings.source, settings.domain, settings.instance_id) == (None, None, "default")
    assert (settings.run_id, settings.keeps_every_version) == (None, False)
    assert (settings.batch_size_rows, settings.batch_size_bytes) == (20_000, 16 * 1024 * 1024)
    assert (settings.flush_seconds, settings.retry_seconds) == (5, 60)
    assert (settings.dead_letter_limit, settings.hard_delete) == (100, False)


@pytest.mark.parametrize("options", ["", "?sslmode=require", "?sslmode=verify-ca"])
def test_production_asks_a_server_on_another_host_for_proof(options: str) -> None:
    url = {"database_url": f"postgresql://x:s3cret@y/z{options}"}

    with pytest.raises(ConfigurationError, match="'y' is not asked to prove who it is") as caught:
        read_settings(url, {"IPAI_ENV": "production"})
    assert "s3cret" not in str(caught.value)
    assert read_settings(url, {}).database_url == url["database_url"]
    for good in ("postgresql://x@y/z?sslmode=verify-full", "postgresql:///z", "postgresql://[x"):
        assert read_settings({"database_url": good}, {"IPAI_ENV": "production"})


def test_the_environment_names_instance_and_run_unless_the_configuration_does() -> None:
    environment = {"IPAI_INSTANCE_ID": "i", "IPAI_RUN_ID": "r", "IPAI_DATABASE_URL": "env"}

    from_environment = read_settings({}, environment)
    from_config = read_settings({**URL, "instance_id": "a", "run_id": "b"}, environment)

    assert (from_environment.instance_id, from_environment.run_id) == ("i", "r")
    assert from_environment.database_url == "env"
    assert (from_config.instance_id, from_config.run_id) == ("a", "b")
    assert from_config.database_url == URL["database_url"]


def test_the_running_embedded_server_is_found(tmp_path: Path) -> None:
    (tmp_path / "database_url").write_text("postgresql://embedded\n")

    assert read_settings({}, {"IPAI_HOME": str(tmp_path)}).database_url == "postgresql://embedded"


def test_without_any_database_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ipai db start"):
        read_settings({}, {"IPAI_HOME": str(tmp_path)})


def test_the_embedded_server_has_a_home_of_the_system_or_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert embedded_home({}) == Path("/var/lib/ipai")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/srv/someone")
    assert embedded_home({}) == Path("/srv/someone/.local/share/ipai")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hard_delete": "maybe"}, "'hard_delete' cannot be 'maybe'. Use true or false."),
        ({"flush_seconds": "nan"}, "'flush_seconds' cannot be 'nan'"),
        ({"batch_size_rows": "many"}, "'batch_size_rows' cannot be 'many'"),
        ({"batch_size_rows": 0}, "'batch_size_rows' cannot be 0. Use an integer of at least 1"),
        ({"batch_size_rows": 1.5}, "Use an integer of at least 1"),
        ({"batch_size_rows": True}, "cannot be True"),
        ({"flush_seconds": 0}, "Use a number above 0"),
        ({"flush_seconds": "soon"}, "cannot be 'soon'. Use a number above 0"),
        ({"load_method": "overwrite"}, "Use one of 'upsert', 'append', 'append-only'"),
        ({"domain": "sales"}, "Use one of 'core', 'marketing', 'devops', 'erp'"),
        ({"hard_delete": 1}, "Use true or false"),
        ({"source": 5}, "Use a string"),
        ({"database_url": 5}, "'database_url' cannot be a value of another type"),
        ({"stream_maps": {"a": {}}}, "Setting 'stream_maps' has no place here"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_takes(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings({**URL, **config}, {})

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], PlainCall((), None)),
        (["--config", "a.json"], PlainCall(("a.json",), None)),
        (["--config=a.json", "--config", "b.json"], PlainCall(("a.json", "b.json"), None)),
        (["--config", "a.json", "--input=m"], PlainCall(("a.json",), "m")),
        (["--about"], None),
        (["--config", "ENV", "--config", "a"], PlainCall(("ENV", "a"), None)),
        (["--config"], None),
        (["--input", "a", "--input", "b"], None),
        (["--version", "--config", "a"], None),
    ],
)
def test_only_configuration_and_input_files_are_a_plain_call(
    arguments: list[str], expected: PlainCall | None
) -> None:
    assert parse_plain_call(arguments) == expected


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("batch_size_rows", "7", 7),
        ("flush_seconds", "2.5", 2.5),
        ("retry_seconds", "10", 10.0),
        ("hard_delete", "Yes", True),
        ("hard_delete", "0", False),
        ("domain", "", None),
        ("validate", "", "types"),
        ("instance_id", "42", "42"),
    ],
)
def test_settings_may_come_as_text(setting: str, text: str, value: Any) -> None:
    settings = read_settings({**URL, setting: text}, {})

    assert getattr(settings, setting) == value


def test_the_environment_wins_over_files_and_says_nothing_when_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text('{"source": "file", "domain": "erp"}')
    monkeypatch.setenv("TARGET_BRONZE_POSTGRES_SOURCE", "environment")
    monkeypatch.setenv("TARGET_BRONZE_POSTGRES_DOMAIN", "")

    config = read_config(["ENV", str(tmp_path / "a.json")], TARGET_NAME, CONFIG_SCHEMA)

    assert config == {"source": "environment", "domain": "erp"}
