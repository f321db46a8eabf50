# SPDX-License-Identifier: Apache-2.0
"""Every command answers machines in JSON: what it shows, or what it has changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import cdc, main
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.pipeline.slots import SlotAnswer

Ipai = Callable[..., Any]
# Those that have nothing to say in one object, and why.
_WITHOUT = {
    "completion": "prints a script for a shell",
    "db psql": "is psql; what it prints is asked of psql",
    "db reference": "prints a page of Markdown",
    "demo": "tells a story to people",
    "lake check": "prints a line of JSON per table in any case",
    "lake optimize": "prints a line of JSON per table in any case",
    "lake vacuum": "prints a line of JSON per table in any case",
    "metrics serve": "serves until told to end",
    "sandbox up": "serves until told to end; prints one line of JSON in any case",
    "scheduler": "works until told to end; its journal is JSON lines",
    "up": "works until told to end; its journal is JSON lines",
    "webhook secret": "prints a secret, which no JSON answer holds",
}
_SECRET = "hush-hush-5813"


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            options = {option for one in command.params for option in one.opts}
            yield " ".join((*path, name)), options


def test_every_command_takes_json_or_is_listed_with_a_reason() -> None:
    silent = {name for name, options in _commands(main) if "--json" not in options}

    assert set(_WITHOUT) == silent


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_list_of_nothing_is_an_error_of_use(limit: str) -> None:
    limited = {name for name, options in _commands(main) if "--limit" in options}

    assert {"runs", "queue dead", "audit reviews"} < limited
    for name in limited:
        needed = ["one"] if name in {"releases", "state history"} else []
        said = CliRunner().invoke(main, [*name.split(), *needed, "--limit", limit])
        assert (said.exit_code, "x>=1" in said.output) == (2, True), name


@pytest.fixture
def ipai(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ipai:
    """Call a command with --json; returns the one object that it writes."""
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    monkeypatch.setenv("IPAI_VAULT_KEYS", str(tmp_path / "keys.json"))
    monkeypatch.setenv("IPAI_HOME", str(tmp_path / "home"))

    def call(*arguments: object, stdin: str | None = None) -> Any:
        done = CliRunner().invoke(main, [*map(str, arguments), "--json"], input=stdin)
        assert done.exit_code == 0, done.output
        assert _SECRET not in done.output
        return json.loads(done.stdout)

    return call


def test_what_becomes_of_instances_and_runs_is_told_in_json(
    ipai: Ipai, control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    name = make_instance()
    run_id = str(control_plane.enqueue(name))

    cancelled = ipai("cancel", run_id, "--reason", "mistake")
    assert cancelled == {"run_id": run_id, "outcome": "cancelled", "reason": "mistake"}
    assert ipai("queue", "limit", "github", 2) == {"source_type": "github", "max_running": 2}
    assert ipai("queue", "limit", "github")["max_running"] is None
    quota = ipai("quota", "set", "github", "--rate", 2.5, "--window", "100/60")
    assert (quota["requests_per_second"], quota["window_seconds"]) == (2.5, 60)


def test_what_becomes_of_states_is_told_in_json(
    ipai: Ipai, make_instance: Callable[..., str]
) -> None:
    name = make_instance()

    first = ipai("state", "set", name, "-", stdin='{"bookmarks": {}}')
    assert first == {"instance_id": name, "version": 1}
    ipai("state", "set", name, "-", stdin='{"bookmarks": {"issues": {}}}')
    back = ipai("state", "rollback", name, "--version", 1)
    assert back == {"instance_id": name, "version": 3, "restored_version": 1}
    assert ipai("state", "get", name) == {"bookmarks": {}}


def test_what_becomes_of_schedules_and_pipelines_is_told_in_json(
    ipai: Ipai,
    connection: psycopg.Connection[Any],
    make_instance: Callable[..., str],
    tmp_path: Path,
) -> None:
    name = make_instance()
    connection.execute(
        "update connectors.connector_instances set schedule = '@daily' where id = %s", (name,)
    )
    document = tmp_path / "nightly.yaml"
    document.write_text(f"pipeline: nightly\nsteps:\n  one: {{instance: {name}}}\n")
    ipai("pipeline", "apply", document)

    changed = ipai("schedule", "set", name, "--misfire", "skip", "--jitter", 30)
    assert (changed["name"], changed["misfire"], changed["jitter_seconds"]) == (name, "skip", 30)
    assert [ipai("schedule", how, name)["status"] for how in ("pause", "resume")] == [
        "paused",
        "active",
    ]
    for how, status in (("pause", "paused"), ("resume", "active")):
        assert ipai("pipeline", how, "nightly") == {"pipeline": "nightly", "status": status}
    run_id = ipai("pipeline", "run", "nightly")["id"]
    cancelled = ipai("pipeline", "cancel", "nightly")
    assert (cancelled["run_id"], cancelled["outcome"]) == (run_id, "cancelled")


def test_what_becomes_of_secrets_is_told_in_json_without_their_values(ipai: Ipai) -> None:
    stored = ipai("secret", "set", "one/key", "--expires-at", "2030-01-31", stdin=_SECRET)
    assert (stored["name"], stored["reference"]) == ("one/key", "${secret:one/key}")
    assert stored["expires_at"].startswith("2030-01-31")
    rotated = ipai("secret", "rotate", "one/key", stdin=_SECRET + "2")
    assert rotated["version"] == 2
    sealed = ipai("secret", "rekey", "--new", "--forget-old")
    assert sealed["sealed"] >= 1
    assert sealed["forgotten"] >= 1
    assert ipai("secret", "delete", "one/key") == {"name": "one/key", "deleted": True}


def test_what_becomes_of_webhooks_and_alerts_is_told_in_json(
    ipai: Ipai, make_instance: Callable[..., str]
) -> None:
    name = make_instance()
    ipai("webhook", "add", "one", "https://example.com/hook", "--secret", "${ONE}")

    paused = ipai("webhook", "set", "one", "--status", "paused")
    assert paused == {"endpoint_id": "one", "status": "paused"}
    assert ipai("webhook", "rotate", "one", "--secret", "${TWO}").keys() == {
        "endpoint_id",
        "both_sign_until",
    }
    led = ipai("alerts", "route", "one", "--condition", "sync_failed")
    assert (led["endpoint_id"], led["conditions"], led["removed"]) == (
        "one",
        ["sync_failed"],
        False,
    )
    assert ipai("alerts", "route", "one", "--remove")["removed"]
    owner = ipai("alerts", "owner", name, "data@example.com")
    assert owner == {"instance_id": name, "owner": "data@example.com"}
    rule = ipai("alerts", "set", "sync_failed", "--repeat-hours", 6, "--off")
    assert (rule["enabled"], rule["repeat_every"]) == (False, "6:00:00")
    channel = ipai("alerts", "channel", "chat", "--url", "${CHAT}", "--severity", "critical")
    assert (channel["channel"], channel["severity"]) == ("chat", "critical")
    assert ipai("webhook", "remove", "one") == {"endpoint_id": "one", "removed": True}


def test_a_slot_that_was_dropped_is_told_in_json(
    ipai: Ipai, make_instance: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = SlotAnswer({"slot": "ipai_1"})
    monkeypatch.setattr(cdc, "ask_slot", lambda *_: dropped)
    told = ipai("cdc", "drop", make_instance())

    assert told == {"instance_id": "github-acme", "slot": "ipai_1", "dropped": True}


def test_what_was_written_is_told_in_json(ipai: Ipai, tmp_path: Path, database: str) -> None:
    linked = ipai("odoo", "link", "--output", tmp_path / "odoo", "--host", "db", "--database", "x")
    assert Path(linked["warehouse_script"]).is_file()
    assert Path(linked["odoo_script"]).is_file()
    tap = ipai("new", "tap", "jira", "--root", tmp_path)
    assert str(Path(tap["folder"]) / "pyproject.toml") in tap["files"]
    assert ipai("db", "url") == {"url": database}
