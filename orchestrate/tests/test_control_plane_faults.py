# SPDX-License-Identifier: Apache-2.0
"""The queue when clocks are wrong, workers die and the server is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ipai_orchestrate import embedded
from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import ConflictError, DatabaseUnavailableError, OrchestrateError

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]

# A worker whose clock is off takes a run through its life and prints what it was given.
SHIFTED_WORKER = """
import datetime as real, sys, time
shift = real.timedelta(days=int(sys.argv[2]))
class Shifted(real.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + shift
    @classmethod
    def utcnow(cls):
        return super().now(real.UTC).replace(tzinfo=None) + shift
real.datetime = Shifted
before = time.time
time.time = lambda: before() + shift.total_seconds()
from ipai_orchestrate.control_plane import ControlPlane
with ControlPlane.connect(sys.argv[1]) as plane:
    plane.connection.execute("set timezone to 'Pacific/Kiritimati'")
    run = plane.claim(None, "shifted", 600)
    assert plane.heartbeat(run, 600) == "ok"
    plane.append_logs(run, [{"at": Shifted.now(real.UTC).isoformat(), "message": "now, it seems"}])
    plane.save_state(run, {"bookmarks": {"issues": {"n": 1}}})
    print(plane.fail(run, "tap", "broke").retry_after.isoformat())
"""


@pytest.mark.parametrize("days", [-400, 400])
def test_the_clock_of_a_worker_decides_nothing(
    database: str, control_plane: ControlPlane, make_instance: MakeInstance, days: int
) -> None:
    run_id = control_plane.enqueue(make_instance())
    before = datetime.now(UTC)
    worker = subprocess.run(
        [sys.executable, "-c", SHIFTED_WORKER, database, str(days)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert worker.returncode == 0, worker.stderr
    after = datetime.now(UTC)

    status = control_plane.run_status(run_id)
    assert status.started_at is not None
    assert status.ended_at is not None
    assert before <= status.started_at <= status.ended_at <= after
    retry = datetime.fromisoformat(worker.stdout.strip())
    assert before <= retry <= after + timedelta(minutes=2)
    (line,) = control_plane.logs(run_id)
    assert before <= line.at <= after + timedelta(minutes=6)


def test_a_lease_lives_as_long_as_the_database_says_whoever_asks(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    """Nothing that a worker sends holds a time that moves its own lease or frees another's."""
    arguments = connection.execute(
        "select p.proname || ': ' || a.name from pg_proc as p,"
        " unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) as a (name, kind)"
        " where p.pronamespace = 'connectors'::regnamespace and a.kind = 'timestamptz'::regtype"
        " and has_function_privilege('ipai_worker', p.oid, 'execute') order by 1"
    ).fetchall()
    assert ("fail_connector_job: retry_at",) in arguments
    assert not [one for (one,) in arguments if one.startswith(("claim", "heartbeat", "reap"))]

    run = control_plane.claim(control_plane.enqueue(make_instance()), "worker", 60)
    assert run is not None
    connection.execute("set timezone to 'Pacific/Pago_Pago'")
    assert control_plane.reap() == []
    connection.execute("set timezone to 'Pacific/Kiritimati'")
    assert control_plane.reap() == []
    assert control_plane.heartbeat(run) == "ok"


# Eight workers, some of which die


def test_eight_workers_with_crashes_end_six_hundred_jobs_once_each(
    database: str, connection: Connection, make_instance: MakeInstance
) -> None:
    jobs = 600
    names = [make_instance(f"instance-{number}") for number in range(12)]
    connection.execute(
        "select connectors.enqueue_connector_job(n.name, max_attempts => 50)"
        " from generate_series(0, %s) as j, unnest(%s::text[]) as n (name)",
        (jobs // 12 - 1, names),
    )
    done: list[UUID] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        with ControlPlane.connect(database) as plane:
            while (run := plane.claim(None, f"worker-{seed}")) is not None or is_work_left(plane):
                if run is None:
                    time.sleep(0.02)
                elif chance.random() < 0.05:  # dies: its lease runs out, somebody notices
                    plane.connection.execute(
                        "update connectors.connector_runs set lease_until = '2000-01-01'"
                        " where id = %s",
                        (run.id,),
                    )
                else:
                    plane.complete(run, 1, stateless=True)
                    done.append(run.id)

    with ThreadPoolExecutor(8) as pool:
        for worker in [pool.submit(work, seed) for seed in range(8)]:
            worker.result()

    succeeded = connection.execute(
        "select id from connectors.connector_runs where status = 'succeeded'"
    ).fetchall()
    assert Counter(done) == Counter(run_id for (run_id,) in succeeded)
    assert len(done) == jobs
    assert overlaps(connection) == []
    chains = connection.execute(
        "select count(*) from connectors.connector_runs as r where not exists"
        " (select from connectors.connector_runs as n where n.retry_of = r.id)"
        " and r.status <> 'succeeded'"
    ).fetchone()
    assert chains == (0,)


def is_work_left(plane: ControlPlane) -> bool:
    """Make waiting retries due now, and tell whether anything is not finished."""
    plane.connection.execute(
        "update connectors.connector_runs set run_after = now()"
        " where id in (select id from connectors.connector_runs"
        "   where status = 'queued' and run_after > now() for update skip locked)"
    )
    row = plane.connection.execute(
        "select exists (select from connectors.connector_runs"
        " where status in ('queued', 'running'))"
    ).fetchone()
    return row == (True,)


def overlaps(connection: Connection) -> list[tuple[Any, ...]]:
    """Runs of one instance that were running at the same time."""
    return connection.execute(
        "select instance_id, started_at, ended_at from ("
        " select *, lag(ended_at) over (partition by instance_id order by started_at) as before"
        " from connectors.connector_runs where started_at is not null) as r"
        " where started_at < before"
    ).fetchall()


# A server that is killed


@pytest.fixture
def home() -> Iterator[Path]:
    """A server of this test alone, that keeps what it has acknowledged."""
    place = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        embedded.stop(place)
        shutil.rmtree(place, ignore_errors=True)


class _Workers:
    """Threads that claim and complete, and remember what the database has confirmed."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.claimed: dict[UUID, ClaimedRun] = {}
        self.completed: set[UUID] = set()
        self.over = threading.Event()

    def work(self, number: int) -> None:
        """Claim and complete until told; a broken connection is opened again."""
        while not self.over.is_set():
            try:
                with ControlPlane.connect(self.dsn) as plane:
                    while not self.over.is_set():
                        self._one(plane, number)
            except DatabaseUnavailableError:
                time.sleep(0.02)

    def _one(self, plane: ControlPlane, number: int) -> None:
        run = plane.claim(None, f"worker-{number}", 5)
        if run is None:
            time.sleep(0.02)
            return
        assert run.id not in self.claimed
        self.claimed[run.id] = run
        plane.complete(run, 1, stateless=True)
        self.completed.add(run.id)


@pytest.mark.slow
def test_a_server_killed_during_claims_loses_no_claim_and_doubles_none(home: Path) -> None:
    spec = '{"streams": [{"name": "s"}], "quota": {"requests_per_second": 8, "concurrency": 8}}'
    dsn = embedded.start(home)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "select connectors.register_connector_definition('github', 'x', %s)", (spec,)
        )
        connection.execute(
            "select from generate_series(1, 8) as n,"
            " connectors.create_connector_instance('i-' || n, 'ipai_connector_github')"
        )
        connection.execute(
            "select connectors.enqueue_connector_job('i-' || n, max_attempts => 50)"
            " from generate_series(1, 8) as n, generate_series(1, 40)"
        )
    workers = _Workers(dsn)
    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(workers.work, number) for number in range(4)]
        for _ in range(3):
            before = len(workers.completed)
            wait_until(lambda before=before: len(workers.completed) > before + 20)
            pid = embedded.status(home).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            assert embedded.revive(home) == dsn
        with ControlPlane.connect(dsn) as plane:
            wait_until(lambda: not is_work_left(plane), 120)
        workers.over.set()
        for thread in threads:
            thread.result()

    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = dict(connection.execute("select id, status from connectors.connector_runs"))
        shares = connection.execute("select * from connectors.quota_shares").fetchall()
        assert overlaps(connection) == []
        chains = connection.execute(
            "select count(*) from connectors.connector_runs where status = 'succeeded'"
        ).fetchone()
    assert workers.claimed.keys() <= rows.keys()
    assert {rows[run_id] for run_id in workers.completed} == {"succeeded"}
    assert chains == (320,)
    assert shares == []


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_claims_by_name_of_one_run_give_it_to_one_of_eight(
    database: str, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run_id = control_plane.enqueue(make_instance(spec={"quota": {"requests_per_second": 3}}))
    outcomes: list[object] = []
    together = threading.Barrier(8)

    def claim(number: int) -> None:
        with ControlPlane.connect(database) as plane:
            together.wait(30)
            try:
                run = plane.claim(run_id, f"worker-{number}")
                outcomes.append(run and run.id)
            except OrchestrateError as error:
                outcomes.append(type(error))

    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(claim, number) for number in range(8)]:
            one.result()

    assert Counter(outcomes) == {run_id: 1, ConflictError: 7}
