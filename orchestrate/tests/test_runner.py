# SPDX-License-Identifier: Apache-2.0
"""Whole runs with a scripted tap and target against a real control plane."""

import json
import os
import signal
import stat
import sys
import textwrap
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import psutil
import psycopg
import pytest

from ipai_kit.spec import ConnectorSpec, Setting, StreamSpec
from ipai_kit.spec.model import Api, AuthMethod, TermsOfService
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ConflictError, NotFoundError, RefusedError
from ipai_orchestrate.pipeline import runner as runner_module
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.observer import Nobody
from ipai_orchestrate.pipeline.runner import RunOptions
from ipai_orchestrate.pipeline.start import RunRequest, run_now
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipeline.transfer import Patience
from ipai_orchestrate.transform import TransformResult

CANARY = "canary-5ecret-\u00fc/+value"

TAP = """
import argparse, json, os, signal, sys, time
parser = argparse.ArgumentParser()
for name in ("config", "state", "catalog"):
    parser.add_argument("--" + name)
parser.add_argument("--discover", action="store_true")
given = parser.parse_args()
config = json.load(open(given.config))
if given.discover:
    print(json.dumps({"streams": [{"stream": s} for s in ("issues", "labels")]}))
    sys.exit(0)
state = json.load(open(given.state))
start = state.get("bookmarks", {}).get("issues", {}).get("replication_key_value", 0)
def say(**line):
    print(json.dumps(line), flush=True)
def log(**line):
    print(json.dumps(line), file=sys.stderr, flush=True)
def record(number):
    say(type="RECORD", stream="issues", record={"id": number})
def bookmark(number):
    say(type="STATE", value={"bookmarks": {"issues": {"replication_key_value": number}}})
"""

TARGET = """
import argparse, json, sys
parser = argparse.ArgumentParser()
parser.add_argument("--config")
config = json.load(open(parser.parse_args().config))
assert set(config) == {"database_url", "instance_id", "run_id", "source", "domain"}
rows = 0
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "RECORD":
        rows += 1
    elif message["type"] == "STATE":
        flushed = {"event": "flushed", "stream": "issues", "received": rows, "inserted": rows}
        print(json.dumps(flushed), file=sys.stderr, flush=True)
        rows = 0
        print(json.dumps(message["value"]), flush=True)
"""

READ_THREE = """
for number in range(start + 1, start + 4):
    record(number)
log(event="progress", stream="issues", records=3, requests=1, quota_remaining=7)
bookmark(start + 3)
"""


@pytest.fixture
def spec():
    return ConnectorSpec(
        spec_version=1,
        name="ipai_connector_scripted",
        source_type="scripted",
        title="Scripted",
        domain="devops",
        api=Api(version="1", docs_url="https://d", sunset=None, base_urls=("https://a",)),
        tos=TermsOfService(url="https://t", reviewed_at=datetime(2026, 1, 1, tzinfo=UTC).date()),
        auth_methods=(AuthMethod(type="bearer", settings=("auth_token",)),),
        sync_mode="incremental",
        schedule="0 * * * *",
        streams=(
            StreamSpec(name="issues", description="", sync_mode="incremental"),
            StreamSpec(name="labels", description="", sync_mode="incremental"),
        ),
        settings={"auth_token": Setting(type="string", description="", secret=True)},
    )


class Workbench:
    """Runs a scripted tap and target for one instance."""

    def __init__(self, dsn, folder, plane):
        self.database = Database(dsn)
        self.plane = plane
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.options = RunOptions(
            work_root=folder / "runs",
            target="target-scripted",
            transform="nothing",
            patience=Patience(10.0, 30.0, 10.0),
        )
        self.target(TARGET)

    def tap(self, body):
        self._script("tap-scripted", TAP + textwrap.dedent(body))

    def target(self, body):
        self._script("target-scripted", textwrap.dedent(body))

    def _script(self, name, text):
        path = self.bin / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, stop=None, observer=None, options=None, **request):
        return run_now(
            self.database,
            RunRequest("scripted-1", **request),
            options or self.options,
            stop=stop,
            observer=observer,
        )

    def bookmark(self):
        stored = self.plane.state_get("scripted-1")
        return stored and stored.state_json["bookmarks"]["issues"]["replication_key_value"]

    def logs(self, result):
        return self.plane.logs(result.run_id, limit=1000)


