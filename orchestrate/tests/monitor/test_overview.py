# SPDX-License-Identifier: Apache-2.0
"""`ipai status` answers in one place what runs, what failed and why, and who read which secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ControlPlane

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def status(database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["status", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return call


def test_an_empty_platform_says_so_and_what_to_start(status: Callable[..., str]) -> None:
    said = status()

    assert "At work: no worker, no scheduler. Start what is missing: ipai up" in said
    assert "Queue: nothing waits" in said
    assert "None, but no scheduler looks" in said
    assert "Nothing ran." in said


def test_what_an_admin_asks_is_answered_in_one_place(
    status: Callable[..., str],
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: Callable[..., str],
) -> None:
    for name in ("failing", "busy"):
        make_instance(name)
    dead = control_plane.claim(control_plane.enqueue("failing"), "host:1")
    assert dead
    control_plane.fail(dead, "credentials", "The token has expired.\nmore", 77)
    running = control_plane.claim(control_plane.enqueue("busy"), "host:1")
    assert running
    control_plane.enqueue("busy")
    connection.execute("select connectors.report_service('host:1', 'worker', 4)")
    connection.execute("select connectors.report_service('host:2', 'scheduler')")
    connection.execute("select connectors.check_alerts()")
    connection.execute(
        "select connectors.append_secret_audit('read', 'acme/token', null, %s, null)",
        [running.id],
    )

    said, seen = status(), json.loads(status("--json"))

    for words in (
        "At work: 1 worker for 4 runs at once, 1 scheduler",
        "Queue: 1 for the present run of their instance",
        "The token has expired.",
        "Sync failing has failed for good",
    ):
        assert words in said
    assert [one["run_id"] for one in seen["running"]] == [str(running.id)]
    assert [one["instance_id"] for one in seen["failed"]] == ["failing"]
    assert [(one["source"], one["runs"], one["failed"]) for one in seen["costs"]] == [
        ("github", 2, 1)
    ]
    (used,) = seen["secrets"]
    assert (used["secret_name"], used["action"], used["instance_id"], used["times"]) == (
        "acme/token",
        "read",
        "busy",
        1,
    )
