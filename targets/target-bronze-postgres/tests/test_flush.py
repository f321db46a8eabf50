# SPDX-License-Identifier: Apache-2.0
"""When a commit happens, and that STATE never leaves before it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from ipai_kit.landing.batch import FlushBatch
from ipai_kit.landing.events import EventLog, hand_on_state
from ipai_kit.landing.exceptions import StateReaderGoneError
from ipai_kit.landing.flush_writer import FlushWriter

Make = Callable[..., Any]


def count(bronze: Any, stream: str = "things") -> int:
    if bronze.value("select to_regclass(%s)", f"ipai_bronze_core.raw_singer_{stream}") is None:
        return 0
    return int(bronze.value(f"select count(*) from ipai_bronze_core.raw_singer_{stream}"))


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def test_a_batch_is_committed_after_so_many_rows(
    run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    lines: list[Any] = [schema()]
    for number in range(10):
        lines += [record(id=number), state(number)]

    done = run_target(lines, batch_size_rows=3)

    assert [event["received"] for event in done.of("flushed")] == [3, 3, 3, 1]
    assert done.states == [1, 4, 7, 9]


def test_a_batch_is_committed_after_so_many_bytes(
    run_target: Make, schema: Make, record: Make
) -> None:
    lines = [schema(), *(record(id=number, v="x" * 600) for number in range(10))]

    done = run_target(lines, batch_size_bytes=1000)

    assert [event["received"] for event in done.of("flushed")] == [2] * 5


def test_state_leaves_in_time_though_the_tap_is_silent(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    target = start_target(flush_seconds=0.5)
    target.send([schema(), record(id=1), state(1)])

    started = time.monotonic()
    first = target.read_state()
    waited = time.monotonic() - started

    assert first == 1
    assert waited < 20
    assert count(bronze) == 1
    target.send([record(id=2), state(2)])
    assert target.read_state() == 2
    assert target.finish().exit_code == 0


def test_state_without_records_leaves_too(start_target: Make, state: Make) -> None:
    target = start_target(flush_seconds=0.2)
    target.send([state(1)])

    assert target.read_state() == 1
    target.send([state(1), state(2)])
    assert target.finish().states == [2]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_commits_what_was_read_and_hands_on_its_state(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make, signum: int
) -> None:
    target = start_target(flush_seconds=600)
    target.send([schema(), record(id=0), state(0), record(id=1)])
    target.process.stdin.write(b'{"type":')
    target.process.stdin.flush()
    wait_for(lambda: _bytes_waiting(target.process.stdin.fileno()) == 0)
    time.sleep(0.3)

    target.process.send_signal(signum)
    target.process.wait(30)
    done = target.finish()

    assert done.exit_code == 128 + signum
    assert done.states == [0]
    assert count(bronze) == 2


def _bytes_waiting(descriptor: int) -> int:
    import array
    import fcntl
    import termios

    waiting = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    return waiting[0]


def test_a_second_signal_aborts_at_once_and_leaves_nothing_behind(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run = start_target(flush_seconds=0.1)
    run.send([schema(), record(id=0), state(0)])
    assert run.read_state() == 0
    with bronze.connection.transaction():
        bronze.connection.execute("lock table ipai_bronze_core.raw_singer_things")
        run.send([record(id=1), state(1)])
        time.sleep(0.5)
        for _ in range(2):
            run.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        run.process.wait(30)

    done = run.finish()

    assert (done.exit_code, done.stdout) == (143, "")
    wait_for(lambda: _idle(bronze))
    assert count(bronze) == 1


def _idle(bronze: Any) -> bool:
    """No transaction of a target is open."""
    query = """select count(*) = 0 from pg_stat_activity
        where application_name = 'target-bronze-postgres' and datname = current_database()"""
    return bool(bronze.value(query))


def test_nothing_reads_the_state_any_more(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    target = start_target(flush_seconds=0.2)
    target.process.stdout.close()
    target.process.stdout = None
    target.send([schema(), record(id=1), state(1)])
    target.process.wait(30)

    stderr = target.process.stderr.read().decode()

    assert target.process.returncode == 1
    assert "The reader of STATE on standard output is gone." in stderr
    assert count(bronze) == 1


def test_a_lost_state_reader_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        with pytest.raises(StateReaderGoneError):
            hand_on_state(b"1")
        monkeypatch.setattr(sys, "stderr", gone)
        EventLog("a").emit("nobody listens")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), gone.fileno())


def test_state_is_handed_on_byte_for_byte(run_target: Make) -> None:
    value = '{"n": 12345678901234567890123, "d": 1.10, "é": "\\u00e9"}'

    done = run_target([f'{{"type":"STATE","value":{value}}}'])

    assert done.stdout == value + "\n"


def test_a_log_line_never_shows_a_value(
    run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    canary = "canary-7f3a"
    bad = f'{{"type":"RECORD","stream":"things","record":{{"v":"{canary}"}}}}'
    nul = f'{{"type":"RECORD","stream":"things","record":{{"id":"{canary}","v":"\\u0000"}}}}'
    huge = f'{{"type":"RECORD","stream":"things","record":{{"id":"{canary}","v":1e999999}}}}'

    done = run_target([schema(), record(id=canary), bad, nul, huge, state(1), canary])

    assert done.exit_code == 65
    assert len(done.of("dead_letter")) == 3
    assert canary not in done.stderr


class FailingDatabase:
    def commit(self, batch: FlushBatch) -> Any:
        message = "broken"
        raise RuntimeError(message)


def test_an_error_of_the_writer_wakes_the_reader_and_comes_back_to_it() -> None:
    woken: list[bool] = []
    database: Any = FailingDatabase()
    writer = FlushWriter(database, lambda *_: None, lambda: woken.append(True))

    writer.submit(FlushBatch())
    wait_for(lambda: bool(woken))

    for method in (writer.check, writer.wait, lambda: writer.submit(FlushBatch())):
        with pytest.raises(RuntimeError, match="broken"):
            method()
    writer.close()


def test_an_unexpected_error_ends_with_70_and_names_its_place(
    monkeypatch: pytest.MonkeyPatch, run_target: Make, schema: Make
) -> None:
    from ipai_kit.landing import intake

    def fail(*_: Any, **__: Any) -> None:
        message = "secret value"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(intake, "plan_stream", fail)

    done = run_target([schema()])

    assert done.exit_code == 70
    assert "ZeroDivisionError in test_flush.py:" in done.error
    assert "secret value" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "missing.json"], "Configuration 'missing.json' cannot be read"),
        (["--config=broken.json"], "Configuration 'broken.json' is not a JSON object"),
        (["--config", "good.json", "--input", "missing"], "Input 'missing' cannot be read"),
    ],
)
def test_a_wrong_call_ends_with_78(tmp_path: Any, arguments: list[str], message: str) -> None:
    (tmp_path / "broken.json").write_text("[]")
    (tmp_path / "good.json").write_text("{}")

    done = subprocess.run(
        [sys.executable, "-m", "target_bronze_postgres", *arguments],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 78
    assert message in json.loads(done.stderr.splitlines()[-1])["message"]


def test_an_input_file_is_read_instead_of_standard_input(
    bronze: Any, tmp_path: Any, schema: Make, record: Make
) -> None:
    messages = tmp_path / "messages.jsonl"
    messages.write_text("\n".join(map(json.dumps, [schema(), record(id=1)])))
    (tmp_path / "config.json").write_text(json.dumps({"database_url": bronze.dsn}))
    command = [sys.executable, "-m", "target_bronze_postgres"]

    done = subprocess.run(
        [*command, "--config", "config.json", "--input", str(messages)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert count(bronze) == 1
