# SPDX-License-Identifier: Apache-2.0
"""Files into Bronze by two commands and a pipe: every row of a file is a row or a dead letter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from ipai_kit.testing.postgres import running_postgres

BIN = Path(sys.executable).parent
ROWS = 40_000
BAD = 7


@pytest.fixture
def database():
    with running_postgres() as server, server.new_database() as name:
        yield server.url(name)


def start(folder: Path, state: str | None) -> list[subprocess.Popen]:
    arguments = [str(BIN / "tap-files"), "--config", str(folder / "tap.json")]
    if state:
        (folder / "state.json").write_text(state)
        arguments += ["--state", str(folder / "state.json")]
    tap = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    command = [str(BIN / "target-bronze-postgres"), "--config", str(folder / "target.json")]
    with (folder / "state.jsonl").open("ab") as output:
        target = subprocess.Popen(
            command, stdin=tap.stdout, stdout=output, stderr=subprocess.DEVNULL
        )
    tap.stdout.close()
    return [tap, target]


def last_state(folder: Path) -> str | None:
    lines = (folder / "state.jsonl").read_text().splitlines()
    return lines[-1] if lines else None


def finish(processes: list[subprocess.Popen]) -> list[int]:
    return [process.wait(120) for process in reversed(processes)]


@pytest.mark.slow
def test_every_row_of_a_file_is_a_row_or_a_dead_letter_however_often_it_is_killed(
    tmp_path, database
):
    orders = tmp_path / "in" / "orders.csv"
    orders.parent.mkdir()
    with orders.open("w") as file:
        file.write("id,amount,note\n")
        for number in range(ROWS):
            is_bad = number % (ROWS // BAD) == 11
            file.write('"bad"row\n' if is_bad else f'{number},{number}.10,"two\nlines"\n')
    entries = [{"name": "orders", "path": str(orders)}]
    (tmp_path / "tap.json").write_text(json.dumps({"files": entries}))
    settings = {"database_url": database, "batch_size_rows": 1000, "instance_id": "shop"}
    (tmp_path / "target.json").write_text(json.dumps(settings))
    (tmp_path / "state.jsonl").touch()
    dead = "select count(*), count(distinct raw), min(stream) from ipai_bronze_core.dead_letters"

    for killed in (0, 1):  # once the tap, once the target
        processes = start(tmp_path, last_state(tmp_path))
        deadline = time.monotonic() + 60
        size = (tmp_path / "state.jsonl").stat().st_size
        while (tmp_path / "state.jsonl").stat().st_size == size and time.monotonic() < deadline:
            if processes[killed].poll() is not None:
                break
            time.sleep(0.01)
        os.kill(processes[killed].pid, signal.SIGKILL)
        finish(processes)
    assert finish(start(tmp_path, last_state(tmp_path))) == [0, 0]

    with psycopg.connect(database) as connection:
        table = "ipai_bronze_core.raw_files_orders"
        live = (
            f"select count(*), count(distinct record->>'id') from {table} where deleted_at is null"
        )
        sums = f"select sum((record->>'amount')::numeric) from {table} where deleted_at is null"
        rows, ids = connection.execute(live).fetchone()
        total = connection.execute(sums).fetchone()[0]
        _, letters, stream = connection.execute(dead).fetchone()
        tables = connection.execute(
            "select to_regclass('ipai_bronze_core.raw_files_orders_rejected')"
        )
        no_table = tables.fetchone()[0]
        about = "select record from ipai_bronze_core.raw_files_files"
        (known,) = connection.execute(about).fetchone()
    good = [n for n in range(ROWS) if n % (ROWS // BAD) != 11]

    assert rows == ids == len(good)
    assert (rows, rows + known["rejected"]) == (known["rows"], ROWS)
    assert float(total) == pytest.approx(sum(good) + 0.10 * len(good))
    assert (letters, stream, no_table) == (known["rejected"], "orders", None)

    orders.write_text("id,amount,note\n1,2.50,short\n")
    assert finish(start(tmp_path, last_state(tmp_path))) == [0, 0]
    with psycopg.connect(database) as connection:
        left = connection.execute(f"select record from {table} where deleted_at is null").fetchall()
        gone = connection.execute(f"select count(*) from {table} where deleted_at is not null")

        assert [(row["id"], row["note"]) for (row,) in left] == [(1, "short")]
        assert gone.fetchone()[0] >= len(good) - 1
