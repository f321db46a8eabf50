# SPDX-License-Identifier: Apache-2.0
"""One budget per credential, however many workers: shares, limits, parking and the forecast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import (
    ConflictError,
    LeaseLostError,
    OrchestrateError,
    RefusedError,
)

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]

QUOTA = {"requests_per_second": 16, "concurrency": 16, "requests_per_run": 5000}


def claimed(control_plane: ControlPlane, name: str | None = None) -> ClaimedRun:
    run = control_plane.claim(control_plane.enqueue(name) if name else None, "worker")
    assert run is not None
    return run


def share(run: ClaimedRun) -> Mapping[str, Any]:
    assert run.quota is not None
    return run.quota


def set_limit(connection: Connection, **limits: Any) -> None:
    named = ", ".join(f"{name} => %({name})s" for name in limits)
    connection.execute(
        f"select connectors.set_quota_limit('github', 'default', {named})".encode(), limits
    )


def one_row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def in_an_hour() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


# Shares


def test_a_lone_instance_holds_the_whole_budget_while_it_runs(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, make_instance(spec={"quota": QUOTA}))

    assert run.quota == {
        "requests_per_second": 16,
        "concurrency": 16,
        "requests_total": 5000,
        "reset_at": None,
    }
    assert one_row(connection, "select count(*) from connectors.quota_shares") == (1,)


def test_a_connector_without_a_quota_has_no_share(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    assert claimed(control_plane, make_instance()).quota is None
    assert one_row(connection, "select count(*) from connectors.quota_buckets") == (0,)


ENDINGS: dict[str, Callable[[ControlPlane, ClaimedRun], object]] = {
    "completes": lambda plane, run: plane.complete(run, stateless=True),
    "fails": lambda plane, run: plane.fail(run, "tap", "broke"),
    "is cancelled": lambda plane, run: plane.fail(run, "cancelled", "stopped"),
    "loses its worker": lambda plane, _: (
        plane.connection.execute(
            "update connectors.connector_runs set lease_until = '2000-01-01'"
            " where status = 'running'"
        ),
        plane.reap(),
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_share_is_returned_when_the_run(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance, ending: str
) -> None:
    run = claimed(control_plane, make_instance(spec={"quota": QUOTA}))
    ENDINGS[ending](control_plane, run)

    assert one_row(connection, "select count(*) from connectors.quota_shares") == (0,)


def test_instances_of_one_credential_share_and_leave_something_to_those_that_may_come(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    for number in range(6):
        make_instance(f"one-{number}", spec={"quota": QUOTA})
    rates = [
        share(claimed(control_plane, f"one-{number}"))["requests_per_second"] for number in range(4)
    ]

    assert rates == [8, 4, 2, 2]
    with pytest.raises(ConflictError, match="Other runs hold all of the quota of 'github'"):
        claimed(control_plane, "one-4")
    assert control_plane.claim(None, "worker") is None


def test_those_that_wait_at_once_get_equal_parts(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    for number in range(4):
        control_plane.enqueue(make_instance(f"one-{number}", spec={"quota": QUOTA}))
    runs = [claimed(control_plane) for _ in range(4)]

    assert [share(run)["requests_per_second"] for run in runs] == [4, 4, 4, 4]
    assert [share(run)["concurrency"] for run in runs] == [4, 4, 4, 4]


CREDENTIALS = [
    ({}, "default"),
    ({"repositories": ["x/y"], "start_date": "2026-01-01"}, "default"),
    ({"auth_token": "${GITHUB_TOKEN}"}, "GITHUB_TOKEN"),
    ({"auth_token": ["${B}", "${A}", "${B}"]}, "A,B"),
    ({"auth_token": "${T}", "api_url": "https://git.acme.example"}, "T@https://git.acme.example"),
]


@pytest.mark.parametrize(("config", "key"), CREDENTIALS)
def test_the_bucket_of_an_instance_is_its_credential_and_place(
    connection: Connection, make_instance: MakeInstance, config: Mapping[str, Any], key: str
) -> None:
    make_instance(config=config)

    assert one_row(connection, "select quota_key from connectors.connector_instances") == (key,)


def test_a_long_list_of_credentials_is_told_apart_by_its_hash(
    connection: Connection, make_instance: MakeInstance
) -> None:
    for number in range(2):
        names = [f"${{A_RATHER_LONG_NAME_{n:03}}}" for n in range(9)] + [f"${{LAST_{number}}}"]
        make_instance(f"one-{number}", config={"auth_token": names})
    row = one_row(
        connection,
        "select count(distinct quota_key), max(length(quota_key))"
        " from connectors.connector_instances",
    )

    assert row == (2, 117)


def test_other_credentials_have_a_budget_of_their_own(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    for name in ("ONE", "TWO"):
        make_instance(name.lower(), spec={"quota": QUOTA}, config={"auth_token": f"${{{name}}}"})

    for name in ("one", "two"):
        assert share(claimed(control_plane, name))["requests_per_second"] == 16


def test_settings_of_an_instance_go_before_the_spec_and_bound_its_share(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    gentle = {"requests_per_second": 0.5, "concurrency": 1, "requests_per_run": 10}
    make_instance("gentle", spec={"quota": QUOTA}, config=gentle)
    make_instance("eager", spec={"quota": QUOTA}, config={"requests_per_second": 200})

    quota = share(claimed(control_plane, "gentle"))
    assert (quota["requests_per_second"], quota["concurrency"]) == (0.5, 1)
    assert quota["requests_total"] == 10
    assert share(claimed(control_plane, "eager"))["requests_per_second"] == 199.5


def test_an_instance_with_a_lower_rate_runs_beside_one_with_a_higher(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance("eager", spec={"quota": QUOTA}, config={"requests_per_second": 200})
    make_instance("plain", spec={"quota": QUOTA})

    rates = [share(claimed(control_plane, name)) for name in ("eager", "plain")]
    assert [rate["requests_per_second"] for rate in rates] == [100, 16]


def test_what_an_admin_sets_goes_before_everything(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance(spec={"quota": QUOTA})
    set_limit(connection, requests_per_second=3, concurrency=2)
    quota = share(claimed(control_plane, "github-acme"))

    assert (quota["requests_per_second"], quota["concurrency"]) == (3, 2)


def test_a_budget_can_be_set_for_a_connector_without_one(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance()
    set_limit(connection, window_requests=100, window_seconds=2_000_000_000)
    quota = share(claimed(control_plane, "github-acme"))

    assert (quota["requests_per_second"], quota["requests_total"]) == (None, 100)
    assert quota["concurrency"] is None
    assert quota["reset_at"] is not None


BAD_LIMITS = [
    ("set_quota_limit('gitlab')", "No connector reads 'gitlab'", "PT404"),
    ("set_quota_limit('github', requests_per_second => 0)", "A limit is not above zero", "PT422"),
    ("set_quota_limit('github', window_requests => 5)", "the window is incomplete", "PT422"),
    ("set_source_limit('gitlab', 1)", "No connector reads 'gitlab'", "PT404"),
    ("set_source_limit('github', 0)", "max_running is 0", "PT422"),
    ("purge_quota_usage(7)", "at least 90 days, not 7", "PT422"),
]


@pytest.mark.parametrize(("call", "words", "sqlstate"), BAD_LIMITS)
def test_a_limit_that_cannot_be_is_refused_with_what_to_do(
    connection: Connection, make_instance: MakeInstance, call: str, words: str, sqlstate: str
) -> None:
    make_instance()
    with pytest.raises(psycopg.Error, match=words) as refusal:
        connection.execute(f"select connectors.{call}".encode())

    assert refusal.value.sqlstate == sqlstate
    assert refusal.value.diag.message_hint


# What is used, and what is left


def test_requests_are_counted_from_the_figures_and_from_what_the_worker_says(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, make_instance(spec={"quota": QUOTA}))
    control_plane.record_streams(run, [{"stream": "issues", "requests": 10}])
    control_plane.record_streams(
        run, [{"stream": "issues", "requests": 25}, {"stream": "labels", "requests": 5}]
    )
    control_plane.record_quota(run, {"requests": 40})
    control_plane.record_quota(run, {"requests": 7})  # overtaken by a newer report
    control_plane.complete(run, stateless=True)

    assert one_row(connection, "select sum(requests) from connectors.quota_usage") == (40,)


def test_totals_promised_to_runs_never_exceed_what_the_source_has_left(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    unbounded = {"requests_per_second": 16, "concurrency": 16}
    for number in range(4):
        make_instance(f"one-{number}", spec={"quota": unbounded})
    first = claimed(control_plane, "one-0")
    said = {"requests": 100, "limit": 5000, "remaining": 1000, "reset_at": in_an_hour().isoformat()}
    answer = control_plane.record_quota(first, said)
    assert answer is not None
    assert datetime.fromisoformat(answer["reset_at"]) == in_an_hour()

    totals = [share(claimed(control_plane, f"one-{number}"))["requests_total"] for number in (1, 2)]
    assert totals == [500, 250]
    held = one_row(
        connection,
        "select s.remaining - sum(h.requests_total - h.requests_used)"
        " from connectors.quota_standing as s natural join connectors.quota_shares as h"
        " group by s.remaining",
    )
    assert held == (250,)


def test_what_the_source_says_is_taken_in_order_of_its_windows(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, make_instance(spec={"quota": QUOTA}))
    now = datetime.now(UTC)
    reports = [
        ({"remaining": 90, "reset_at": now + timedelta(minutes=10)}, 90),
        ({"remaining": 95, "reset_at": now + timedelta(minutes=10)}, 90),  # overtaken
        ({"remaining": 80, "reset_at": now + timedelta(minutes=10)}, 80),
        ({"remaining": 70, "reset_in": 600}, 70),
        ({"remaining": 100, "reset_at": now + timedelta(minutes=70)}, 100),  # the next window
        ({"remaining": 3, "reset_at": now + timedelta(minutes=10)}, 100),  # of the window before
        ({"remaining": 3, "reset_at": now - timedelta(minutes=10)}, 100),
        ({"remaining": 3}, 100),
        ({"remaining": -1, "reset_at": now + timedelta(minutes=70)}, 100),
    ]
    for said, remaining in reports:
        given = {key: str(value) for key, value in said.items()}
        control_plane.record_quota(run, given)
        row = one_row(connection, "select remaining from connectors.quota_standing")
        assert row == (remaining,), said


def test_usage_that_is_none_is_refused(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, make_instance(spec={"quota": QUOTA}))
    for usage in ({"requests": "many"}, {"remaining": 1, "reset_at": "soon"}):
        with pytest.raises(RefusedError, match="not what is expected"):
            control_plane.record_quota(run, usage)
    connection.execute("update connectors.connector_runs set lease_until = '2000-01-01'")
    control_plane.reap()
    with pytest.raises(LeaseLostError):
        control_plane.record_quota(run, {"requests": 1})


def test_runs_wait_parked_for_a_spent_quota_while_other_sources_go_on(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    for number in range(3):
        make_instance(f"one-{number}", spec={"quota": QUOTA})
    first = claimed(control_plane, "one-0")
    reset_at = in_an_hour()
    said = {"limit": 5000, "remaining": 0, "reset_at": reset_at.isoformat()}
    control_plane.record_quota(first, said)
    waiting = [control_plane.enqueue(f"one-{number}", priority=9) for number in (1, 2)]
    control_plane.enqueue(make_instance("other", "gitlab"))

    with pytest.raises(ConflictError, match="quota of 'github' is spent until 20"):
        control_plane.claim(waiting[0], "worker")
    assert claimed(control_plane).instance_id == "other"
    parked = connection.execute(
        "select attempt, parks, park_reason, run_after from connectors.connector_runs"
        " where id = any (%s)",
        (waiting,),
    ).fetchall()
    assert len(parked) == 2
    for attempt, parks, reason, run_after in parked:
        assert (attempt, parks) == (0, 1)
        assert reason.startswith("Quota of github is spent: 0 of 5000 requests are left")
        assert reset_at <= run_after <= reset_at + timedelta(seconds=10)
    assert control_plane.claim(None, "worker") is None
    assert connection.execute(
        "select source_type, waits_for, runs from connectors.connector_queue_depth"
    ).fetchall() == [("github", "parked", 2)]

    # The window ends: they go on.
    connection.execute("update connectors.quota_buckets set reported_reset_at = now()")
    connection.execute("update connectors.connector_runs set run_after = now() where parks > 0")
    assert claimed(control_plane).attempt == 1


def test_the_forecast_says_when_a_quota_will_be_used_up(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, make_instance(spec={"quota": QUOTA}))
    set_limit(connection, window_requests=10_000, window_seconds=2_000_000_000)
    control_plane.record_quota(run, {"requests": 900})
    row = one_row(
        connection,
        "select used, remaining, used_fraction, running_runs, granted_per_second, pace_per_second,"
        " exhausted_at - clock_timestamp(), exceeded_before_reset from connectors.quota_forecast",
    )

    assert row[:6] == (900, 9100, Decimal("0.09"), 1, 16, 1)
    assert timedelta(seconds=9000) < row[6] <= timedelta(seconds=9100)
    assert row[7] is True


def test_old_usage_is_purged(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    run = claimed(control_plane, make_instance(spec={"quota": QUOTA}))
    control_plane.record_quota(run, {"requests": 9})
    assert one_row(connection, "select connectors.purge_quota_usage()") == (0,)
    connection.execute(
        "update connectors.quota_usage set last_at = clock_timestamp() - interval '91 days'"
    )
    assert one_row(connection, "select connectors.purge_quota_usage()") == (1,)


# Limits of a source


def test_no_more_runs_of_a_source_than_its_limit_allows(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    for number in range(3):
        control_plane.enqueue(make_instance(f"one-{number}"), priority=9)
    control_plane.enqueue(make_instance("other", "gitlab"))
    connection.execute("select connectors.set_source_limit('github', 2)")
    runs = [claimed(control_plane) for _ in range(3)]
    assert sorted(run.source_type for run in runs) == ["github", "github", "gitlab"]

    assert control_plane.claim(None, "worker") is None
    waiting = one_row(connection, "select run_id, waits_for from connectors.connector_queue")
    assert waiting[1] == "limit"
    with pytest.raises(ConflictError, match="As many runs of 'github' are running"):
        control_plane.claim(waiting[0], "worker")
    connection.execute("select connectors.set_source_limit('github', null)")
    assert claimed(control_plane).source_type == "github"


def test_a_claim_that_cannot_see_others_is_refused(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.Error, match="cannot see what others claim") as refusal:
            connection.execute("select connectors.claim_connector_job('worker')")
    assert refusal.value.sqlstate == "PT422"


# Many at once


def test_a_claim_waits_for_what_another_is_just_taking(
    control_plane: ControlPlane, database: str, make_instance: MakeInstance
) -> None:
    for number in range(4):
        make_instance(f"one-{number}", spec={"quota": QUOTA})
    # Creating the bucket and the day's partitions makes others wait by itself.
    control_plane.complete(claimed(control_plane, "one-3"), stateless=True)
    control_plane.enqueue("one-0")
    later: list[ClaimedRun] = []

    def claim_next() -> None:
        with ControlPlane.connect(database) as plane:
            later.append(claimed(plane))

    with psycopg.connect(database) as other:
        first = ControlPlane(other).claim(None, "early")
        assert first is not None
        control_plane.enqueue("one-1")
        late = threading.Thread(target=claim_next)
        late.start()
        late.join(timeout=0.3)
        assert later == []
        other.commit()
    late.join()

    assert [share(run)["requests_per_second"] for run in (first, *later)] == [8, 4]


WATCHED = """
    select coalesce(max(rate), 0), coalesce(max(places), 0), coalesce(max(requests), 0),
        (select count(*) from connectors.connector_runs as r
            join connectors.connector_instances as i on i.id = r.instance_id
            where r.status = 'running' and i.definition_id = 'ipai_connector_gitlab')
    from (
        select sum(requests_per_second) as rate, sum(concurrency) as places,
            sum(requests_total - requests_used) as requests
        from connectors.quota_shares group by source_type, credential_key) as held"""


@contextmanager
def watching(database: str) -> Iterator[list[tuple[Any, ...]]]:
    """Look at the shares all the time, from outside the workers."""
    seen: list[tuple[Any, ...]] = []
    over = threading.Event()

    def watch() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            while not over.is_set():
                seen.append(one_row(connection, WATCHED))
                time.sleep(0.001)

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watch)
        try:
            yield seen
        finally:
            over.set()
            watcher.result()


def test_eight_workers_together_never_exceed_a_budget_nor_a_limit(
    database: str,
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
) -> None:
    """Named claims among them: locks taken in another order must not end in a deadlock."""
    quota = {"requests_per_second": 10, "concurrency": 5}
    names = [make_instance(f"hub-{n}", "github", spec={"quota": quota}) for n in range(6)]
    names += [make_instance(f"lab-{n}", "gitlab", spec={"quota": quota}) for n in range(6)]
    connection.execute("select connectors.set_source_limit('gitlab', 3)")
    set_limit(connection, window_requests=1_000_000, window_seconds=2_000_000_000)
    for name in names:
        for _ in range(12):
            control_plane.enqueue(name, max_attempts=1)
    ended: list[ClaimedRun] = []

    def work(number: int) -> None:
        with ControlPlane.connect(database) as plane:
            while rows := plane.connection.execute(
                "select id from connectors.connector_runs where status = 'queued'"
            ).fetchall():
                named = rows[number * 7919 % len(rows)][0] if len(ended) % 3 == number % 3 else None
                try:
                    run = plane.claim(named, f"worker-{number}")
                except OrchestrateError as error:
                    assert isinstance(error, ConflictError), error
                    continue
                if run is None:
                    time.sleep(0.005)
                    continue
                plane.record_quota(run, {"requests": 3})
                if number % 2:
                    plane.complete(run, stateless=True)
                else:
                    plane.fail(run, "tap", "broke")
                ended.append(run)

    with watching(database) as seen, ThreadPoolExecutor(8) as pool:
        for worker in [pool.submit(work, number) for number in range(8)]:
            worker.result()

    assert len({run.id for run in ended}) == len(names) * 12
    assert len(seen) > 50
    assert max(rate for rate, _, _, _ in seen) <= 10
    assert max(places for _, places, _, _ in seen) <= 5
    assert max(requests for _, _, requests, _ in seen) <= 1_000_000
    assert max(running for _, _, _, running in seen) <= 3
    assert max(rate for rate, _, _, _ in seen) > 5, "several shared it"
