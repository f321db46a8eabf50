# SPDX-License-Identifier: Apache-2.0
"""`ipai queue` and `ipai quota` as their users meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane

Ipai = Callable[..., str]
QUOTA = {"quota": {"requests_per_second": 8, "concurrency": 8}}


@pytest.fixture
def ipai(database: str, monkeypatch: pytest.MonkeyPatch) -> Ipai:
    """Return a function that calls a command and returns what it says."""
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def call(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(one) for one in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


def claimed(control_plane: ControlPlane, name: str) -> ClaimedRun:
    run = control_plane.claim(control_plane.enqueue(name), "worker")
    assert run is not None
    return run


def test_nothing_waits_and_nothing_is_dead_at_first(ipai: Ipai) -> None:
    assert "Nothing waits" in ipai("queue", "list")
    assert "Nothing has failed for good" in ipai("queue", "dead")
    assert "No run has drawn on a quota yet" in ipai("quota", "list")


def test_the_queue_shows_what_waits_and_why(
    ipai: Ipai, control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    for name in ("one", "two"):
        make_instance(name)
    claimed(control_plane, "one")
    control_plane.enqueue("one", priority=7)
    control_plane.enqueue("two")

    said = ipai("queue", "list").splitlines()
    assert [line.split()[1:7] for line in said[1:]] == [
        ["one", "7", "1", "of", "4", "run"],
        ["two", "0", "1", "of", "4", "worker"],
    ]
    assert "the present run of one ends first" in said[1]
    assert "a worker for github is free" in said[2]
    (two,) = json.loads(ipai("queue", "list", "two", "--json"))
    assert (two["waits_for"], two["park_reason"]) == ("worker", None)


def test_a_dead_run_is_shown_and_queued_again(
    ipai: Ipai, control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    run = claimed(control_plane, make_instance())
    control_plane.fail(run, "credentials", "The token has expired.\nmore", 77)
    assert "The token has expired." in ipai("queue", "dead")

    again = json.loads(ipai("queue", "requeue", run.id, "--attempts", 2, "--json"))["run_id"]
    assert again[:8] in ipai("queue", "requeue", run.id)
    assert "Nothing has failed" in ipai("queue", "dead")
    assert "has not failed: it is queued" in ipai("queue", "requeue", again, code=78)


def test_a_source_is_limited_and_freed(
    ipai: Ipai, connection: psycopg.Connection[Any], make_instance: Callable[..., str]
) -> None:
    make_instance()
    ipai("queue", "limit", "github", 2)
    limits = "select source_type, max_running from connectors.source_limits"
    assert connection.execute(limits).fetchall() == [("github", 2)]

    assert "Not limited" in ipai("queue", "limit", "github")
    assert connection.execute(limits).fetchall() == []
    assert "No connector reads 'gitlab'" in ipai("queue", "limit", "gitlab", 1, code=1)


def test_a_quota_is_set_and_its_use_is_shown(
    ipai: Ipai, control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    make_instance(spec=QUOTA)
    ipai("quota", "set", "github", "--rate", 2.5, "--window", "100/2000000000")
    run = claimed(control_plane, "github-acme")
    control_plane.record_quota(run, {"requests": 40})

    (shown,) = json.loads(ipai("quota", "list", "--json"))
    assert (shown["used"], shown["remaining"], shown["budget"]) == (40, 60, 100)
    said = ipai("quota", "list")
    assert "2.5 of 2.5 " in said
    assert "60" in said
    assert "'5000' is no window" in ipai("quota", "set", "github", "--window", "5000", code=2)
    assert "A limit is not above zero" in ipai("quota", "set", "github", "--rate", 0, code=78)