@pytest.fixture
def bench(database, control_plane, spec, tmp_path, monkeypatch):
    control_plane.register_definition("scripted", spec)
    control_plane.ensure_instance(
        "scripted-1", "ipai_connector_scripted", {"auth_token": "${SCRIPTED_TOKEN}"}
    )
    bench = Workbench(database, tmp_path, control_plane)
    monkeypatch.setenv("SCRIPTED_TOKEN", CANARY)
    monkeypatch.setenv("PATH", f"{bench.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(
        runner_module, "installed_connector", lambda _: SimpleNamespace(command="tap-scripted")
    )
    return bench


def test_a_run_stores_rows_state_logs_and_its_own_end(bench):
    bench.tap(
        READ_THREE + "log(event='hello', level='info', answer=42)\nprint('plain', file=sys.stderr)"
    )
    result = bench.run()
    status = bench.plane.run_status(result.run_id)
    logged = {(line.source, line.message): line for line in bench.logs(result)}

    assert (0, 3) == (result.exit_code, bench.bookmark())
    assert ("succeeded", 3, 0) == (status.status, status.rows_processed, status.exit_code)
    assert (3, 3, 1) == tuple(
        status.streams[0][key] for key in ("rows_received", "rows_inserted", "requests")
    )
    assert {"answer": 42} == logged["tap", "hello"].fields
    assert "plain" in {message for _, message in logged}
    assert ("tap", "progress") not in logged
    assert [] == list(bench.options.work_root.iterdir())


def test_a_run_tells_what_its_connectors_took_of_the_machine(bench):
    bench.tap(READ_THREE)
    result = bench.run()
    (cost,) = bench.plane.run_costs(run_id=result.run_id)

    assert {"tap", "target"} == set(cost.parts)
    assert cost.cpu_seconds > 0
    assert cost.peak_memory_bytes > 1 << 20


def test_the_next_run_starts_where_the_last_one_ended(bench):
    bench.tap(READ_THREE)
    bench.run()
    bench.run()

    assert 6 == bench.bookmark()


def test_a_full_refresh_starts_from_nothing_and_says_so_to_the_tap(bench):
    bench.tap(READ_THREE)
    bench.run()
    bench.tap("assert config['full_refresh'] and state == {}, state" + READ_THREE)
    result = bench.run(full_refresh=True)

    assert (0, "full_table", 3) == (result.exit_code, result.mode, bench.bookmark())


def test_only_the_named_streams_are_selected_for_the_tap(bench):
    bench.tap(
        "catalog = json.load(open(given.catalog))\n"
        "chosen = [entry['stream'] for entry in catalog['streams'] if entry['selected']]\n"
        "log(event='chosen ' + ' '.join(chosen))" + READ_THREE
    )
    result = bench.run(streams=["labels"])

    assert "chosen labels" in [line.message for line in bench.logs(result)]


def test_a_tap_is_told_its_share_of_the_quota_and_what_it_uses_is_counted(bench):
    """Two instances sign in with one token: neither gets more than half while both may run."""
    config = {"auth_token": "${SCRIPTED_TOKEN}", "concurrency": 1}
    for name in ("scripted-1", "scripted-2"):
        bench.plane.ensure_instance(name, "ipai_connector_scripted", config)
    bench.tap(
        "keys = ('requests_per_second', 'concurrency', 'requests_per_run')\n"
        "log(event='share ' + json.dumps([config.get(key) for key in keys]))\n"
        "log(event='progress', stream='issues', quota_remaining=7, quota_resets_in=600.5)"
        + READ_THREE
    )
    result = bench.run()

    assert "share [2.5, 1, null]" in [line.message for line in bench.logs(result)]
    with bench.database.connect() as connection:
        usage = connection.execute("select requests from connectors.quota_usage").fetchall()
        shares = connection.execute("select from connectors.quota_shares").fetchall()
        left = connection.execute(
            "select remaining, reset_at - now() between interval '0' and interval '601 s'"
            " from connectors.quota_standing"
        ).fetchall()
    assert ([(1,)], [], [(7, True)]) == (usage, shares, left)


