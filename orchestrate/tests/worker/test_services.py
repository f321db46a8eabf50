# SPDX-License-Identifier: Apache-2.0
"""Who is at work, as workers and schedulers say themselves."""

import io
import json
import signal

import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.journal import Journal
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.scheduler.rounds import Scheduler
from ipai_orchestrate.services import LifeSign, list_services


@pytest.fixture
def workers(bench, monkeypatch):
    monkeypatch.setenv("IPAI_DATABASE_URL", bench.dsn)

    def call(*arguments, code=0):
        result = CliRunner().invoke(main, ["workers", *arguments])
        assert code == result.exit_code, result.output
        return result.output

    return call


def test_a_worker_is_seen_while_it_works_and_when_it_has_ended(bench, workers, in_background):
    assert "Nobody is at work" in workers("--alive", "worker", code=75)
    gate = bench.folder / "gate"
    bench.tap(f"""
        import pathlib
        read(1)
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.05)
        """)
    bench.plane.enqueue(*bench.instances(1))
    stop = Stop()
    thread = in_background(bench.worker(stop, concurrency=2, sources=["scripted"]).work)
    bench.wait(lambda: "1 of 2" in workers(), "a busy worker")
    (seen,) = json.loads(workers("--alive", "worker", "--json"))
    stop.request(signal.SIGTERM)
    gate.touch()
    thread.join(60)

    assert ("here", "worker", ["scripted"], True) == tuple(
        seen[key] for key in ("name", "kind", "sources", "is_alive")
    )
    assert "Nobody is at work" in workers()
    assert "ended" in workers("--all")
    workers("--alive", "scheduler", code=75)


def test_a_scheduler_is_seen_and_one_that_was_killed_is_lost_after_a_minute(
    bench, workers, connection
):
    Scheduler(Database(bench.dsn), Stop(), Journal(io.StringIO(), as_json=True)).once()
    workers("--alive", "scheduler")
    connection.execute("update connectors.services set seen_at = now() - interval '61 seconds'")

    workers("--alive", "scheduler", code=75)
    assert "lost" in workers("--all")
    connection.execute("update connectors.services set seen_at = now() - interval '8 days'")
    LifeSign("new", "worker").give(connection)
    assert ["new"] == [one.name for one in list_services(connection, at_work=False)]


def test_a_sign_of_life_is_given_when_it_is_due_or_news(bench, connection):
    life = LifeSign("one", "worker", 3)
    life.give(connection, 1)
    connection.execute("delete from connectors.services")
    life.give(connection, 1)
    assert [] == list_services(connection)
    life.give(connection, 2)
    assert [(2, 3)] == [(one.busy, one.capacity) for one in list_services(connection)]


def test_no_login_speaks_for_the_process_of_another(bench, connection):
    LifeSign("one", "worker", 1).give(connection)
    connection.execute("update connectors.services set login = 'other'")
    LifeSign("one", "worker", 2).give(connection)

    assert {("other", 1), ("postgres", 2)} == {
        (one.login, one.capacity) for one in list_services(connection)
    }


def test_a_worker_whose_target_is_not_installed_claims_nothing(database, monkeypatch):
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    said = CliRunner().invoke(main, ["worker", "--once", "--target", "target-nowhere"])

    assert 78 == said.exit_code
    assert "Command 'target-nowhere' is not installed" in said.output
