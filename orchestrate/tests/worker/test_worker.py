# SPDX-License-Identifier: Apache-2.0
"""A worker in this process: what it claims, how it drains, what it does about trouble."""

import signal
import time

import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.exceptions import ConfigurationError, ControlPlaneError
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.runner import RunOptions
from ipai_orchestrate.pipeline.start import RunRequest, run_now
from ipai_orchestrate.pipeline.stop import Stop

READ_TWO = "read(start + 1); read(start + 2)"
NEVER_ENDING = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
read(start + 1)
while start == 0:
    time.sleep(0.1)
"""


def statuses(bench):
    return sorted(run.status for run in bench.plane.runs(100))


def test_once_performs_everything_that_is_due_and_ends(bench):
    bench.tap(READ_TWO)
    for name in bench.instances(3):
        bench.plane.enqueue(name)
    report = bench.worker(once=True, concurrency=2).work()

    assert {"succeeded": 3, "failed": 0, "cancelled": 0, "handed_back": 0} == vars(report)
    assert 6 == len(bench.landed())
    assert [] == list(bench.work_root.iterdir())
    assert {"here"} == {run.worker for run in bench.plane.runs(10)}


def test_as_many_runs_as_allowed_go_on_at_the_same_time(bench):
    meeting = bench.folder / "meeting"
    meeting.mkdir()
    bench.tap(f"""
        import os, pathlib
        meeting = pathlib.Path({str(meeting)!r})
        (meeting / str(os.getpid())).touch()
        while len(list(meeting.iterdir())) < 2:
            time.sleep(0.05)
        read(1)
        """)
    for name in bench.instances(2):
        bench.plane.enqueue(name)

    assert 2 == bench.worker(once=True, concurrency=2).work().succeeded


def test_a_failed_run_is_told_and_does_not_end_the_worker(bench):
    bench.tap("""
        if config.get("bad"):
            sys.exit(78)
        read(1)
        """)
    good, bad = bench.instances(2)
    bench.plane.ensure_instance(bad, "ipai_connector_scripted", {"bad": True})
    bench.plane.enqueue(bad)
    bench.plane.enqueue(good)
    report = bench.worker(once=True).work()

    assert (1, 1) == (report.succeeded, report.failed)
    assert ["configuration"] == [
        line["error_class"] for line in bench.said("run_ended") if line["status"] == "failed"
    ]


def test_the_journal_tells_what_went_wrong_and_leaves_the_rest_to_the_log_of_the_run(bench):
    bench.tap("""
        for level in ("info", "warning", "error"):
            print(json.dumps({"event": level, "level": level}), file=sys.stderr)
        sys.exit(1)
        """)
    run_id = bench.plane.enqueue(*bench.instances(1), max_attempts=1)
    bench.worker(once=True).work()
    logged = {line.message for line in bench.plane.logs(run_id)}

    assert ["error"] == [line["message"] for line in bench.said("run_said")]
    assert {"info", "warning", "error"} <= logged
    assert str(run_id) == bench.said("run_said")[0]["run_id"]


def test_only_the_chosen_sources_are_claimed(bench):
    bench.tap(READ_TWO)
    bench.plane.enqueue(*bench.instances(1))
    report = bench.worker(once=True, sources=["other"]).work()

    assert 0 == report.succeeded
    assert ["queued"] == statuses(bench)


def test_a_job_queued_meanwhile_is_heard_of_by_notification(bench, connection, in_background):
    bench.tap(READ_TWO)
    stop = Stop()
    worker = bench.worker(stop, poll_seconds=300, sources=["scripted"])
    thread = in_background(worker.work)
    bench.wait(lambda: bench.said("worker_started"), "the worker")
    listening = "select 1 from pg_stat_activity where query like 'listen ipai%%' and datname = %s"
    name = connection.info.dbname
    bench.wait(lambda: connection.execute(listening, [name]).fetchone(), "its ear")
    bench.plane.enqueue(*bench.instances(1))
    connection.execute("select pg_notify('ipai_connector_jobs', 'other')")
    connection.execute("select pg_notify('ipai_connector_jobs', 'scripted')")
    bench.wait(lambda: bench.count("status = 'succeeded'"), "the run")
    stop.request(signal.SIGTERM)
    thread.join(60)

    assert not thread.is_alive()


def test_a_drain_lets_the_running_sync_finish_and_claims_nothing_more(bench, in_background):
    gate = bench.folder / "gate"
    bench.tap(f"""
        import pathlib
        read(1)
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.05)
        read(2)
        """)
    for name in bench.instances(2):
        bench.plane.enqueue(name)
    stop = Stop()
    worker = bench.worker(stop)
    thread = in_background(worker.work)
    bench.wait(bench.landed, "the first row")
    stop.request(signal.SIGTERM)
    bench.wait(lambda: bench.said("worker_draining"), "the drain")
    gate.touch()
    thread.join(60)

    assert ["queued", "succeeded"] == statuses(bench)
    assert 2 == len(bench.landed())
    assert 1 == worker.report.succeeded


@pytest.mark.parametrize("how", ["patience", "second signal"])
def test_what_lasts_too_long_is_handed_back_and_goes_on_where_it_was(bench, in_background, how):
    bench.tap(NEVER_ENDING)
    bench.plane.enqueue(*bench.instances(1))
    stop = Stop()
    worker = bench.worker(stop, drain_seconds=0.1 if how == "patience" else 300)
    thread = in_background(worker.work)
    bench.wait(bench.landed, "the first row")
    stop.request(signal.SIGTERM)
    if how == "second signal":
        stop.request(signal.SIGTERM)
    thread.join(120)
    handed_back, again = sorted(bench.plane.runs(10), key=lambda run: run.queued_at)

    assert 1 == worker.report.handed_back
    assert ("cancelled", "queued") == (handed_back.status, again.status)
    assert (handed_back.id, 0) == (again.retry_of, again.attempt)
    assert "gave it back" in (handed_back.error_summary or "")
    assert [] == bench.connectors()

    assert 1 == bench.worker(once=True).work().succeeded
    assert [("scripted-0", 1), ("scripted-0", 2)] == bench.landed()


def test_a_run_that_was_cancelled_is_not_handed_back_but_ends(bench, in_background):
    bench.tap(NEVER_ENDING)
    run_id = bench.plane.enqueue(*bench.instances(1))
    stop = Stop()
    worker = bench.worker(stop, lease_seconds=6)
    thread = in_background(worker.work)
    bench.wait(bench.landed, "the first row")
    bench.plane.cancel(run_id)
    bench.wait(lambda: bench.count("status = 'cancelled'"), "the end of the run")
    stop.request(signal.SIGTERM)
    thread.join(60)

    assert (1, 1) == (worker.report.cancelled, bench.count())


def test_a_cut_connection_is_opened_again_and_the_work_goes_on(bench, connection, in_background):
    bench.tap(READ_TWO)
    (name,) = bench.instances(1)
    bench.plane.enqueue(name)
    stop = Stop()
    worker = bench.worker(stop)
    thread = in_background(worker.work)
    bench.wait(lambda: bench.count("status = 'succeeded'") == 1, "the first run")
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'ipai-runner' and datname = current_database()"
    )
    bench.plane.enqueue(name)
    bench.wait(lambda: bench.count("status = 'succeeded'") == 2, "the second run")
    stop.request(signal.SIGTERM)
    thread.join(60)

    assert 4 == len(bench.landed())


def test_a_run_the_worker_cannot_even_begin_leaves_it_at_work(bench, monkeypatch):
    bench.tap(READ_TWO)
    for name in bench.instances(2):
        bench.plane.enqueue(name)
    from ipai_orchestrate.worker import shift

    real, calls = shift.perform, []

    def fails_once(*arguments, **named):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no thread left")
        return real(*arguments, **named)

    monkeypatch.setattr(shift, "perform", fails_once)
    report = bench.worker(once=True).work()

    assert 1 == report.succeeded
    assert ["RuntimeError('no thread left')"] == [one["error"] for one in bench.said("run_lost")]


def test_a_login_that_does_not_act_as_its_group_is_told_what_to_run(bench, server, connection):
    database = connection.info.dbname
    connection.execute("drop role if exists worker_h")
    connection.execute("create role worker_h login in role ipai_worker")
    try:
        bench.dsn = server.dsn_of(database, "worker_h")
        with pytest.raises(ConfigurationError, match="alter role worker_h set role ipai_worker"):
            bench.worker(once=True).work()
        connection.execute("alter role worker_h set role ipai_worker")
        bench.tap(READ_TWO)
        bench.plane.enqueue(*bench.instances(1))

        assert 1 == bench.worker(once=True).work().succeeded
    finally:
        connection.execute("drop owned by worker_h")
        connection.execute("drop role worker_h")


def test_a_database_without_a_control_plane_is_told_as_such(bench, empty_database):
    bench.dsn = empty_database
    with pytest.raises(ConfigurationError, match="ipai db migrate"):
        bench.worker(once=True).work()


def test_a_database_that_does_not_answer_is_waited_for(bench, in_background, monkeypatch):
    from ipai_orchestrate.worker import shift

    bench.tap(READ_TWO)
    bench.plane.enqueue(*bench.instances(1))
    down = [psycopg.OperationalError("the server is starting up")] * 2
    real = shift.ControlPlane.claim

    def claim(plane, *arguments):
        if down:
            raise down.pop()
        return real(plane, *arguments)

    monkeypatch.setattr(shift.ControlPlane, "claim", claim)
    started = time.monotonic()

    assert 1 == bench.worker(once=True, poll_seconds=0.1).work().succeeded
    assert time.monotonic() - started < 60
    assert 2 == len(bench.said("claim_failed"))


def test_a_queued_run_is_left_to_a_worker_and_one_run_here_is_never_taken_by_it(
    bench, monkeypatch, in_background
):
    bench.tap(READ_TWO)
    first, second = bench.instances(2)
    monkeypatch.setenv("IPAI_DATABASE_URL", bench.dsn)
    answer = CliRunner().invoke(main, ["run", first, "--queue", "--json"])
    assert 0 == answer.exit_code, answer.output
    assert ["queued"] == statuses(bench)
    stop = Stop()
    thread = in_background(bench.worker(stop, poll_seconds=0.1).work)
    bench.wait(lambda: bench.count("status = 'succeeded'"), "the run of the worker")
    database = Database(bench.dsn)
    options = RunOptions(bench.work_root, transform="nothing", target="target-scripted")
    results = [run_now(database, RunRequest(second), options) for _ in range(5)]
    stop.request(signal.SIGTERM)
    thread.join(60)

    assert {0} == {result.exit_code for result in results}
    assert 1 == bench.count("worker = 'here'")


def test_trouble_with_pipelines_does_not_keep_a_worker_from_the_queue(bench, monkeypatch):
    from ipai_orchestrate.worker import shift

    def refuse(register):
        raise ControlPlaneError("Two of them wait for each other.")

    monkeypatch.setattr(shift.PipelineRegister, "advance", refuse)
    bench.tap(READ_TWO)
    bench.plane.enqueue(*bench.instances(1))

    assert 1 == bench.worker(once=True).work().succeeded
    assert bench.said("pipelines_stuck")
