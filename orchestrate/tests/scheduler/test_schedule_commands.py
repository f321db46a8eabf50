# SPDX-License-Identifier: Apache-2.0
"""`ipai schedule` and `ipai scheduler` as their users meet them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main

IPAI = str(Path(sys.executable).with_name("ipai"))
ADD = ("instance", "add", "acme", "--connector", "github", "--set", "repositories=acme/api")


@pytest.fixture
def ipai(database, monkeypatch):
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def run(*arguments, code=0):
        result = CliRunner().invoke(main, arguments)
        assert code == result.exit_code, result.output
        return result.output

    return run


def test_a_schedule_is_shown_changed_paused_and_resumed(ipai):
    assert "No schedules yet" in ipai("schedule", "list")
    ipai(*ADD, "--schedule", "CRON_TZ=Asia/Manila 0 6 * * *")
    ipai("schedule", "set", "acme", "--misfire", "skip", "--jitter", "90", "--grace", "120")
    ipai("schedule", "pause", "acme")
    (paused,) = json.loads(ipai("schedule", "list", "--json"))
    ipai("schedule", "resume", "instance:acme")
    (resumed,) = json.loads(ipai("schedule", "list", "--json"))

    assert ("acme", "skip", 90, 120) == tuple(
        paused[key] for key in ("name", "misfire", "jitter_seconds", "grace_seconds")
    )
    assert ("paused", None) == (paused["status"], paused["next_due"])
    assert "active" == resumed["status"]
    assert resumed["next_due"].endswith("06:00:00+08:00")
    assert "CRON_TZ=Asia/Manila" in ipai("schedule", "list")


def test_a_due_time_that_became_no_run_is_told_with_its_schedule(ipai, connection):
    ipai(*ADD, "--schedule", "@hourly")
    trouble = "Pipeline 'p' is running: 3f2a."
    connection.execute(
        "insert into connectors.schedules (subject, problem) values ('instance:acme', %s)",
        [trouble],
    )

    assert trouble in ipai("schedule", "list")
    assert trouble == json.loads(ipai("schedule", "list", "--json"))[0]["problem"]


def test_a_schedule_that_is_none_is_refused_before_it_is_stored(ipai):
    assert "Field minute" in ipai(*ADD, "--schedule", "61 * * * *", code=78)
    assert "no such day" in ipai(*ADD, "--schedule", "0 0 31 2 *", code=78)
    ipai(*ADD, "--schedule", "default")
    (line,) = json.loads(ipai("schedule", "list", "--json"))
    assert "17 * * * *" == line["expression"]
    assert "has no schedule" in ipai("schedule", "pause", "nobody", code=1)


def test_one_round_queues_what_is_due(ipai, connection):
    ipai(*ADD, "--schedule", "* * * * *")
    ipai("scheduler", "--once")
    connection.execute(
        "update connectors.schedules set decided_until = decided_until - interval '1 minute'"
    )
    ipai("scheduler", "--once")

    assert (1,) == connection.execute("select count(*) from connectors.connector_runs").fetchone()


@pytest.mark.slow
def test_schedulers_killed_at_any_moment_leave_each_due_time_with_one_run(
    ipai, connection, database
):
    names = [f"acme-{number}" for number in range(8)]
    for name in names:
        ipai("instance", "add", name, *ADD[3:], "--schedule", "* * * * *")
    ipai("scheduler", "--once")
    for name in names:
        ipai("schedule", "set", name, "--misfire", "catch_up", "--catch-up-max", "200")
    environment = {**os.environ, "IPAI_DATABASE_URL": database}
    deadline = time.monotonic() + 120

    def start():
        return subprocess.Popen([IPAI, "scheduler"], env=environment, stderr=subprocess.DEVNULL)

    def runs():
        return connection.execute("select count(*) from connectors.connector_runs").fetchone()

    for number in range(5):
        # Each time some due times more are open, and the ones before are looked at again.
        connection.execute(
            "update connectors.schedules set decided_until = now() - %s * interval '10 minutes'",
            [number + 1],
        )
        before, pair = runs(), [start(), start()]
        while before == runs():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for one in pair:
            one.kill()
            one.wait()
    last = start()
    behind = (
        "select count(*) from connectors.schedules where decided_until < now() - interval '1 min'"
    )
    while connection.execute(behind).fetchone() != (0,):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    last.send_signal(signal.SIGTERM)
    assert 0 == last.wait(30)
    per_instance = connection.execute(
        "select count(*), count(distinct dedupe_key),"
        " count(distinct run_after), max(run_after) - min(run_after)"
        " from connectors.connector_runs group by instance_id"
    ).fetchall()

    assert len(names) == len(per_instance)
    for count, keys, moments, span in per_instance:
        assert count == keys == moments
        assert count == span.total_seconds() // 60 + 1