@pytest.mark.parametrize(
    ("body", "exit_code", "error_class", "summary"),
    [
        ("log(level='error', event='No access.'); sys.exit(77)", 77, "credentials", "No access."),
        ("sys.exit(78)", 78, "configuration", "exit code 78"),
        ("raise ValueError('odd value')", 1, "tap", "ValueError: odd value"),
        ("os.kill(os.getpid(), 9)", 1, "tap", "killed by SIGKILL"),
        (
            "log(level='error', event='Later.', retry_at='2030-01-01T00:00:00Z'); sys.exit(75)",
            75,
            "try_again_later",
            "Later.",
        ),
    ],
)
def test_a_crashed_tap_keeps_what_was_committed_and_names_the_cause(
    bench, body, exit_code, error_class, summary
):
    bench.tap(READ_THREE + body)
    result = bench.run()
    status = bench.plane.run_status(result.run_id)

    assert (exit_code, error_class) == (result.exit_code, status.error_class)
    assert summary in status.error_summary
    assert ("failed", 3, 3) == (status.status, status.rows_processed, bench.bookmark())
    assert (error_class == "try_again_later") == (status.retry_at is not None)


def test_a_crashed_target_fails_the_run_with_the_last_state_it_echoed(bench):
    bench.tap(READ_THREE + "time.sleep(30)")
    bench.target(TARGET + "        raise SystemExit(3)\n")
    result = bench.run()

    assert ("target", 1, 3) == (result.failure.error_class, result.exit_code, bench.bookmark())


def test_dead_letters_over_the_limit_have_their_own_exit_code(bench):
    bench.tap(READ_THREE)
    bench.target(TARGET + "raise SystemExit(65)\n")

    assert 65 == bench.run().exit_code


def test_a_state_the_control_plane_refuses_fails_the_run(bench):
    bench.tap(READ_THREE)
    bench.run()
    bench.tap("record(1); bookmark(1)")
    result = bench.run()

    assert ("state", 3) == (result.failure.error_class, bench.bookmark())
    assert "set back" in result.failure.summary


SAVING = """
import psycopg
token = config.pop("lease_token")
print("token", token, file=sys.stderr)
assert config.pop("state_in_transaction") is True
state = '{"bookmarks": {"issues": {"replication_key_value": 3}}}'
with psycopg.connect(config["database_url"]) as connection:
    values = (config["run_id"], token, state)
    connection.execute("select connectors.save_connector_state(%s, %s, %s)", values)
assert set(config)"""


def test_a_target_that_lands_beside_the_control_plane_saves_state_by_itself(bench, monkeypatch):
    monkeypatch.setattr(runner_module, "STATE_KEEPER", "target-scripted")
    bench.tap(READ_THREE)
    bench.target(TARGET.replace("assert set(config)", SAVING.lstrip()))
    result = bench.run()

    assert (0, 3) == (result.exit_code, bench.bookmark())
    assert 1 == bench.plane.state_get("scripted-1").version
    assert "token ***" in {line.message for line in bench.logs(result)}


def test_a_tap_without_state_may_succeed(bench):
    bench.tap("record(1)")

    assert 0 == bench.run().exit_code


def test_what_the_target_prints_besides_state_is_logged(bench):
    bench.tap(READ_THREE)
    bench.target(TARGET + "print('good bye'); print('{}')\n")
    result = bench.run()

    assert (0, 3) == (result.exit_code, bench.bookmark())
    assert "good bye" in [line.message for line in bench.logs(result)]


