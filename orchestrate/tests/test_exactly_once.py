# SPDX-License-Identifier: Apache-2.0
"""The Postgres target beside the real control plane: rows and STATE agree wherever it is killed."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from ipai_orchestrate.control_plane import ClaimedRun
from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.outcome import judge
from ipai_orchestrate.pipeline.transfer import Ending

TARGET = str(Path(sys.executable).with_name("target-bronze-postgres"))
ROWS = "select count(*), count(distinct record_key) from ipai_bronze_devops.raw_github_issues"
SAVED = """
    select (state_json #>> '{bookmarks,issues,replication_key_value}')::int
    from connectors.get_connector_state('github-acme')
"""
BUSY = "select count(*) from pg_stat_activity where application_name = 'target-bronze-postgres'"


class Loading:
    """Runs of one instance, each a target process that is fed numbers from its STATE on."""

    def __init__(self, dsn, plane, connection, folder):
        self.dsn, self.plane, self.connection, self.folder = dsn, plane, connection, folder
        self.dice = random.Random(20261121)

    def claim(self) -> ClaimedRun:
        run = self.plane.claim(self.plane.enqueue("github-acme"), "worker")
        assert run is not None
        return run

    def start(self, run, **config):
        path = self.folder / "config.json"
        settings = {"database_url": self.dsn, "instance_id": run.instance_id, "source": "github"}
        settings |= {"domain": "devops", "run_id": str(run.id), "lease_token": str(run.lease_token)}
        settings |= {"state_in_transaction": True, "batch_size_rows": 25, "load_method": "append"}
        path.write_text(json.dumps(settings | config))
        pipe = subprocess.PIPE
        command = [TARGET, "--config", str(path)]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)

    def lines(self, start, count):
        schema = {"properties": {"id": {"type": "integer"}}}
        head = {"type": "SCHEMA", "stream": "issues", "schema": schema, "key_properties": ["id"]}
        found = [head]
        for number in range(start + 1, start + count + 1):
            found.append({"type": "RECORD", "stream": "issues", "record": {"id": number}})
            if self.dice.random() < 0.05 or number == start + count:
                bookmark = {"replication_key": "id", "replication_key_value": number}
                found.append({"type": "STATE", "value": {"bookmarks": {"issues": bookmark}}})
        return b"".join(json.dumps(line).encode() + b"\n" for line in found)

    def saved(self):
        row = self.connection.execute(SAVED).fetchone()
        return row[0] if row else 0

    def landed(self):
        until = time.monotonic() + 60
        while self.connection.execute(BUSY).fetchone() != (0,):
            assert time.monotonic() < until
            time.sleep(0.02)
        try:
            return self.connection.execute(ROWS).fetchone()
        except psycopg.errors.UndefinedTable:
            return (0, 0)


@pytest.fixture
def loading(database, control_plane, connection, make_instance, tmp_path):
    make_instance("github-acme")
    return Loading(database, control_plane, connection, tmp_path)


@pytest.mark.slow
def test_wherever_the_target_is_killed_state_and_rows_agree(loading):
    seen = []
    for _ in range(10):
        run = loading.claim()
        with loading.start(run) as target:
            target.stdin.write(loading.lines(loading.saved(), 2000))
            target.stdin.flush()
            for _ in range(loading.dice.randrange(30)):
                target.stdout.readline()
            time.sleep(loading.dice.random() * 0.02)
            target.kill()
        rows, saved = loading.landed(), loading.saved()
        loading.plane.fail(run, "target", "killed by the test")
        seen.append(saved)

        assert rows == (saved, saved)

    run = loading.claim()
    with loading.start(run) as target:
        target.communicate(loading.lines(loading.saved(), 100))
    assert target.returncode == 0
    assert loading.landed() == (loading.saved(), loading.saved()) == (seen[-1] + 100,) * 2
    assert len(set(seen)) > 5


def test_who_lost_the_lease_lands_nothing(loading):
    run = loading.claim()
    loading.plane.fail(run, "worker_lost", "taken away by the test")

    with loading.start(run) as target:
        out, err = target.communicate(loading.lines(0, 100))

    assert (target.returncode, out, loading.landed()) == (75, b"", (0, 0))
    assert b"lease" in err
    assert str(run.lease_token).encode() not in err


def test_a_state_that_is_refused_is_told_apart_from_other_failures(loading):
    first = loading.claim()
    with loading.start(first) as target:
        target.communicate(loading.lines(50, 10))
    loading.plane.complete(first)
    with loading.start(loading.claim()) as target:
        _, err = target.communicate(loading.lines(0, 10))

    fields = json.loads(err.splitlines()[-1])
    said = LogLine("target", fields.pop("message"), "error", fields=fields)
    failure = judge(Ending(0, target.returncode, stopped=False), {"target": said})
    assert (failure.error_class, failure.exit_code) == ("state", 1)
    assert "set back" in failure.summary
    assert loading.landed() == (10, 10)
