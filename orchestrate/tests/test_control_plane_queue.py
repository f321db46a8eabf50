# SPDX-License-Identifier: Apache-2.0
"""The life of a run: queued, claimed once, kept by heartbeat, ended once, whoever dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from ipai_kit.spec import job_name
from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane, ErrorClass
from ipai_orchestrate.control_plane.queries import load_queries
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    ConflictError,
    ControlPlaneError,
    DatabaseUnavailableError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
)

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]


def claimed(control_plane: ControlPlane, run_id: UUID, **options: Any) -> ClaimedRun:
    run = control_plane.claim(run_id, "worker", **options)
    assert run is not None
    return run


def expire(connection: Connection) -> None:
    connection.execute(
        "update connectors.connector_runs set lease_until = clock_timestamp() - interval '1 second'"
        " where status = 'running'"
    )


def test_a_run_goes_from_queued_to_succeeded(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run_id = control_plane.enqueue(make_instance(), "incremental", ["issues"], "test")
    queued = control_plane.run_status(run_id)
    assert (queued.status, queued.job_name) == ("queued", "sync_github_issues_incremental")
    assert (queued.started_at, queued.ended_at, queued.attempt) == (None, None, 0)

    run = claimed(control_plane, run_id, lease_seconds=60)
    assert (run.id, run.attempt, run.streams) == (run_id, 1, ["issues"])
    assert (run.config, run.source_type) == ({"repositories": ["acme/app"]}, "github")
    running = control_plane.run_status(run_id)
    assert (running.status, running.worker, running.ended_at) == ("running", "worker", None)

    control_plane.save_state(run, {"bookmarks": {"issues": {}}})
    control_plane.complete(run, 7)

    done = control_plane.run_status(run_id)
    assert (done.status, done.rows_processed, done.exit_code) == ("succeeded", 7, 0)
    assert done.started_at is not None
    assert done.ended_at is not None
    assert done.started_at <= done.ended_at
    assert (done.lease_until, done.error_class, done.error_summary) == (None, None, None)


def test_a_run_of_all_streams_is_named_so(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run_id = control_plane.enqueue(make_instance())

    assert control_plane.run_status(run_id).job_name == "sync_github_all_incremental"


@pytest.mark.parametrize(
    ("source", "stream", "mode"),
    [
        ("github", "issues", "incremental"),
        ("google_ads", "Ad Groups", "full_table"),
        ("github", "x" * 80, "cdc"),
        ("github", "things_h0123456789", "incremental"),
        ("github", "ströme", "incremental"),
        ("github", "a-b", "incremental"),
        ("github", "a_b", "incremental"),
    ],
)
def test_jobs_have_the_names_the_kit_gives_them(
    connection: Connection, source: str, stream: str, mode: str
) -> None:
    row = connection.execute(
        "select connectors.job_name(%s, %s, %s)", (source, stream, mode)
    ).fetchone()

    assert row == (job_name(source, stream, mode),)


def test_a_run_does_not_succeed_before_its_state_is_stored(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    with pytest.raises(ConflictError, match="has stored no state"):
        control_plane.complete(run)
    assert control_plane.run_status(run.id).status == "running"

    control_plane.complete(run, state={"bookmarks": {"issues": {"replication_key_value": 1}}})

    assert control_plane.run_status(run.id).state_version == 1


def test_a_tap_without_state_is_allowed_when_said(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    control_plane.complete(run, stateless=True)

    assert control_plane.run_status(run.id).status == "succeeded"


def test_a_refused_last_state_leaves_the_run_running(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance()
    control_plane.state_set("github-acme", {"bookmarks": {"issues": {"replication_key_value": 5}}})
    run = claimed(control_plane, control_plane.enqueue("github-acme"))
    with pytest.raises(RefusedError, match="set back"):
        control_plane.complete(run, state={"bookmarks": {"issues": {"replication_key_value": 4}}})

    assert control_plane.run_status(run.id).status == "running"


def test_figures_and_committed_rows_are_kept_per_stream(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    control_plane.record_streams(run, [{"stream": "issues", "received": 3, "inserted": 3}])
    control_plane.record_streams(
        run,
        [
            {"stream": "issues", "received": 10, "inserted": 6, "unchanged": 3, "dead": 1},
            {"stream": "labels", "received": 2, "updated": 2, "requests": 1, "bytes": 99},
            {"stream": "commits", "skipped_reason": "HTTP 404"},
        ],
    )
    control_plane.complete(run, stateless=True)

    done = control_plane.run_status(run.id)
    assert done.rows_processed == 11
    assert [
        (one["stream"], one["rows_received"], one["rows_dead"], one["skipped_reason"])
        for one in done.streams
    ] == [("commits", 0, 0, "HTTP 404"), ("issues", 10, 1, None), ("labels", 2, 0, None)]
    assert done.streams[1]["job_name"] == "sync_github_issues_incremental"


def test_a_schema_gets_a_new_version_only_when_it_changes(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))

    assert [
        control_plane.record_schema(run, "issues", {"properties": {"id": {"type": kind}}})
        for kind in ("integer", "integer", "string")
    ] == [1, 1, 2]


# Queueing


def test_queueing_twice_with_one_key_queues_once_even_after_the_end(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance()
    first = control_plane.enqueue("github-acme", dedupe_key="due 12:00")
    assert control_plane.enqueue("github-acme", dedupe_key="due 12:00") == first
    control_plane.complete(claimed(control_plane, first), stateless=True)

    assert control_plane.enqueue("github-acme", dedupe_key="due 12:00") == first
    assert control_plane.enqueue("github-acme", dedupe_key="due 13:00") != first
    assert control_plane.enqueue("github-acme") != control_plane.enqueue("github-acme")


def test_a_key_used_for_another_job_is_refused(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    control_plane.enqueue(make_instance(), "incremental", dedupe_key="k")
    with pytest.raises(ConflictError, match="Key 'k' was used for another job"):
        control_plane.enqueue("github-acme", "full_table", dedupe_key="k")


def test_eight_callers_at_once_with_one_key_get_one_run(
    database: str, make_instance: MakeInstance
) -> None:
    make_instance()
    ids: list[UUID] = []

    def call() -> None:
        with ControlPlane.connect(database) as plane:
            ids.append(plane.enqueue("github-acme", dedupe_key="once"))

    run_all([call] * 8)

    assert len(ids) == 8
    assert len(set(ids)) == 1


BAD_JOBS: list[tuple[dict[str, Any], type[ControlPlaneError], str, str]] = [
    ({"instance_id": "nobody"}, NotFoundError, "PT404", "'nobody' does not exist"),
    ({"mode": "sideways"}, RefusedError, "PT422", "Mode 'sideways' is unknown"),
    ({"streams": ["isues"]}, RefusedError, "PT422", "no stream 'isues'"),
    ({"streams": []}, RefusedError, "PT422", "list of streams is empty"),
    ({"max_attempts": 0}, RefusedError, "PT422", "max_attempts is 0"),
]


@pytest.mark.parametrize(("arguments", "kind", "sqlstate", "words"), BAD_JOBS)
def test_a_job_that_cannot_be_is_refused_with_what_to_do(
    control_plane: ControlPlane,
    make_instance: MakeInstance,
    arguments: dict[str, Any],
    kind: type[ControlPlaneError],
    sqlstate: str,
    words: str,
) -> None:
    make_instance()
    with pytest.raises(kind, match=words) as refusal:
        control_plane.enqueue(**({"instance_id": "github-acme"} | arguments))
    assert refusal.value.sqlstate == sqlstate
    assert refusal.value.hint


@pytest.mark.parametrize("status", ["paused", "archived"])
def test_only_active_instances_are_run(
    control_plane: ControlPlane, make_instance: MakeInstance, status: str
) -> None:
    waiting = control_plane.enqueue(make_instance())
    control_plane.set_instance_status("github-acme", status)
    with pytest.raises(ConflictError, match=f"is {status}"):
        control_plane.enqueue("github-acme")
    assert control_plane.claim(None, "worker") is None
    with pytest.raises(ConflictError, match=status if status == "paused" else "is cancelled"):
        control_plane.claim(waiting, "worker")


def test_a_disabled_version_is_not_run(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance()
    connection.execute("update connectors.connector_definitions set enabled = false")
    with pytest.raises(ConflictError, match="Version 1 of 'ipai_connector_github' is disabled"):
        control_plane.enqueue("github-acme")


# Claiming


def test_nothing_due_is_no_run(control_plane: ControlPlane, make_instance: MakeInstance) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    assert control_plane.claim(None, "worker") is None
    waiting = control_plane.enqueue(make_instance(), run_after=later)
    assert control_plane.claim(None, "worker") is None
    assert claimed(control_plane, waiting).id == waiting


def test_the_queue_goes_by_priority_then_by_time(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    for name in ("one", "two", "three"):
        make_instance(name)
    control_plane.enqueue("one")
    control_plane.enqueue("two")
    control_plane.enqueue("three", priority=5)

    order = [control_plane.claim(None, "worker") for _ in range(3)]
    assert [run and run.instance_id for run in order] == ["three", "one", "two"]


def test_a_worker_may_take_some_sources_only(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance("gh", "github")
    make_instance("gl", "gitlab")
    control_plane.enqueue("gh")
    wanted = control_plane.enqueue("gl")

    run = control_plane.claim(None, "worker", sources=["gitlab", "odoo"])
    assert run is not None
    assert run.id == wanted
    assert control_plane.claim(None, "worker", sources=["gitlab"]) is None


def test_an_instance_runs_once_at_a_time_and_the_error_names_the_active_run(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    active = claimed(control_plane, control_plane.enqueue(make_instance()))
    waiting = control_plane.enqueue("github-acme")

    assert control_plane.claim(None, "other") is None
    with pytest.raises(ConflictError, match=f"has the active run {active.id}") as refusal:
        control_plane.claim(waiting, "other")
    assert "Worker worker runs it since" in refusal.value.detail

    control_plane.complete(active, stateless=True)
    assert claimed(control_plane, waiting).id == waiting


def test_a_claim_that_cannot_be_says_why(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run_id = control_plane.enqueue(make_instance())
    control_plane.complete(claimed(control_plane, run_id), stateless=True)

    with pytest.raises(ConflictError, match="is succeeded, not queued"):
        control_plane.claim(run_id, "worker")
    with pytest.raises(NotFoundError, match="does not exist"):
        control_plane.claim(uuid4(), "worker")
    with pytest.raises(RefusedError, match="worker has no name"):
        control_plane.claim(None, " ")
    with pytest.raises(RefusedError, match="A lease of 0 seconds"):
        control_plane.claim(None, "worker", 0)


def test_a_run_that_another_worker_is_just_claiming_is_left_to_it(
    control_plane: ControlPlane,
    connection: Connection,
    database: str,
    make_instance: MakeInstance,
) -> None:
    run_id = control_plane.enqueue(make_instance())
    # Creating the day's partitions is serialized by itself and not what is tested here.
    connection.execute("select connectors.ensure_log_partitions()")
    waiting: list[object] = []

    def claim_by_name() -> None:
        with ControlPlane.connect(database) as plane:
            try:
                waiting.append(plane.claim(run_id, "late"))
            except ConflictError as error:
                waiting.append(error.message)

    with psycopg.connect(database) as other:
        other.execute("select from connectors.claim_connector_job('early')")
        assert control_plane.claim(None, "worker") is None
        late = threading.Thread(target=claim_by_name)
        late.start()
        late.join(timeout=0.3)
        assert waiting == []
        other.commit()
    late.join()

    assert waiting == [f"Run {run_id} is running, not queued."]


# Leases


def test_a_heartbeat_moves_the_lease_on(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()), lease_seconds=1)
    assert control_plane.heartbeat(run, 600) == "ok"

    lease = control_plane.run_status(run.id).lease_until
    assert lease is not None
    assert lease - run.lease_until > timedelta(minutes=9)


def test_an_expired_lease_ends_the_run_and_frees_the_instance(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    expire(connection)
    following = control_plane.enqueue("github-acme")

    assert claimed(control_plane, following).id == following

    lost = control_plane.run_status(run.id)
    assert (lost.status, lost.error_class) == ("failed", "worker_lost")
    assert lost.ended_at is not None
    assert lost.error_summary is not None
    assert lost.error_summary.startswith("lease expired at 20")


def test_a_worker_that_lost_its_lease_can_write_nothing_more(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    zombie = claimed(control_plane, control_plane.enqueue(make_instance()))
    expire(connection)
    control_plane.reap()
    before = connection.execute("select * from connectors.connector_runs").fetchall()

    assert control_plane.heartbeat(zombie) == "lost"
    writes: list[Callable[[], object]] = [
        lambda: control_plane.save_state(zombie, {"a": 1}),
        lambda: control_plane.complete(zombie, stateless=True),
        lambda: control_plane.fail(zombie, "tap", "too late"),
        lambda: control_plane.record_streams(zombie, [{"stream": "issues"}]),
        lambda: control_plane.record_schema(zombie, "issues", {}),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError):
            write()

    assert connection.execute("select * from connectors.connector_runs").fetchall() == before
    assert control_plane.state_get("github-acme") is None


def test_a_guessed_token_is_no_lease(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    row = connection.execute(
        "select connectors.heartbeat_connector_job(%s, %s)", (run.id, uuid4())
    ).fetchone()
    assert row == ("lost",)
    with pytest.raises(psycopg.Error, match=r"The lease on run .* is not yours") as refusal:
        connection.execute(
            "select connectors.append_connector_logs(%s, %s, '[]')", (run.id, uuid4())
        )
    assert refusal.value.sqlstate == "PT410"


# Failing, retrying, cancelling

RETRYABLE = ("try_again_later", "tap", "target", "transform", "database", "timeout", "worker_lost")
FINAL = ("configuration", "credentials", "dead_letters", "state", "internal")


@pytest.mark.parametrize("error_class", RETRYABLE + FINAL)
def test_a_failure_is_retried_where_that_may_help(
    control_plane: ControlPlane, make_instance: MakeInstance, error_class: ErrorClass
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance(), max_attempts=3))
    control_plane.record_streams(run, [{"stream": "issues", "received": 4}])

    failed = control_plane.fail(run, error_class, "It broke.", exit_code=1)

    status = control_plane.run_status(run.id)
    assert (status.status, status.error_class, status.error_summary) == (
        "failed",
        error_class,
        "It broke.",
    )
    assert (status.exit_code, status.rows_processed) == (1, 4)
    assert (failed.retry_id is not None) == (error_class in RETRYABLE)
    assert status.retried_as == failed.retry_id


def test_attempts_are_counted_when_claimed_and_end(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run_id: UUID | None = control_plane.enqueue(make_instance(), max_attempts=3, dedupe_key="k")
    attempts = []
    while run_id is not None:
        run = claimed(control_plane, run_id)
        attempts.append(run.attempt)
        if run.attempt == 2:  # this one kills its worker
            expire(connection)
            (reaped,) = control_plane.reap()
            run_id = reaped.retry_id
        else:
            run_id = control_plane.fail(run, "tap", "broke").retry_id

    assert attempts == [1, 2, 3]
    assert control_plane.enqueue("github-acme", dedupe_key="k") == control_plane.runs(10)[-1].id


def test_being_told_to_come_back_later_costs_no_attempt_and_waits_until_then(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    run = claimed(control_plane, control_plane.enqueue(make_instance(), max_attempts=2))
    failed = control_plane.fail(run, "try_again_later", "Quota is used up.", 75, later)

    assert failed.retry_after is not None
    assert failed.retry_after >= later
    assert failed.retry_id is not None
    assert claimed(control_plane, failed.retry_id).attempt == 1


def test_without_attempts_left_nothing_is_queued(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance(), max_attempts=1))
    failed = control_plane.fail(run, "try_again_later", "Quota is used up.")

    assert (failed.status, failed.retry_id, failed.retry_after) == ("failed", None, None)


def test_an_unknown_error_class_is_refused_and_the_run_goes_on(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    with pytest.raises(RefusedError, match="Error class 'weather' is unknown"):
        control_plane.fail(run, "weather", "It rained.")  # type: ignore[arg-type]
    assert control_plane.heartbeat(run) == "ok"


def test_a_failure_without_words_still_says_something(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance()))
    control_plane.fail(run, "tap", "  ")

    assert control_plane.run_status(run.id).error_summary == "no reason given"


def test_cancelling_what_waits_is_immediate(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run_id = control_plane.enqueue(make_instance())

    assert control_plane.cancel(run_id, "not now") == "cancelled"
    status = control_plane.run_status(run_id)
    assert (status.status, status.error_summary) == ("cancelled", "not now")
    assert control_plane.cancel(run_id) == "finished"
    with pytest.raises(NotFoundError):
        control_plane.cancel(uuid4())


def test_cancelling_what_runs_is_told_at_the_next_heartbeat(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance(), max_attempts=3))
    assert control_plane.cancel(run.id) == "running"
    assert control_plane.heartbeat(run) == "cancel"

    assert control_plane.fail(run, "cancelled", "Cancelled on request.").status == "cancelled"
    assert control_plane.run_status(run.id).retried_as is None


def test_a_lost_worker_of_a_cancelled_run_leaves_it_cancelled(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, control_plane.enqueue(make_instance(), max_attempts=3))
    control_plane.cancel(run.id)
    expire(connection)

    assert [lost.retry_id for lost in control_plane.reap()] == [None]
    assert control_plane.run_status(run.id).status == "cancelled"


# Many at once


def run_all(calls: list[Callable[[], None]]) -> None:
    failures: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# The Python side


def test_every_named_query_is_known_to_the_class() -> None:
    queries = load_queries()

    assert all(query.endswith(";") for query in queries.values())
    assert {"claim", "save_state", "logs"} <= queries.keys()


def test_a_database_without_the_schema_says_what_to_run(empty_database: str) -> None:
    with (
        ControlPlane.connect(empty_database) as plane,
        pytest.raises(ConfigurationError, match="ipai db migrate"),
    ):
        plane.instances()


def test_a_database_that_does_not_answer_may_be_tried_later(tmp_path: Any) -> None:
    with (
        pytest.raises(DatabaseUnavailableError, match="connection to the database"),
        ControlPlane.connect(f"postgresql://postgres@/postgres?host={tmp_path}"),
    ):
        pass


def test_a_broken_connection_may_be_tried_later(
    control_plane: ControlPlane, connection: Connection
) -> None:
    with pytest.raises(DatabaseUnavailableError):
        control_plane.connection.execute("select 1")
        with psycopg.connect(connection.info.dsn) as other:
            other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        control_plane.instances()


def test_a_claim_reads_a_few_rows_of_a_long_queue(
    control_plane: ControlPlane, make_instance: MakeInstance, connection: Connection
) -> None:
    def rows_read() -> int:
        (read,) = connection.execute(
            "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables"
            " where relid = 'connectors.connector_runs'::regclass"
        ).fetchone() or (0,)
        return int(read)

    queue = "select connectors.enqueue_connector_job(%s) from generate_series(1, 2000)"
    connection.execute(queue, [make_instance()])
    connection.execute("analyze connectors.connector_runs")
    with connection.transaction():
        before = rows_read()
        assert control_plane.claim(None, "worker")
        assert 0 < rows_read() - before < 200
