# SPDX-License-Identifier: Apache-2.0
"""Whatever is repeated, reordered or killed: the table is what the stream says, STATE is true."""

import json
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipai_kit.exceptions import InternalError
from target_bronze_postgres.database import Database

Make = Callable[..., Any]
Message = dict[str, Any]

SCHEMAS = [
    {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": {"id": {}, "u": {}, "v": {}}},
        "key_properties": ["id"],
        "bookmark_properties": ["u"],
    }
    for stream in ("a", "b")
]

records = st.builds(
    lambda stream, key, cursor, value, second: {
        "type": "RECORD",
        "stream": stream,
        "record": {"id": key, "u": cursor, "v": value},
        "time_extracted": f"2024-01-01T00:00:{second:02}Z",
    },
    st.sampled_from(["a", "b"]),
    st.integers(0, 4),
    st.none() | st.integers(-2, 2),
    st.integers(0, 2),
    st.integers(0, 3),
)
streams = st.lists(st.none() | records, max_size=40)
interruptions = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.integers(1, 9)), max_size=3
)


def numbered(stream: list[Message | None]) -> list[Message]:
    """Every None becomes a STATE that says how far the stream is."""
    return [
        {"type": "STATE", "value": position} if message is None else message
        for position, message in enumerate(stream)
    ]


def oracle(messages: list[Message]) -> dict[tuple[str, int], Message]:
    """The newest version of each key, one message after the other."""
    newest: dict[tuple[str, int], Message] = {}
    for message in messages:
        if message["type"] == "RECORD":
            key = (message["stream"], message["record"]["id"])
            old = newest.get(key)
            if old is None or rank(message) >= rank(old):
                newest[key] = message
    return newest


def rank(message: Message) -> tuple[float, str]:
    cursor = message["record"]["u"]
    return (float("-inf") if cursor is None else cursor, message["time_extracted"])


