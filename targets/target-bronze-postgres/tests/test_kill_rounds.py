# SPDX-License-Identifier: Apache-2.0
"""Kill -9 of target and server at random moments, and a disk that fills: the next run makes good.

After every death what STATE promised is there; after the last run Bronze is what the model says.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_kit.landing.command import land
from ipai_kit.testing.bronze_model import BronzeModel, Message
from target_bronze_postgres.command import PROGRAM

Make = Callable[..., Any]

STREAMS = ("a", "b")
NO_KEY = {"u": 0, "v": "no key"}


def schema_of(stream: str) -> Message:
    types = {"id": {"type": "integer"}, "u": {"type": "integer"}, "v": {}}
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": types},
        "key_properties": ["id"],
        "bookmark_properties": ["u"],
    }


SCHEMAS = [schema_of(stream) for stream in STREAMS]


def record_of(stream: str, key: int, position: int, version: int) -> Message:
    return {
        "type": "RECORD",
        "stream": stream,
        "record": {"id": key, "u": position, "v": f"text {position}"},
        "time_extracted": "2124-01-01T00:00:00Z",
        "version": version,
    }


def source(seed: int, length: int = 1000, keys: int = 200) -> list[Message]:
    """Two generations of changing records, a STATE now and then; the second lacks some keys."""
    dice = random.Random(seed)
    messages: list[Message] = []
    for version, highest in ((1, keys), (2, keys // 2)):
        for _ in range(length // 2):
            position = len(messages)
            if dice.random() < 0.03:
                messages.append({"type": "STATE", "value": position})
            else:
                key = dice.randrange(highest)
                messages.append(record_of(dice.choice(STREAMS), key, position, version))
        for stream in STREAMS:
            messages.append(record_of(stream, 0, len(messages), version))
            messages.append({"type": "ACTIVATE_VERSION", "stream": stream, "version": version})
        messages.append({"type": "STATE", "value": len(messages)})
    return messages


def modelled(messages: list[Message]) -> BronzeModel:
    model = BronzeModel()
    model.run([*SCHEMAS, *messages])
    return model


def landed(connection: Any, stream: str, instance: str) -> list[tuple[str, bool]]:
    table = f"ipai_bronze_core.raw_singer_{stream}"
    if connection.execute("select to_regclass(%s)", (table,)).fetchone() == (None,):
        return []
    query = f"select record, deleted_at is not null from {table} where instance_id = %s"
    rows = connection.execute(query, (instance,)).fetchall()
    return sorted((json.dumps(record, sort_keys=True), deleted) for record, deleted in rows)


def check_promise(connection: Any, instance: str, promised: list[Message]) -> None:
    """STATE is not ahead: every record before it is there, or a newer one of its key."""
    for stream in STREAMS:
        rows = [json.loads(text) for text, _ in landed(connection, stream, instance)]
        newest = {row["id"]: row["u"] for row in rows}
        assert len(newest) == len(rows)
        for (owner, _), row in modelled(promised).rows.items():
            if owner == stream:
                assert newest[row.record["id"]] >= row.record["u"]


def check_whole(connection: Any, instance: str, messages: list[Message]) -> None:
    model = modelled(messages)
    for stream in STREAMS:
        assert landed(connection, stream, instance) == model.landed(stream)


def with_bad_records(messages: list[Message]) -> list[Message]:
    """The same with records that cannot be landed, which are kept once each."""
    bad = {"type": "RECORD", "stream": "a", "record": NO_KEY}
    return [one for number, m in enumerate(messages) for one in ([m] if number % 50 else [bad, m])]


class Child:
    """The target in a process of its own, forked from this one: it starts at once."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.log = folder / "log"
        inlet, self._feed = os.pipe()
        self._states, outlet = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._feed)
            os._exit(self._land(config, inlet, outlet))
        os.close(inlet)
        os.close(outlet)
        self.exit_code: int | None = None
        self._stdout = os.fdopen(self._states, "rb")
        self._feeding = threading.Thread(target=lambda: None)

    def _land(self, config: dict[str, Any], inlet: int, outlet: int) -> int:
        try:
            sys.stdout = os.fdopen(outlet, "w")
            sys.stderr = self.log.open("w")
            return land(PROGRAM, config, os.fdopen(inlet, "rb"))
        except BaseException:  # noqa: BLE001 - the test must not go on in the child
            return 99

    def feed(self, messages: list[Message]) -> "Child":
        """Write the messages in the background; the target may die over it."""
        self._feeding = threading.Thread(target=self._write, args=(encode(messages),))
        self._feeding.start()
        return self

    def _write(self, data: bytes) -> None:
        with suppress(OSError), os.fdopen(self._feed, "wb", buffering=0) as pipe:
            for start in range(0, len(data), 1 << 14):
                pipe.write(data[start : start + (1 << 14)])

    def wait_for_state(self) -> None:
        self._first = self._stdout.readline()

    _first = b""

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """The position of the last STATE that came out whole, or -1."""
        lines = (self._first + self._stdout.read()).splitlines(keepends=True)
        self._stdout.close()
        self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._feeding.join()
        return max([-1, *(json.loads(line) for line in lines if line.endswith(b"\n"))])


