# SPDX-License-Identifier: Apache-2.0
"""A record of tens of megabytes among small ones: copied as little as can be."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from ipai_kit.landing import record_check
from ipai_kit.singer.reader import LARGE_LINE_BYTES
from target_bronze_lake import data_file

Make = Callable[..., Any]
MEGABYTE = 1 << 20
MEASURE = """
import resource, subprocess, sys
command = [sys.executable, "-m", "target_bronze_lake", *sys.argv[1:]]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A process starts with the peak of the one that it was forked from: here a small one."""


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_a_large_record_waits_until_what_came_before_it_is_landed(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make, form: str
) -> None:
    large = "x" * (LARGE_LINE_BYTES + MEGABYTE)
    around = [record(id=number, v=None) for number in range(4)]
    lines = [schema(), *around[:2], record(id=9, v=large), state(1), *around[2:], state(2)]

    done = run_target(lines)

    assert (done.exit_code, done.states[-1]) == (0, 2)
    assert [event["received"] for event in done.of("flushed")] == [2, 3]
    files = [str(path) for path in lake.files(lake.path())]
    sizes = sorted(len(text) for text in pl.read_parquet(files)["record"])
    assert sizes[-1] > len(large)
    query = "select length(record) from read_parquet(?) order by 1"
    assert [size for (size,) in duckdb.execute(query, [files]).fetchall()] == sizes
    assert sorted(len(row["record"]) for row in lake.rows()) == sizes


@pytest.mark.parametrize(("longest", "told"), [(100, ["unknown_field"]), (10, [])])
def test_large_records_are_not_taken_apart_for_what_they_may_hold_besides(
    run_target: Make,
    schema: Make,
    record: Make,
    longest: int,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record_check, "LARGE_LINE_BYTES", longest)

    done = run_target([schema(), record(id=1, v="x" * 20, other=1)])

    assert [event["kind"] for event in done.of("drift")] == told


def test_large_values_are_written_in_lean_pages(
    lake: Any, run_target: Make, schema: Make, record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_file, "LARGE_BYTES", 1000)
    lines = [schema(), record(id=1, v="ä" * 1000), record(id=2, v=None)]

    run_target(lines)

    [path] = lake.files(lake.path())
    texts = pq.ParquetFile(path).read(["record", "cursor"]).to_pydict()
    assert texts["cursor"] == [None, None]
    assert pl.read_parquet(path)["record"].to_list() == texts["record"] == lake.records()


def test_memory_stays_in_bounds_with_a_record_of_fifty_megabytes(
    lake: Any, schema: Make, record: Make, tmp_path: Path
) -> None:
    config, messages = tmp_path / "config.json", tmp_path / "messages.jsonl"
    config.write_text(json.dumps({"lake_url": lake.url}))
    value = random.Random(1).randbytes(25 * MEGABYTE).hex()
    with messages.open("w") as file:
        for message in (schema(), record(id=1), record(id=2, v=value), record(id=3)):
            file.write(json.dumps(message) + "\n")

    with messages.open("rb") as file:
        measured = subprocess.run(
            [sys.executable, "-c", MEASURE, "--config", str(config)],
            stdin=file,
            capture_output=True,
            text=True,
            check=True,
        )

    assert len(lake.rows()) == 3
    assert int(measured.stdout) < 340 * 1024  # 300 MB; two more copies before they were saved
