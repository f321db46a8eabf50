# SPDX-License-Identifier: Apache-2.0
"""A record of tens of megabytes among small ones: copied as little as can be."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from ipai_kit.landing import record_check
from ipai_kit.singer.reader import LARGE_LINE_BYTES
from ipai_kit.testing.target_runs import peak_memory
from target_bronze_lake import data_file

Make = Callable[..., Any]
MEGABYTE = 1 << 20


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
    value = random.Random(1).randbytes(25 * MEGABYTE).hex()
    lines = [schema(), record(id=1), record(id=2, v=value), record(id=3)]

    peak = peak_memory("target_bronze_lake", {"lake_url": lake.url}, lines, tmp_path)

    assert len(lake.rows()) == 3
    assert peak < 340 * 1024  # 300 MB; two more copies before they were saved