def encode(messages: list[Message]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


@pytest.fixture
def start(bronze: Any, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start a target; one that a failed test leaves behind is killed."""
    started: list[Child] = []

    def start(*, dsn: str = bronze.dsn, **config: Any) -> Child:
        started.append(Child({"database_url": dsn, **config}, tmp_path))
        return started[-1]

    yield start
    for child in started:
        if child.exit_code is None:
            child.kill()
            child.end()


@pytest.mark.slow
def test_fifty_kills_of_the_target_lose_and_double_nothing(bronze: Any, start: Make) -> None:
    dice = random.Random(1)
    kills = sources = 0
    instance, messages, reached = "0", source(0), -1
    while kills < 50:
        target = start(instance_id=instance, batch_size_rows=dice.choice((7, 40, 90)))
        target.feed([*SCHEMAS, *with_bad_records(messages[reached + 1 :])])
        if dice.random() < 0.8:
            target.wait_for_state()
        time.sleep(dice.uniform(0, 0.1))
        target.kill()
        reached = max(reached, target.end())
        kills += target.exit_code == -signal.SIGKILL
        check_promise(bronze.connection, instance, messages[: reached + 1])
        if target.exit_code == 0 or reached == messages[-1]["value"]:
            check_whole(bronze.connection, instance, messages)
            sources += 1
            instance, messages, reached = str(sources), source(sources), -1

    last = start(instance_id=instance).feed([*SCHEMAS, *messages[reached + 1 :]])
    assert (last.end(), last.exit_code) == (messages[-1]["value"], 0)
    check_whole(bronze.connection, instance, messages)
    letters = """select max(count) from (select count(*) from ipai_bronze_core.dead_letters
        group by instance_id) one"""
    assert bronze.value(letters) == 1


@pytest.mark.slow
def test_kills_of_server_and_target_lose_and_double_nothing(own_server: Any, start: Make) -> None:
    dice = random.Random(2)
    messages = source(100, length=6000)
    reached = -1
    died = {"server": 0, "both": 0}
    for number in range(8):
        target = start(dsn=own_server.dsn(), batch_size_rows=20, retry_seconds=0.2)
        target.feed([*SCHEMAS, *messages[reached + 1 :]]).wait_for_state()
        time.sleep(dice.uniform(0, 0.05))
        own_server.stop(signal.SIGKILL)
        victim = list(died)[number % 2]
        if victim == "both":
            target.kill()
        reached = max(reached, target.end())
        died[victim] += target.exit_code in {75, -signal.SIGKILL}
        own_server.start()
        with psycopg.connect(own_server.dsn()) as connection:
            check_promise(connection, "default", messages[: reached + 1])
    assert all(died.values()), died

    last = start(dsn=own_server.dsn()).feed([*SCHEMAS, *messages[reached + 1 :]])
    last.end()
    assert last.exit_code == 0
    with psycopg.connect(own_server.dsn()) as connection:
        check_whole(connection, "default", messages)


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A disk of its own, as small as asked for."""
    folder = Path(tempfile.mkdtemp(prefix="bronze-disk-", dir="/tmp"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        folder.rmdir()
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def wide(messages: list[Message]) -> list[Message]:
    """The same, with texts that do not compress."""
    return [
        m | {"record": m["record"] | {"v": os.urandom(1500).hex()}} if m["type"] == "RECORD" else m
        for m in messages
    ]


def test_a_full_disk_ends_the_run_and_the_next_one_on_a_larger_disk_completes_it(
    server: Any, bronze: Any, start: Make
) -> None:
    messages = wide(source(7, length=1500))
    with small_disk("3m") as disk, tablespace_on(disk, server, bronze) as dsn:
        first = start(dsn=dsn, batch_size_rows=100).feed([*SCHEMAS, *messages])
        reached = first.end()

        assert first.exit_code == 75
        assert 0 < reached < messages[-1]["value"]
        assert "no disk space left" in first.log.read_text()
        check_promise(bronze.connection, "default", messages[: reached + 1])

        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        again = start(dsn=dsn, batch_size_rows=100).feed([*SCHEMAS, *messages[reached + 1 :]])

        assert (again.end(), again.exit_code) == (messages[-1]["value"], 0)
        check_whole(bronze.connection, "default", messages)


@contextmanager
def tablespace_on(disk: Path, server: Any, bronze: Any) -> Iterator[str]:
    """Where to connect so that new tables lie on the disk."""
    folder = disk / "tablespace"
    folder.mkdir()
    owner = server.data.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    bronze.connection.execute(f"create tablespace small location '{folder}'")
    try:
        yield bronze.dsn + " options='-c default_tablespace=small'"
    finally:
        bronze.connection.execute("drop schema if exists ipai_bronze_core cascade")
        bronze.connection.execute("drop tablespace small")


@pytest.mark.slow
def test_a_server_that_dies_of_a_full_disk_is_taken_up_where_its_commits_end(
    own_server: Any, start: Make
) -> None:
    """Without room for its log a server gives up altogether."""
    messages = wide(source(8, length=12_000))
    log = own_server.data / "pg_wal"
    with small_disk("100m") as disk:
        own_server.stop()
        subprocess.run(["cp", "-a", str(log), str(disk)], check=True)
        shutil.rmtree(log)
        log.symlink_to(disk / log.name)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 1_000_000))
        own_server.start()

        first = start(dsn=own_server.dsn(), batch_size_rows=100, retry_seconds=1)
        reached = first.feed([*SCHEMAS, *messages]).end()
        assert first.exit_code == 75
        assert own_server.process.wait(30) != 0

        ballast.unlink()
        own_server.start()
        with psycopg.connect(own_server.dsn()) as connection:
            check_promise(connection, "default", messages[: reached + 1])
        again = start(dsn=own_server.dsn()).feed([*SCHEMAS, *messages[reached + 1 :]])
        assert (again.end(), again.exit_code) == (messages[-1]["value"], 0)
        with psycopg.connect(own_server.dsn()) as connection:
            check_whole(connection, "default", messages)
        own_server.stop()
