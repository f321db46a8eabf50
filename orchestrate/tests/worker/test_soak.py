# SPDX-License-Identifier: Apache-2.0
"""Scheduled runs beside faults of every kind; IPAI_SOAK_RUNS makes it longer.

Sources that fail, workers killed by signal 9, a database that restarts: the platform's own view
must show that at least 95 of 100 syncs succeed after their retries.
"""

import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from ipai_orchestrate import embedded
from ipai_orchestrate.journal import Journal
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.scheduler import ScheduleBook
from ipai_orchestrate.scheduler.rounds import Scheduler

RUNS = int(os.environ.get("IPAI_SOAK_RUNS", "100"))
PATIENCE = 240 + 6 * RUNS
pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE + 120)]

INSTANCES = 10
WORKERS = 2
WORKER = ("worker", "--sources", "scripted", "--concurrency", "2", "--no-transform")
# Of 100 runs so many meet a source that ends with this code; 70 is not tried again.
FAULTS = {75: 10, 1: 10, 70: 2}
READ_OR_FAIL = """
import os, random
fault = random.choice(os.listdir({folder!r}) or [""])
if fault and random.random() < 0.4:
    os.unlink(os.path.join({folder!r}, fault))
    read(start + 1)
    sys.exit(int(fault.split("-")[0]))
read(start + 1)
read(start + 2)
"""
HURRY = (
    "update connectors.connector_runs set run_after = clock_timestamp()"
    " where status = 'queued' and run_after > clock_timestamp()"
)
# How often the attempts of each job succeeded, and how many of them are open.
ENDS = """
    with recursive chain as (
        select id as job, id, status from connectors.connector_runs where retry_of is null
        union all
        select c.job, r.id, r.status from chain as c
        join connectors.connector_runs as r on r.retry_of = c.id
    )
    select count(*) filter (where status = 'succeeded'),
        count(*) filter (where status in ('queued', 'running'))
    from chain group by job
"""


@pytest.fixture
def home():
    """Where a server of this test's own lives, which it may restart."""
    folder = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    folder.chmod(0o711)
    yield folder
    embedded.stop(folder, force=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(home):
    return embedded.start(home)


def schedule_missed_runs(bench, connection):
    """Instances whose schedulers were away for as many minutes as there shall be runs."""
    book = ScheduleBook(connection)
    scheduler = Scheduler(Database(bench.dsn), Stop(), Journal(io.StringIO(), as_json=True))
    each = RUNS // INSTANCES
    for name in bench.instances(INSTANCES):
        bench.plane.ensure_instance(name, "ipai_connector_scripted", {}, schedule="* * * * *")
        book.change(f"instance:{name}", misfire="catch_up", catch_up_max=each)
    scheduler.once()
    connection.execute(
        "update connectors.schedules set decided_until = decided_until - %s * interval '1 minute'",
        (each,),
    )
    scheduler.once()
    return bench.count()


def lay_faults(folder, jobs):
    folder.mkdir(mode=0o777)
    for code, share in FAULTS.items():
        for number in range(jobs * share // 100):
            (folder / f"{code}-{number}").touch()


class Trouble:
    """Kills workers and restarts the server while they work."""

    def __init__(self, bench, home):
        self.bench, self.home = bench, home
        self.luck = random.Random(7)
        self.workers = [self.start(number) for number in range(WORKERS)]
        self.kills = self.restarts = 0

    def start(self, number):
        return self.bench.ipai(*WORKER, home=f"home-{number}")

    def kill(self):
        number = self.luck.randrange(WORKERS)
        self.workers[number].kill()
        self.workers[number].wait()
        self.bench.wait(lambda: not self.bench.connectors(f"home-{number}/"), "no orphan", 60)
        self.workers[number] = self.start(number)
        self.kills += 1

    def restart(self):
        embedded.stop(self.home, force=True)
        embedded.start(self.home)
        self.restarts += 1


def ends(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(HURRY)
        return connection.execute(ENDS).fetchall()


def work_in_trouble(bench, home, jobs):
    """Kill a worker after each eighth of the jobs, restart the server after each third."""
    trouble = Trouble(bench, home)
    deadline = time.monotonic() + PATIENCE
    while True:
        found = []
        with suppress(psycopg.OperationalError):
            found = ends(bench.dsn)
        done = sum(1 for _, still_open in found if not still_open)
        if done == jobs:
            return trouble, found
        assert time.monotonic() < deadline, (done, jobs, bench.logs_of_children()[-3000:])
        if trouble.kills < min(8, 8 * done // jobs):
            trouble.kill()
        if trouble.restarts < min(2, 3 * done // jobs):
            trouble.restart()
        time.sleep(0.3)


def test_nearly_all_scheduled_runs_succeed_whatever_breaks(bench, connection, home, tmp_path):
    jobs = schedule_missed_runs(bench, connection)
    lay_faults(tmp_path / "faults", jobs)
    bench.tap(READ_OR_FAIL.format(folder=str(tmp_path / "faults")))
    began = time.monotonic()
    trouble, found = work_in_trouble(bench, home, jobs)
    seconds = time.monotonic() - began

    for worker in trouble.workers:
        worker.send_signal(signal.SIGTERM)
    assert [0] * WORKERS == [worker.wait(120) for worker in trouble.workers]
    assert [] == bench.connectors()
    assert jobs >= RUNS
    assert {0, 1} >= {succeeded for succeeded, _ in found}
    with psycopg.connect(bench.dsn) as fresh:
        failed, rate = fresh.execute(
            "select sum(failed), sum(succeeded) / sum(succeeded + failed)"
            " from connectors.sync_success where source_type = 'scripted'"
        ).fetchone()
        classes = fresh.execute(
            "select coalesce(error_class, status), count(*) from connectors.connector_runs"
            " group by 1 order by 1"
        ).fetchall()
    told = f"{jobs} jobs in {seconds:.0f} s, {trouble.kills} kills, {trouble.restarts} restarts"
    sys.stdout.write(f"{told}: {rate:.4f} {dict(classes)}\n")  # pytest -s shows it
    assert failed == sum(1 for succeeded, _ in found if not succeeded)
    assert rate >= 0.95, classes
