# SPDX-License-Identifier: Apache-2.0
"""What a run writes about itself, when the database is there and when it is not."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest

from ipai_kit.spec import discover_connectors
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ControlPlaneError
from ipai_orchestrate.pipeline import ledger as ledger_module
from ipai_orchestrate.pipeline.database import Database, opened_database
from ipai_orchestrate.pipeline.ledger import Ledger
from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.outcome import Failure
from ipai_orchestrate.pipeline.tally import StreamTally, Tally

STATE = {"bookmarks": {"issues": {"replication_key_value": 1}}}


@pytest.fixture
def run(control_plane, make_instance):
    return control_plane.claim(control_plane.enqueue(make_instance()), "test", 60)


def eventually(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_everything_given_is_written_before_the_run_is_closed(database, control_plane, run):
    tally = Tally({"issues": StreamTally("issues", received=3, inserted=2, dead=1)})
    with Ledger(Database(database), run) as ledger:
        for number in range(1200):
            ledger.log(LogLine("tap", f"line {number}"))
        ledger.count(tally)
        ledger.save(STATE)
        failure = ledger.end(None)
    status = control_plane.run_status(run.id)

    assert failure is None
    assert ("succeeded", 2, 1200) == (status.status, status.rows_processed, status.log_seq)
    assert STATE == control_plane.state_get(run.instance_id).state_json


def test_a_flood_of_logs_is_cut_and_says_so(database, control_plane, run, monkeypatch):
    monkeypatch.setattr(ledger_module, "MOST_WAITING_LOGS", 10)
    ledger = Ledger(Database(database), run)
    for number in range(15):
        ledger.log(LogLine("tap", f"line {number}"))
    with ledger:
        ledger.end(None)

    assert "5 log lines dropped" in [line.message for line in control_plane.logs(run.id)]


def test_a_log_line_that_cannot_be_stored_does_not_end_the_run(
    database, control_plane, run, monkeypatch
):
    refuse = iter([True, False, False, False])
    append = ControlPlane.append_logs

    def append_logs(self, run, rows):
        if next(refuse):
            raise ControlPlaneError("no", sqlstate="22P05")
        return append(self, run, rows)

    monkeypatch.setattr(ControlPlane, "append_logs", append_logs)
    ledger = Ledger(Database(database), run)
    ledger.log(LogLine("tap", "odd"))
    with ledger:
        eventually(lambda: not ledger._logs)
        ledger.log(LogLine("tap", "even"))
        failure = ledger.end(None)

    assert failure is None
    assert ["even", "1 log lines dropped"] == [line.message for line in control_plane.logs(run.id)]


@pytest.mark.parametrize("sqlstate", ["40P01", "53300", "55P03"])
def test_what_passes_is_tried_again(database, control_plane, run, monkeypatch, sqlstate):
    fail = iter([True, False, False, False])
    save = ControlPlane.save_state

    def save_state(self, run, state):
        if next(fail):
            raise ControlPlaneError("busy", sqlstate=sqlstate)
        return save(self, run, state)

    monkeypatch.setattr(ControlPlane, "save_state", save_state)
    with Ledger(Database(database), run) as ledger:
        ledger.save(STATE)
        assert ledger.end(None) is None

    assert STATE == control_plane.state_get(run.instance_id).state_json


def test_a_database_that_stays_away_ends_the_run_when_its_lease_must_have_ended(run):
    nowhere = Database("postgresql://nobody@127.0.0.1:9/nothing?connect_timeout=2")
    with Ledger(nowhere, run, lease_seconds=1) as ledger:
        ledger.log(LogLine("tap", "hello"))
        eventually(lambda: ledger.wish == "kill")
        failure = ledger.end(Failure("tap", "other", 1))

    assert ("database", 75) == (failure.error_class, failure.exit_code)


def test_a_database_that_is_away_at_the_end_is_waited_for(run, database, control_plane):
    class Late:
        def __init__(self):
            self.tries = 0

        def connect(self):
            self.tries += 1
            if self.tries < 4:
                raise psycopg.OperationalError("not yet")
            return Database(database).connect()

    with Ledger(Late(), run) as ledger:
        ledger.save(STATE)
        assert ledger.end(None) is None

    assert "succeeded" == control_plane.run_status(run.id).status


def test_a_lease_lost_at_the_very_end_is_not_a_success(database, connection, run):
    with Ledger(Database(database), run) as ledger:
        eventually(lambda: ledger._heartbeat_due)
        connection.execute(
            "update connectors.connector_runs set lease_until = now() - interval '1 h'"
            " where id = %s",
            [run.id],
        )
        connection.execute("select connectors.reap_connector_runs()")
        failure = ledger.end(None)

    assert "worker_lost" == failure.error_class


def test_a_dead_embedded_server_is_started_again(server, monkeypatch):
    calls = []
    database = Database("postgresql://nobody@127.0.0.1:9/nothing", lambda: calls.append("revive"))
    with pytest.raises(psycopg.OperationalError):
        database.connect()

    assert ["revive"] == calls


def test_the_embedded_database_is_opened_where_none_is_named(server, monkeypatch):
    monkeypatch.delenv("IPAI_DATABASE_URL", raising=False)
    monkeypatch.setenv("IPAI_HOME", str(server.home))
    with opened_database() as database, database.connect() as connection:
        assert database.revive
        assert (1,) == connection.execute("select 1").fetchone()


@pytest.mark.skipif("github" not in discover_connectors(), reason="needs tap-github")
def test_a_sandbox_serves_until_it_is_told_to_stop():
    ipai = str(Path(sys.executable).with_name("ipai"))
    with subprocess.Popen(
        [ipai, "sandbox", "up", "github", "--option", "repos=1", "--fault", "status:502"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        ready = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"{ready['url']}/_sandbox/faults") as reply:
            faults = json.load(reply)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=20)[1].decode()

    assert 0 == process.returncode
    assert 1 == len(faults)
    assert "sandbox-token" == ready["config"]["auth_token"]
    assert "_sandbox/advance" in said