def test_drift_that_the_target_tells_of_is_logged_with_all_it_says(bench):
    bench.tap("""
        schema = {"properties": {"id": {"type": "integer"}, "amount": {"type": "number"}}}
        say(type="SCHEMA", stream="issues", schema=schema, key_properties=["id"])
        say(type="RECORD", stream="issues", record={"id": 7, "amount": "a lot"})
        bookmark(7)
    """)
    result = bench.run(options=replace(bench.options, target="target-bronze-postgres"))
    [line] = [line for line in bench.logs(result) if line.message.startswith("drift")]

    assert (0, 7) == (result.exit_code, bench.bookmark())
    assert ("target", "warning", "issues") == (line.source, line.level, line.stream)
    assert "drift: 'amount' is string, expected number" == line.message
    assert {
        "logger": "target-bronze-postgres",
        "kind": "type",
        "path": "amount",
        "expected": "number",
        "seen": "string",
        "count": 1,
        "example_key": "[7]",
    } == line.fields


class Signaller(Nobody):
    """Asks for a stop as soon as rows are committed."""

    def __init__(self, stop, times=1):
        self.stop, self.times = stop, times

    def counted(self, tally):
        if tally.rows and not self.stop.signum:
            for _ in range(self.times):
                self.stop.request(signal.SIGINT)


def test_a_stop_keeps_the_state_that_the_target_says_while_draining(bench):
    bench.tap(
        # Not a handler: it could not print while it interrupts a print.
        "signal.pthread_sigmask(signal.SIG_BLOCK, {15})\n"
        + READ_THREE
        + "signal.sigwait({15})\nrecord(9)\nbookmark(9)\nsys.exit(143)"
    )
    stop = Stop()
    result = bench.run(stop, Signaller(stop))
    status = bench.plane.run_status(result.run_id)

    assert (130, "cancelled", 9) == (result.exit_code, status.status, bench.bookmark())


def test_a_second_signal_ends_the_run_at_once(bench):
    bench.tap(READ_THREE + "signal.signal(15, signal.SIG_IGN); time.sleep(30)")
    stop, started = Stop(), time.monotonic()
    result = bench.run(stop, Signaller(stop, times=2))

    assert 130 == result.exit_code
    assert bench.bookmark() in {None, 3}  # the target may have died between rows and STATE
    assert time.monotonic() - started < 20


class Canceller(Nobody):
    """Does something to the run from outside as soon as rows are committed."""

    def __init__(self, act):
        self.act, self.run_id = act, None

    def started(self, run_id, instance_id, mode):
        self.run_id = run_id

    def counted(self, tally):
        if tally.rows and self.act:
            act, self.act = self.act, None
            act(self.run_id)


def test_a_cancelled_run_ends_and_keeps_its_state(bench, database):
    def cancel(run_id):
        with ControlPlane.connect(database) as plane:
            plane.cancel(run_id)

    bench.tap(READ_THREE + "time.sleep(60)")
    options = RunOptions(**{**vars(bench.options), "lease_seconds": 6})
    result = bench.run(observer=Canceller(cancel), options=options)

    assert ("cancelled", 3) == (bench.plane.run_status(result.run_id).status, bench.bookmark())


def test_a_runner_that_lost_its_lease_writes_nothing_more(bench, connection):
    def reap(run_id):
        connection.execute(
            "update connectors.connector_runs set lease_until = now() - interval '1 h'"
            " where id = %s",
            [run_id],
        )
        connection.execute("select connectors.reap_connector_runs()")

    bench.tap("record(1)\nbookmark(1)\ntime.sleep(3)\nbookmark(5)\ntime.sleep(60)")
    options = RunOptions(**{**vars(bench.options), "lease_seconds": 6})
    result = bench.run(observer=Canceller(reap), options=options)

    assert ("worker_lost", 75) == (result.failure.error_class, result.exit_code)
    assert bench.bookmark() in {None, 1}
    assert "worker_lost" == bench.plane.run_status(result.run_id).error_class


