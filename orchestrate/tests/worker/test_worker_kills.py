# SPDX-License-Identifier: Apache-2.0
"""Workers as processes, killed by signal 9 at random moments: nothing lost, nothing doubled."""

import random
import signal
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

READ_THREE = """
for number in range(start + 1, start + 4):
    time.sleep(0.1)
    read(number)
"""
JOBS_PER_INSTANCE = 3
# Nobody waits for the delay of a retry here.
HURRY = (
    "update connectors.connector_runs set run_after = clock_timestamp()"
    " where status = 'queued' and run_after > clock_timestamp()"
)
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
WORKER = ("worker", "--sources", "scripted", "--concurrency", "2", "--no-transform")


def start(bench, number):
    return bench.ipai(*WORKER, home=f"home-{number}")


def work_until_all_is_done(bench, connection, jobs, kills):
    """Two workers, one of which dies and is replaced every now and then."""
    luck = random.Random(11)
    workers = [start(bench, 0), start(bench, 1)]
    deadline = time.monotonic() + 300
    killed = 0
    while (ends := connection.execute(ENDS).fetchall()) != [(1, 0)] * jobs:
        assert time.monotonic() < deadline, (ends, bench.logs_of_children()[-3000:])
        connection.execute(HURRY)
        number = luck.randrange(2)
        if killed < kills and bench.connectors(f"home-{number}/") and luck.random() < 0.5:
            workers[number].kill()
            workers[number].wait()
            bench.wait(lambda n=number: not bench.connectors(f"home-{n}/"), "no orphan", 20)
            workers[number] = start(bench, number)
            killed += 1
        time.sleep(luck.uniform(0.0, 0.3))
    return workers, killed


def test_two_workers_on_one_queue_lose_and_double_nothing_when_killed(bench, connection):
    bench.tap(READ_THREE)
    names = bench.instances(6)
    for name in names:
        for number in range(JOBS_PER_INSTANCE):
            bench.plane.enqueue(name, dedupe_key=f"job-{number}", max_attempts=50)
    jobs = len(names) * JOBS_PER_INSTANCE
    workers, killed = work_until_all_is_done(bench, connection, jobs, kills=6)
    landed = bench.landed()

    assert 6 == killed
    for name in names:
        ids = [number for instance, number in landed if instance == name]
        stored = bench.plane.state_get(name).state_json["bookmarks"]["issues"]
        assert list(range(1, len(ids) + 1)) == ids
        assert len(ids) == stored["replication_key_value"] >= 3 * JOBS_PER_INSTANCE
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [0, 0] == [worker.wait(60) for worker in workers]
    assert [] == bench.connectors()
    assert {"worker_lost"} == {run.error_class for run in bench.plane.runs(200)} - {None}


def test_a_worker_told_to_end_by_its_host_leaves_its_run_to_the_other(bench, connection):
    bench.tap("read(start + 1)\nwhile start == 0:\n    time.sleep(0.1)")
    bench.plane.enqueue(*bench.instances(1))
    first = bench.ipai(*WORKER, "--drain-timeout", "0.5", home="home-0")
    bench.wait(bench.landed, "the first row")
    first.send_signal(signal.SIGTERM)
    assert 0 == first.wait(60), bench.logs_of_children()
    second = start(bench, 1)
    bench.wait(lambda: bench.count("status = 'succeeded'"), "the end of the run")
    second.send_signal(signal.SIGTERM)

    assert 0 == second.wait(60)
    assert [("scripted-0", 1), ("scripted-0", 2)] == bench.landed()
    assert ["cancelled", "succeeded"] == sorted(run.status for run in bench.plane.runs(5))
