# SPDX-License-Identifier: Apache-2.0
"""Eight workers in a storm: kills by signal 9, a server that goes away, connections that are cut.

Every job must end exactly once, none may be lost or run twice at a time, no limit be exceeded and
no process be left. IPAI_STORM_JOBS makes it longer; 2000 is what docs/operate.md tells of.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ipai_orchestrate import embedded
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import DatabaseUnavailableError

JOBS = int(os.environ.get("IPAI_STORM_JOBS", "120"))
PATIENCE = 240 + 2 * JOBS
pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE + 120)]

WORKERS = 8
INSTANCES = 16
MOST_AT_ONCE = 3
TRY_AGAIN_LATER = 75
# How often each thing happens, spread over the jobs; at least this often, more the longer it takes.
KILLS, CUTS, RESTARTS = max(4, JOBS // 40), max(4, JOBS // 20), max(2, JOBS // 400)
WORKER = ("worker", "--sources", "scripted", "--concurrency", "1", "--no-transform")
# Shells, so that 2,000 runs cost little. The lock dies with whoever holds it.
TAP = """#!/bin/sh
exec 9>"{folder}/$IPAI_INSTANCE_ID.lock"
flock -n 9 || echo "$IPAI_RUN_ID" >>"{folder}/overlaps"
echo "$IPAI_RUN_ID" >>"{folder}/performed"
echo '{{"type": "RECORD", "stream": "issues", "record": {{"id": 1}}}}'
sleep 0.1
echo '{{"type": "STATE", "value": {{"bookmarks": {{"issues": {{"replication_key_value": 1}}}}}}}}'
"""
TARGET = """#!/bin/sh
while read -r line; do
  case "$line" in
    *STATE*) echo '{"bookmarks": {"issues": {"replication_key_value": 1}}}' ;;
  esac
done
"""
HURRY = (
    "update connectors.connector_runs set run_after = clock_timestamp()"
    " where status = 'queued' and run_after > clock_timestamp()"
)
# For each job: its name, how often its attempts succeeded, and how many of them are open.
ENDS = """
    with recursive chain as (
        select id as job, instance_id || '/' || dedupe_key as name, id, status
        from connectors.connector_runs where retry_of is null
        union all
        select c.job, c.name, r.id, r.status from chain as c
        join connectors.connector_runs as r on r.retry_of = c.id
    )
    select min(name), count(*) filter (where status = 'succeeded'),
        count(*) filter (where status in ('queued', 'running'))
    from chain group by job
"""
# The most runs that ran at one moment: of one instance, and of the source.
CROWDS = """
    with moments as (
        select instance_id, started_at as at, 1 as step
        from connectors.connector_runs where started_at is not null
        union all
        select instance_id, ended_at, -1 from connectors.connector_runs where started_at is not null
    ), sums as (
        select sum(step) over (partition by instance_id order by at, step) as of_instance,
            sum(step) over (order by at, step) as of_source
        from moments
    )
    select max(of_instance), max(of_source) from sums