def test_a_broken_connection_is_opened_again_and_nothing_is_lost(bench, connection):
    def cut(run_id):
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'ipai-runner'"
        )

    bench.tap(
        "record(1)\nbookmark(1)\ntime.sleep(1.5)\n"
        "log(event='after the cut')\nrecord(2)\nbookmark(2)"
    )
    result = bench.run(observer=Canceller(cut))

    assert (0, 2) == (result.exit_code, bench.bookmark())
    assert "after the cut" in [line.message for line in bench.logs(result)]


def test_a_second_run_of_the_same_instance_is_refused_and_not_left_in_the_queue(bench):
    bench.tap("record(1)\nbookmark(1)\ntime.sleep(60)")
    stop, refused = Stop(), []

    def try_another(run_id):
        with pytest.raises(ConflictError) as error:
            bench.run()
        refused.append(str(error.value))
        stop.request(signal.SIGTERM)

    result = bench.run(stop, Canceller(try_another))

    assert 143 == result.exit_code
    assert result.run_id in refused[0]
    assert {"cancelled"} == {run.status for run in bench.plane.runs(10)}


def test_an_unknown_instance_or_stream_is_refused_before_anything_starts(bench):
    with pytest.raises(NotFoundError):
        run_now(bench.database, RunRequest("nobody"), bench.options)
    with pytest.raises(RefusedError, match="issues, labels"):
        bench.run(streams=["isues"])


def test_a_missing_variable_fails_the_run_as_configuration(bench, monkeypatch):
    bench.tap(READ_THREE)
    monkeypatch.delenv("SCRIPTED_TOKEN")
    result = bench.run()

    assert (78, "configuration") == (result.exit_code, result.failure.error_class)
    assert "SCRIPTED_TOKEN" in bench.plane.run_status(result.run_id).error_summary


def test_a_missing_program_fails_the_run_as_configuration(bench):
    result = bench.run()

    assert 78 == result.exit_code
    assert "'tap-scripted' is not installed" in result.failure.summary


def test_a_bug_of_the_runner_fails_the_run_with_its_traceback_in_the_log(bench, monkeypatch):
    monkeypatch.setattr(runner_module, "transfer", lambda *_: 1 / 0)
    bench.tap(READ_THREE)
    result = bench.run()
    line = next(line for line in bench.logs(result) if line.level == "critical")

    assert (70, "internal") == (result.exit_code, result.failure.error_class)
    assert "ZeroDivisionError" in line.fields["traceback"]


# -- what must never be seen ---------------------------------------------------------------------

LEAKS = """
import base64, urllib.parse
secret = config["auth_token"]
log(event="token is " + secret, nested={"deep": [secret]})
print("plain " + secret, file=sys.stderr)
print("url " + urllib.parse.quote(secret, safe=""), file=sys.stderr)
print("base64 " + base64.b64encode(secret.encode()).decode(), file=sys.stderr)
log(event="in two", message=json.dumps({"t": secret}))
print("\\0 odd \\ud800".encode("utf-8", "surrogatepass"), file=sys.stderr)
log(event="nul \\0 and \\ud800", odd="\\0\\ud800")
record(1)
bookmark(1)
time.sleep(1.5)
log(level="error", event="refused: " + secret)
raise ValueError(secret)
"""


