# SPDX-License-Identifier: Apache-2.0
"""How often and when a run is tried again: by SLA tier, class of error, and what a source says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import ConflictError, NotFoundError, RefusedError

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]

# Tier, priority, and the longest waits in minutes before each retry; the shortest are half of it.
TIERS = [
    ("critical", 10, [2, 4, 8, 16, 32]),
    ("standard", 0, [2, 4, 8]),
    ("best_effort", -10, [10, 20]),
    (None, 0, [2, 4, 8]),
]


def claimed(control_plane: ControlPlane, run_id: UUID | None) -> ClaimedRun:
    run = control_plane.claim(run_id, "worker")
    assert run is not None
    return run


@pytest.mark.parametrize(("tier", "priority", "longest"), TIERS)
def test_a_run_is_retried_as_often_and_as_late_as_its_tier_says(
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
    tier: str | None,
    priority: int,
    longest: list[int],
) -> None:
    run_id: UUID | None = control_plane.enqueue(make_instance(spec={"sla_tier": tier}))
    row = connection.execute("select priority from connectors.connector_runs").fetchone()
    assert row == (priority,)

    waits = []
    while run_id is not None:
        failed = control_plane.fail(claimed(control_plane, run_id), "tap", "broke")
        ended = control_plane.run_status(run_id).ended_at
        run_id = failed.retry_id
        if failed.retry_after is not None and ended is not None:
            waits.append((failed.retry_after - ended).total_seconds() / 60)

    assert len(waits) == len(longest)
    for wait, most in zip(waits, longest, strict=True):
        assert most / 2 <= wait <= most + 0.5


def test_waits_never_exceed_an_hour(connection: Connection) -> None:
    rows = connection.execute(
        "select connectors.retry_delay(n, t) from connectors.sla_tiers as t,"
        " unnest(array[0, 7, 50, 2000000000]) as n"
    ).fetchall()

    assert all(timedelta(0) < wait <= timedelta(hours=1) for (wait,) in rows)


def test_what_is_said_when_queueing_goes_before_the_tier(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance(spec={"sla_tier": "critical"})
    run = claimed(control_plane, control_plane.enqueue("github-acme", max_attempts=1, priority=3))

    assert run.max_attempts == 1
    assert control_plane.fail(run, "tap", "broke").retry_id is None


def test_a_run_waits_parked_until_the_source_takes_requests_again(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    failed = control_plane.fail(run, "try_again_later", "Quota is used up.", 75, later)

    parked = connection.execute(
        "select status, attempt, parks, park_reason from connectors.connector_runs where id = %s",
        (failed.retry_id,),
    ).fetchone()
    assert parked == ("queued", 0, 1, "Quota is used up.")
    assert failed.retry_after is not None
    assert later <= failed.retry_after <= later + timedelta(seconds=30)
    assert control_plane.claim(None, "worker") is None
    assert claimed(control_plane, failed.retry_id).attempt == 1


def test_a_source_that_never_lets_go_on_ends_the_run_after_all(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    past = datetime.now(UTC) - timedelta(hours=2)
    run_id: UUID | None = control_plane.enqueue(make_instance(), max_attempts=3)
    connection.execute("update connectors.connector_runs set parks = 98")
    attempts = []
    while run_id is not None:
        run = claimed(control_plane, run_id)
        attempts.append(run.attempt)
        run_id = control_plane.fail(run, "try_again_later", "Not now.", 75, past).retry_id

    assert attempts == [1, 1, 1, 2, 3]


def test_later_without_a_time_is_an_attempt(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    failed = control_plane.fail(run, "try_again_later", "HTTP 503")

    assert claimed(control_plane, failed.retry_id).attempt == 2


# Dead letters


def test_what_failed_for_good_is_a_dead_letter_until_it_is_queued_again(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance(), streams=["issues"]))
    control_plane.fail(run, "credentials", "Token expired.", 77)
    (dead,) = control_plane.dead_runs()
    assert (dead.id, dead.error_class, dead.superseded) == (run.id, "credentials", False)
    assert control_plane.dead_runs(instance="other") == []
    assert control_plane.dead_runs(before=dead.ended_at) == []

    again = control_plane.requeue(dead.id)

    assert control_plane.requeue(dead.id) == again
    assert control_plane.dead_runs() == []
    retried = claimed(control_plane, again)
    assert (retried.attempt, retried.max_attempts, retried.streams) == (1, 4, ["issues"])
    assert control_plane.run_status(dead.id).retried_as == again


def test_a_failure_that_a_later_run_made_good_is_superseded(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    for name in ("one", "two"):
        run = claimed(control_plane, control_plane.enqueue(make_instance(name), max_attempts=1))
        control_plane.fail(run, "tap", "broke")
    later = claimed(control_plane, control_plane.enqueue("one"))
    assert len(control_plane.dead_runs()) == 2

    control_plane.complete(later, stateless=True)

    assert [dead.instance_id for dead in control_plane.dead_runs()] == ["two"]
    whole = control_plane.dead_runs(with_superseded=True)
    assert {dead.instance_id: dead.superseded for dead in whole} == {"one": True, "two": False}


def test_a_run_of_some_streams_does_not_supersede_one_of_all(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    dead = claimed(control_plane, control_plane.enqueue(make_instance(), max_attempts=1))
    control_plane.fail(dead, "tap", "broke")
    part = claimed(control_plane, control_plane.enqueue("github-acme", streams=["labels"]))
    control_plane.complete(part, stateless=True)

    assert [one.id for one in control_plane.dead_runs()] == [dead.id]


def test_only_a_failed_run_of_an_active_instance_is_queued_again(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    with pytest.raises(NotFoundError):
        control_plane.requeue(uuid4())
    run = claimed(control_plane, control_plane.enqueue(make_instance(), max_attempts=1))
    with pytest.raises(ConflictError, match="has not failed: it is running"):
        control_plane.requeue(run.id)
    control_plane.fail(run, "tap", "broke")
    with pytest.raises(RefusedError, match="max_attempts is 0"):
        control_plane.requeue(run.id, 0)
    control_plane.set_instance_status("github-acme", "paused")
    with pytest.raises(ConflictError, match="is paused"):
        control_plane.requeue(run.id)


# The hint to workers


def heard(listener: Connection) -> list[str]:
    return [one.payload for one in listener.notifies(timeout=5, stop_after=1)]


def test_waiting_workers_hear_of_new_runs_retries_and_cancellations(
    control_plane: ControlPlane, database: str, make_instance: MakeInstance
) -> None:
    make_instance(source_type="google_ads")
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute("listen ipai_connector_jobs")
        run_id = control_plane.enqueue("github-acme")
        assert heard(listener) == ["google_ads"]
        failed = control_plane.fail(claimed(control_plane, run_id), "tap", "broke")
        assert heard(listener) == ["google_ads"]
        running = claimed(control_plane, failed.retry_id)
        control_plane.cancel(running.id)
        assert heard(listener) == ["google_ads"]
        control_plane.heartbeat(running)
        control_plane.fail(running, "cancelled", "Cancelled.")
        assert list(listener.notifies(timeout=0)) == []