"""


class Wire:
    """Stands between the workers and the server, and cuts their connections."""

    def __init__(self, dsn):
        self.socket = f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432"
        self.open, self.cuts = set(), 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = self.call(asyncio.start_server(self.join, "127.0.0.1", 0))
        port = self.server.sockets[0].getsockname()[1]
        self.dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def join(self, reader, writer):
        try:
            there_reader, there = await asyncio.open_unix_connection(self.socket)
        except OSError:  # the server is away just now
            writer.transport.abort()
            return
        self.open.add(writer)
        with suppress(OSError):
            await asyncio.gather(self.carry(reader, there), self.carry(there_reader, writer))
        self.open.discard(writer)

    @staticmethod
    async def carry(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def _cut(self, chosen):
        for writer in chosen:
            writer.transport.abort()
        self.cuts += len(chosen)

    def cut(self, luck):
        """Cut about half of the connections, in the middle of whatever they do."""
        self.call(self._cut([one for one in list(self.open) if luck.random() < 0.5]))

    async def _close(self):
        self.server.close()
        for writer in list(self.open):
            writer.transport.abort()
        await asyncio.sleep(0.1)
        others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self):
        self.call(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()


@pytest.fixture
def home():
    """Where a server of this test's own lives, which it may kill."""
    folder = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    folder.chmod(0o711)
    yield folder
    embedded.stop(folder, force=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(home):
    return embedded.start(home)


@pytest.fixture
def wire(database):
    opened = Wire(database)
    yield opened
    opened.close()


def enqueue_through(wire, names):
    """Ask for each job until the answer arrives; a job asked for twice is one job."""
    for number in range(JOBS):
        while True:
            with suppress(psycopg.OperationalError, DatabaseUnavailableError):
                with ControlPlane.connect(wire.dsn) as plane:
                    plane.enqueue(
                        names[number % INSTANCES], dedupe_key=f"job-{number}", max_attempts=50
                    )
                break
            time.sleep(0.05)


class Storm:
    """Breaks things while the workers work."""

    def __init__(self, bench, home, wire):
        self.bench, self.home, self.wire = bench, home, wire
        self.luck = random.Random(5)
        self.workers = [self.start(number) for number in range(WORKERS)]
        self.kills = self.storms = self.restarts = 0

    def start(self, number):
        return self.bench.ipai(*WORKER, home=f"home-{number}", dsn=self.wire.dsn)

    def busy(self):
        """A worker that has connectors running, if one is found at once."""
        numbers = self.luck.sample(range(WORKERS), WORKERS)
        return next((n for n in numbers if self.bench.connectors(f"home-{n}/")), numbers[0])

    def kill_worker(self):
        number = self.busy()
        self.workers[number].kill()
        self.workers[number].wait()
        self.bench.wait(lambda: not self.bench.connectors(f"home-{number}/"), "no orphan", 60)
        self.workers[number] = self.start(number)
        self.kills += 1

    def tend(self):
        """Start those again that met no database when they began, as a supervisor does."""
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None:
                assert worker.returncode == TRY_AGAIN_LATER
                self.workers[number] = self.start(number)

    def cut(self):
        self.wire.cut(self.luck)
        self.storms += 1

    def restart(self):
        """In turns an orderly restart and the death of the whole server."""
        if self.restarts % 2:
            embedded.stop(self.home, force=True)
            embedded.start(self.home)
        else:
            os.kill(embedded.status(self.home).pid, signal.SIGKILL)
            embedded.revive(self.home)
        self.restarts += 1

    def rage(self, done):
        """What is due after so many jobs."""
        share = done / JOBS
        if self.kills < KILLS * share:
            self.kill_worker()
        if self.storms < CUTS * share:
            self.cut()
        if self.restarts < min(RESTARTS, (RESTARTS + 1) * share - 0.5):
            self.restart()


def ends(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(HURRY)
        return connection.execute(ENDS).fetchall()


def work_through(storm, dsn):
    deadline = time.monotonic() + PATIENCE
    while True:
        found = []
        with suppress(psycopg.OperationalError):
            found = ends(dsn)
        done = sum(1 for *_, still_open in found if not still_open)
        if done >= JOBS and not any(still_open for *_, still_open in found):
            return found
        assert time.monotonic() < deadline, (done, storm.bench.logs_of_children()[-3000:])
        storm.tend()
        storm.rage(done)
        time.sleep(0.2)


def test_every_job_ends_once_whatever_breaks(bench, home, wire, connection, in_background):
    folder = bench.folder / "source"
    folder.mkdir(mode=0o777)
    for name, text in (("tap", TAP.format(folder=folder)), ("target", TARGET)):
        (bench.bin / f"{name}-scripted").write_text(text)
        (bench.bin / f"{name}-scripted").chmod(0o755)
    names = bench.instances(INSTANCES)
    connection.execute("select connectors.set_source_limit('scripted', %s)", (MOST_AT_ONCE,))
    began = time.monotonic()
    asking = in_background(lambda: enqueue_through(wire, names))
    storm = Storm(bench, home, wire)
    found = work_through(storm, bench.dsn)
    seconds = time.monotonic() - began
    asking.join(60)

    for worker in storm.workers:
        worker.send_signal(signal.SIGTERM)
    assert {0, TRY_AGAIN_LATER} >= {worker.wait(120) for worker in storm.workers}
    assert [] == bench.connectors()
    with psycopg.connect(bench.dsn) as fresh:
        of_instance, of_source = fresh.execute(CROWDS).fetchone()
        runs = dict(fresh.execute("select id::text, status from connectors.connector_runs"))
        shares = fresh.execute("select count(*) from connectors.quota_shares").fetchone()
    performed = (folder / "performed").read_text().split()
    told = (
        f"{len(found)} jobs, {len(runs)} attempts in {seconds:.0f} s; {storm.kills} workers killed,"
        f" {storm.restarts} restarts, {wire.cuts} connections cut, at most {of_source} at once\n"
    )
    sys.stdout.write(told)  # pytest -s shows it
    expected = {f"{names[number % INSTANCES]}/job-{number}": 1 for number in range(JOBS)}
    assert {name: succeeded for name, succeeded, _ in found} == expected
    assert len(found) == JOBS
    assert Counter(runs.values()).keys() <= {"succeeded", "failed"}
    assert set(performed) <= runs.keys()
    assert len(performed) == len(set(performed))
    assert {run for run, status in runs.items() if status == "succeeded"} <= set(performed)
    assert not (folder / "overlaps").exists()
    assert of_instance == 1
    assert of_source <= MOST_AT_ONCE
    assert shares == (0,)
    assert (storm.kills, storm.restarts) == (KILLS, RESTARTS)
    assert wire.cuts