class Peeper(Nobody):
    """Looks at every process and every file of the run while it happens."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def counted(self, tally):
        if tally.rows and not self.seen:
            for process in psutil.process_iter(["cmdline"]):
                try:
                    self.seen.append(str(process.info["cmdline"]))
                    if process.pid != os.getpid():
                        self.seen.append(
                            str(process.environ()) * (CANARY in str(process.environ()))
                        )
                except psutil.Error:
                    continue
            for path in self.folder.rglob("*"):
                if path.is_file():
                    self.seen.append(path.read_bytes().decode("utf-8", "replace"))


def test_a_secret_reaches_the_tap_and_nothing_else(bench, database, tmp_path, monkeypatch):
    bench.tap(LEAKS)
    peeper = Peeper(tmp_path / "runs")
    result = bench.run(observer=peeper)
    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables"
            " where table_schema = 'connectors' and table_type = 'BASE TABLE'"
        ).fetchall()
        dump = "\n".join(
            str(connection.execute(f"select to_jsonb(t)::text from {table} as t").fetchall())
            for (table,) in tables
        )
    everything = "\n".join([dump, *peeper.seen, str(result)])

    assert "tap-scripted" in everything
    assert "lease_token" in everything
    assert "refused: ***" in dump
    assert "nul" in dump
    for form in (CANARY, json.dumps(CANARY)[1:-1], "canary-5ecret", "Y2FuYXJ5LTVlY3JldC"):
        assert form not in everything


# -- what a killed runner leaves -----------------------------------------------------------------


def test_a_run_whose_runner_was_killed_is_closed_by_the_next_one_at_once(bench, tmp_path):
    bench.tap(READ_THREE)
    run_id = bench.plane.enqueue("scripted-1")
    run = bench.plane.claim(run_id, "dead", 3600)
    left = bench.options.work_root / str(run.id)
    left.mkdir(parents=True)
    (left / "runner.lock").write_text(
        json.dumps({"run_id": str(run.id), "lease_token": str(run.lease_token)})
    )
    result = bench.run()

    assert 0 == result.exit_code
    assert "worker_lost" == bench.plane.run_status(run_id).error_class
    assert not left.exists()


# -- dbt -----------------------------------------------------------------------------------------


@pytest.fixture
def dbt(bench, monkeypatch):
    calls = []

    def fake(dsn, *, streams, select, on_event, on_wait):
        calls.append(streams)
        on_event(SimpleNamespace(level="warn", message="slow", node="m", status="ok"))
        return TransformResult(ok=not calls[1:], error="broken" if calls[1:] else None)

    monkeypatch.setattr(runner_module, "run_dbt", fake)
    bench.options = RunOptions(**{**vars(bench.options), "transform": "changed"})
    return calls


def test_dbt_builds_what_received_rows_and_nothing_without_them(bench, dbt):
    bench.tap(READ_THREE)
    first = bench.run()
    bench.tap("bookmark(3)")
    second = bench.run()

    assert (0, 0) == (first.exit_code, second.exit_code)
    assert [[("scripted", "issues")]] == dbt
    assert "slow" in [line.message for line in bench.logs(first) if line.source == "dbt"]


def test_after_a_failed_run_dbt_builds_everything_of_the_source(bench, dbt):
    bench.tap(READ_THREE + "sys.exit(1)")
    bench.run()
    bench.tap("bookmark(3)")
    bench.run()

    assert [[("scripted", "issues"), ("scripted", "labels")]] == dbt


def test_a_failed_dbt_fails_the_run_after_its_state_is_kept(bench, dbt):
    dbt.append("earlier")
    bench.tap(READ_THREE)
    result = bench.run()

    assert ("transform", 1, 3) == (result.failure.error_class, result.exit_code, bench.bookmark())


def test_a_stop_during_dbt_ends_the_run(bench, dbt):
    bench.tap(READ_THREE)
    stop = Stop()

    class Late(Nobody):
        def transforming(self, streams):
            stop.request(signal.SIGTERM)

    assert 143 == bench.run(stop, Late()).exit_code


def test_log_lines_are_visible_while_the_run_goes_on(bench, database):
    bench.tap("log(event='early')\nrecord(1)\nbookmark(1)\ntime.sleep(2.5)")
    seen = threading.Event()

    class Watcher(Nobody):
        def started(self, run_id, instance_id, mode):
            threading.Thread(target=self.look, args=(run_id,), daemon=True).start()

        def look(self, run_id):
            with ControlPlane.connect(database) as plane:
                for _ in range(40):
                    if [line for line in plane.logs(run_id) if line.message == "early"]:
                        if plane.run_status(run_id).status == "running":
                            seen.set()
                        return
                    time.sleep(0.1)

    bench.run(observer=Watcher())

    assert seen.is_set()
