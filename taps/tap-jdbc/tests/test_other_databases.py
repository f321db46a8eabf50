# SPDX-License-Identifier: Apache-2.0
"""The tap over databases other than PostgreSQL: whole, incremental, killed and resumed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ipai_kit.testing.databases import (
    SomeDatabase,
    duckdb_file,
    java_database,
    mariadb_database,
    sqlite_file,
)
from ipai_kit.testing.mariadb import MYSQL_PROGRAM, MariaDBServer, running_mariadb, running_mysql
from ipai_kit.testing.runs import run_tap
from tap_jdbc.tap import TapJdbc

TAP = Path(sys.executable).parent / "tap-jdbc"
MOST_MEGABYTES = 200
ROWS = 100_000


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDBServer]:
    with running_mariadb() as server:
        yield server


@pytest.fixture(scope="module")
def mysql() -> Iterator[MariaDBServer]:
    with running_mysql() as server:
        yield server


OPTIONAL = ["mysql"] if os.environ.get(MYSQL_PROGRAM) else []


@pytest.fixture(params=["mariadb", "sqlite", "duckdb", "h2", *OPTIONAL])
def database(request, tmp_path_factory) -> Iterator[SomeDatabase]:
    opened: AbstractContextManager[SomeDatabase]
    if request.param in ("mariadb", "mysql"):
        opened = mariadb_database(request.getfixturevalue(request.param))
    elif request.param == "sqlite":
        opened = sqlite_file(tmp_path_factory.mktemp("sqlite"))
    elif request.param == "duckdb":
        opened = duckdb_file(tmp_path_factory.mktemp("duckdb"))
    else:
        opened = java_database("h2")
    with opened as found:
        yield found


def fill(database, rows):
    database.execute(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, seen TIMESTAMP, "
        "price DECIMAL(10,2))",
        "INSERT INTO orders VALUES "
        + ", ".join(f"({n}, '2026-01-01 10:00:0{n % 3}', {n}.5)" for n in range(1, rows + 1)),
    )


def run(database, state=None, **settings):
    database.close()
    return run_tap(TapJdbc, {**database.settings, **settings}, state=state)


def only(run):
    ((stream, records),) = run.records.items()
    return stream, [next(iter(record.values())) for record in records]


def test_a_table_arrives_whole_and_in_order(database):
    fill(database, 30)

    stream, ids = only(run(database, chunk_rows=7))

    assert stream.lower().endswith("-orders")
    assert list(range(1, 31)) == ids


def test_ties_of_a_cursor_are_read_again_and_nothing_is_lost(database):
    fill(database, 30)
    column = next(
        one.name for one in database.table("orders").columns if one.name.lower() == "seen"
    )
    first = run(database, cursor_columns=[column])
    database.execute(
        "INSERT INTO orders VALUES (31, '2026-01-01 10:00:02', 1), (32, '2025-01-01 00:00:00', 1)"
    )

    second = run(database, first.state, cursor_columns=[column])

    assert list(range(1, 31)) == only(first)[1]
    assert [*range(2, 31, 3), 31] == only(second)[1]


def test_rows_that_are_gone_are_told(database):
    fill(database, 5)
    first = run(database, deletes="compare")
    database.execute("DELETE FROM orders WHERE id IN (2, 4)")

    second = run(database, first.state, deletes="compare")

    (records,) = second.records.values()
    assert [2, 4] == [next(iter(one.values())) for one in records if one.get("_sdc_deleted_at")]


def test_parallel_chunks_are_the_same_rows(database):
    fill(database, 100)

    _, ids = only(run(database, chunk_rows=9, parallel=2))

    assert list(range(1, 101)) == sorted(ids)


@pytest.fixture
def large(mariadb) -> Iterator[SomeDatabase]:
    with mariadb_database(mariadb) as found:
        found.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, note varchar(100))",
            f"INSERT INTO orders SELECT seq, REPEAT('x', 100) FROM seq_1_to_{ROWS}",
        )
        yield found


def command(database, folder, *arguments, **settings):
    config = folder / "config.json"
    config.write_text(json.dumps({**database.settings, **settings}))
    return subprocess.Popen(
        [str(TAP), "--config", str(config), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def megabytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) // 1024 if found else 0


def test_a_run_that_is_killed_goes_on_where_its_state_was(large, tmp_path):
    process = command(large, tmp_path, chunk_rows=1000)
    before, state = [], None
    for line in process.stdout:
        message = json.loads(line)
        if message["type"] == "RECORD" and state is None:
            before.append(message["record"]["id"])
        elif message["type"] == "STATE" and before:
            state = message["value"]
            process.kill()
            break
    process.stdout.close()
    process.wait()

    after = [row["id"] for row in next(iter(run(large, state, chunk_rows=50_000).records.values()))]

    assert len(before) < ROWS
    assert list(range(1, ROWS + 1)) == before + after


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to see memory in")
@pytest.mark.slow
@pytest.mark.parametrize("method", ["FULL_TABLE", "LOG_BASED"])
def test_memory_stays_the_same_however_many_rows(large, tmp_path, method):
    state = run(large, replication_method=method, streams={f"{large.schema}-orders": {}}).state
    arguments = []
    if method == "LOG_BASED":
        large.execute("UPDATE orders SET note = REPEAT('y', 100)")
        (tmp_path / "state.json").write_text(json.dumps(state))
        arguments = ["--state", str(tmp_path / "state.json")]
    process = command(large, tmp_path, *arguments, replication_method=method)
    count, most = 0, 0
    for line in process.stdout:
        count += b'"type":"RECORD"' in line[:20]
        if count % 5000 == 0:  # what wait4 tells would include this process, which was forked
            most = max(most, megabytes(process.pid))
    process.stdout.close()

    assert (ROWS, 0) == (count, process.wait())
    assert 0 < most < MOST_MEGABYTES
