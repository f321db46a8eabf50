# SPDX-License-Identifier: Apache-2.0
"""Two queues on one server, and processes that take jobs from them as fast as they can."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg

from ipai_orchestrate import embedded
from loading.environments import Environments, Peer, cache_home

PEER = Peer("procrastinate", ("procrastinate==3.10.0",))
WORKERS = 8
INSTANCES = 200
SPEC = {"sync_mode": "incremental", "streams": [{"name": "issues"}]}

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Queue:
    """The three calls of a queue, as one process makes them."""

    enqueue: str
    claim: str
    finish: str
    prepare: str
    left: str
    bulk: str


OURS = Queue(
    enqueue="select connectors.enqueue_connector_job('bench-' || mod(%(number)s, 200))",
    claim="select id, lease_token from connectors.claim_connector_job(%(worker)s)",
    finish="select connectors.complete_connector_job(%(one)s, %(two)s, 0, null, true)",
    prepare="select 0",
    left="select count(*) from connectors.connector_runs where status in ('queued', 'running')",
    bulk="select connectors.enqueue_connector_job('bench-' || mod(n, 200))"
    " from generate_series(1, %(count)s) as n",
)
_DEFER = (
    "procrastinate_defer_jobs_v1(array[row('q', 't', 0, null, null, '{}', null)]"
    "::procrastinate_job_to_defer_v1[])"
)
THEIRS = Queue(
    enqueue=f"select {_DEFER}",
    claim="select id, %(worker)s from procrastinate_fetch_job_v2(null, %(prepared)s)"
    " where id is not null",
    finish="select procrastinate_finish_job_v1(%(one)s, 'succeeded', false)",
    prepare="select procrastinate_register_worker_v1()",
    left="select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
    bulk=f"select {_DEFER} from generate_series(1, %(count)s) as n",
)


def _cycles(dsn: str, queue: Queue, number: int, count: int, barrier: Barrier, ends: Any) -> None:
    """Take jobs until none is left; with a count, queue each job first and take as many."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        given: dict[str, Any] = {"worker": f"bench:{number}"}
        given["prepared"] = _value(connection, queue.prepare)
        done = queued = 0
        barrier.wait()
        while not count or done < count:
            if queued == done and count:
                connection.execute(queue.enqueue, {"number": done * WORKERS + number})
                queued += 1
            job = connection.execute(queue.claim, given).fetchone()
            if job is not None:
                connection.execute(queue.finish, {"one": job[0], "two": job[1]})
                done += 1
            elif not count:
                break
        ends.put((time.monotonic(), done))


def rate_of(target: Callable[..., None], processes: int, *arguments: Any) -> float:
    """Units a second of some processes that begin together."""
    context = multiprocessing.get_context("spawn")
    barrier, ends = context.Barrier(processes + 1), context.SimpleQueue()
    children = [
        context.Process(target=target, args=(*_numbered(arguments, n), barrier, ends))
        for n in range(processes)
    ]
    for child in children:
        child.start()
    barrier.wait(120)
    began = time.monotonic()
    found = [ends.get() for _ in children]
    for child in children:
        child.join()
    return float(sum(done for _, done in found) / (max(at for at, _ in found) - began))


def _numbered(arguments: tuple[Any, ...], number: int) -> tuple[Any, ...]:
    dsn, what, *rest = arguments
    return (dsn, what, number, *rest)


def _value(connection: Connection, query: str, **given: object) -> Any:
    row = connection.execute(query, given).fetchone()
    return None if row is None else row[0]


def cycle_rate(dsn: str, queue: Queue, jobs: int, *, enqueue: bool) -> float:
    """Jobs a second through a queue; all of them must have ended."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if not enqueue:
            connection.execute(queue.bulk, {"count": jobs})
        rate = rate_of(_cycles, WORKERS, dsn, queue, jobs // WORKERS if enqueue else 0)
        left = _value(connection, queue.left)
    if left:
        message = f"{left} jobs have not ended: the figure would be wrong"
        raise RuntimeError(message)
    return rate


@contextmanager
def server() -> Iterator[str]:
    """The embedded server in a home of its own, with default settings."""
    with tempfile.TemporaryDirectory(prefix="ipai-bench-") as home:
        Path(home).chmod(0o711)
        with embedded.open_database(Path(home)) as dsn:
            yield dsn


def fill(dsn: str) -> None:
    """Create a connector and its instances."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "select connectors.register_connector_definition('bench', 'source_type: bench', %s)",
            (json.dumps(SPEC),),
        )
        connection.execute(
            "select connectors.create_connector_instance("
            "'bench-' || n, 'ipai_connector_bench', '{}')"
            " from generate_series(0, %s) as n",
            (INSTANCES - 1,),
        )


def peer_database(dsn: str) -> tuple[str, str]:
    """Address of a database with the peer's schema, or why there is none."""
    peer = Environments(cache_home() / "peers").of(PEER)
    if peer.problem:
        return "", peer.problem
    (schema,) = peer.home.glob("lib/python*/site-packages/procrastinate/sql/schema.sql")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create database procrastinate")
    theirs = dsn.replace("@/postgres?", "@/procrastinate?").replace("/postgres?", "/procrastinate?")
    with psycopg.connect(theirs, autocommit=True) as connection:
        connection.execute(schema.read_bytes())
    return theirs, ""


def finished_runs(dsn: str, upto: int) -> None:
    """Add finished runs until there are that many; without their events."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        have = _value(connection, "select count(*) from connectors.connector_runs")
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "insert into connectors.connector_runs"
            " (instance_id, job_name, mode, triggered_by, status, attempt,"
            " queued_at, run_after, started_at, ended_at, worker, lease_token, exit_code)"
            " select 'bench-' || n %% %s, 'sync_bench_all_incremental', 'incremental', 'schedule',"
            " 'succeeded', 1, t, t, t, t, 'bench', gen_random_uuid(), 0"
            " from generate_series(1, %s) as n, lateral (select clock_timestamp()"
            " - n * interval '1 second') as c (t)",
            (INSTANCES, max(0, upto - have)),
        )
        connection.execute("vacuum analyze connectors.connector_runs")