class Killed:
    """Ends a run after some commits, as a kill would: what is committed stays, nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        commit = Database.commit

        def commit_or_die(database: Database, batch: Any) -> Any:
            if self.left == 0:
                message = "killed"
                raise InternalError(message)
            if self.left is not None:
                self.left -= 1
            return commit(database, batch)

        monkeypatch.setattr(Database, "commit", commit_or_die)


_example = 0


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(streams, interruptions)
def test_replays_and_kills_give_the_table_of_one_undisturbed_run(
    bronze: Any,
    run_target: Make,
    monkeypatch: pytest.MonkeyPatch,
    stream: list[Message | None],
    interrupted: list[tuple[float, int, int]],
) -> None:
    global _example
    _example += 1
    instance = f"example {_example}"
    messages = numbered(stream)
    with pytest.MonkeyPatch.context() as patch:
        killed = Killed(patch)
        reached = -1
        for start, commits, size in interrupted:
            killed.left = commits
            position = int(start * (reached + 1))
            done = run_target(
                [*SCHEMAS, *messages[position:]], instance_id=instance, batch_size_rows=size
            )
            reached = max([reached, *done.states])
            assert _holds(bronze, instance, messages[: reached + 1])
        killed.left = None
        run_target([*SCHEMAS, *messages[reached + 1 :]], instance_id=instance)

    assert _landed(bronze, instance) == {
        key: message["record"] for key, message in oracle(messages).items()
    }


def _landed(bronze: Any, instance: str) -> dict[tuple[str, int], Any]:
    query = """select stream, record from ipai_bronze_core.raw_singer_a where instance_id = %s
        union all select stream, record from ipai_bronze_core.raw_singer_b where instance_id = %s"""
    return {
        (stream, record["id"]): record for stream, record in bronze.query(query, instance, instance)
    }


def _holds(bronze: Any, instance: str, promised: list[Message]) -> bool:
    """STATE is never ahead of the data: every key before it is there, not older than promised."""
    if not promised:
        return True
    landed = _landed(bronze, instance)
    for key, message in oracle(promised).items():
        cursor = landed[key]["u"]
        if (float("-inf") if cursor is None else cursor) < rank(message)[0]:
            return False
    return True


def long_stream(seed: int, length: int = 4000, keys: int = 700) -> list[Message]:
    """Updates of some keys in the order of their cursor, with a STATE now and then."""
    dice = random.Random(seed)
    messages: list[Message] = []
    for position in range(length):
        if position % 37 == 36:
            messages.append({"type": "STATE", "value": position})
            continue
        messages.append(
            {
                "type": "RECORD",
                "stream": dice.choice("ab"),
                "record": {"id": dice.randrange(keys), "u": position, "v": dice.random()},
                "time_extracted": "2024-01-01T00:00:00Z",
            }
        )
    return [*messages, {"type": "STATE", "value": length}]


def _rows(dsn: str) -> dict[tuple[str, int], Any]:
    with psycopg.connect(dsn) as connection:
        present = connection.execute(
            "select to_regclass('ipai_bronze_core.raw_singer_b')"
        ).fetchone()
        if present == (None,):
            return {}
        query = """select stream, record from ipai_bronze_core.raw_singer_a
            union all select stream, record from ipai_bronze_core.raw_singer_b"""
        return {(stream, record["id"]): record for stream, record in connection.execute(query)}


def _check_promise(dsn: str, promised: list[Message]) -> None:
    landed = _rows(dsn)
    for key, message in oracle(promised).items():
        assert landed[key]["u"] >= message["record"]["u"]


def _feed(target: Any, messages: list[Message]) -> threading.Thread:
    """Write in the background, slowly enough to be interrupted in the middle."""

    def write() -> None:
        try:
            for start in range(0, len(messages), 100):
                target.send(messages[start : start + 100])
                time.sleep(0.005)
            target.process.stdin.close()
        except (OSError, ValueError):
            pass  # the target is dead

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def _collect(target: Any) -> list[Any]:
    """Every STATE of the run; a line cut off by a kill is none."""
    lines = target.process.stdout.read().decode().splitlines(keepends=True)
    target.process.wait(60)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_a_target_killed_at_any_moment_loses_and_doubles_nothing(
    bronze: Any, start_target: Make
) -> None:
    messages = long_stream(seed=1, length=20_000)
    dice = random.Random(2)
    reached = -1
    for _ in range(6):
        target = start_target(batch_size_rows=150)
        thread = _feed(target, [*SCHEMAS, *messages[reached + 1 :]])
        first = target.process.stdout.readline()
        time.sleep(dice.uniform(0, 0.2))
        target.process.kill()
        reached = max([reached, int(first), *_collect(target)])
        thread.join()
        _check_promise(bronze.dsn, messages[: reached + 1])
    assert 0 < reached < 20_000

    last = start_target(batch_size_rows=150)
    _feed(last, [*SCHEMAS, *messages[reached + 1 :]]).join()

    assert _collect(last)[-1] == 20_000
    assert _rows(bronze.dsn) == {key: m["record"] for key, m in oracle(messages).items()}


@pytest.mark.slow
def test_a_server_killed_at_any_moment_loses_and_doubles_nothing(
    own_server: Any, start_target: Make
) -> None:
    messages = long_stream(seed=3, length=20_000)
    dice = random.Random(4)
    target = start_target(dsn=own_server.dsn(), batch_size_rows=150)
    thread = _feed(target, [*SCHEMAS, *messages])
    for _ in range(5):
        time.sleep(dice.uniform(0.2, 0.6))
        own_server.stop(signal.SIGKILL)
        own_server.start()
    states = _collect(target)
    thread.join()

    assert target.process.returncode == 0
    assert states == sorted(states)
    assert states[-1] == 20_000
    assert _rows(own_server.dsn()) == {key: m["record"] for key, m in oracle(messages).items()}
