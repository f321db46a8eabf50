# SPDX-License-Identifier: Apache-2.0
"""BATCH messages: files of records."""

import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Any]


def batch(manifest: list[str], version: int | None = None, **encoding: Any) -> dict[str, Any]:
    message = {"type": "BATCH", "stream": "things", "encoding": encoding, "manifest": manifest}
    return message if version is None else {**message, "version": version}


def write_lines(path: Path, lines: list[str], *, compressed: bool) -> str:
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if compressed else data)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path.as_uri()


@pytest.mark.parametrize(
    ("compression", "compressed"), [("gzip", True), ("none", False), (None, False)]
)
def test_files_of_json_lines_land_exactly(
    bronze: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    state: Make,
    tmp_path: Path,
    compression: str | None,
    compressed: bool,
) -> None:
    lines = [f'{{"id":{number},"v":12345678901234567890.{number}}}' for number in range(50)]
    files = [
        write_lines(tmp_path / "a b.jsonl", [*lines[:30], ""], compressed=compressed),
        write_lines(tmp_path / "c.jsonl", lines[30:], compressed=compressed),
    ]

    done = run_target(
        [
            schema(),
            record(id=0, v="older", at="2020-01-01T00:00:00Z"),
            batch(files, format="jsonl", compression=compression),
            state(1),
        ],
        batch_size_rows=7,
    )

    assert done.states == [1]
    assert done.total("received") == 51
    landed = bronze.rows("things", "record->'id', record->>'v', emitted_at")
    emitted = datetime.fromtimestamp(1_700_000_000, UTC)
    assert landed == [(n, f"12345678901234567890.{n}", emitted) for n in range(50)]


def test_a_bad_line_of_a_file_becomes_a_dead_letter(
    bronze: Any, run_target: Make, schema: Make, tmp_path: Path
) -> None:
    lines = ['{"id":1}', '{"id":', '{"id":2,"v":"\\u0000"}', '{"v":1}', '{"id":3}']
    file = write_lines(tmp_path / "a.jsonl", lines, compressed=False)

    done = run_target([schema(), batch([file], format="jsonl")])

    assert done.exit_code == 0
    assert [key for key, _ in bronze.rows("things")] == ["[1]", "[3]"]
    assert [reason for _, reason, _ in bronze.letters()] == [
        "invalid_json",
        "nul_character",
        "missing_key",
    ]


def test_parquet_files_land_with_exact_numbers(
    bronze: Any, run_target: Make, schema: Make, tmp_path: Path
) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    moment = datetime(2024, 1, 1, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([1, 2**62]),
            "v": pa.array(
                [Decimal("12345678901234567890123456789.123456789")] * 2, pa.decimal128(38, 9)
            ),
            "at": pa.array([moment, None]),
            "list": pa.array([[1, 2], []]),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)

    run_target([schema(), batch([str(path)], format="parquet")])

    query = "select record::text from ipai_bronze_core.raw_singer_things order by record_key"
    first, second = (json.loads(row[0], parse_float=Decimal) for row in bronze.query(query))
    assert first == {
        "id": 1,
        "v": Decimal("12345678901234567890123456789.123456789"),
        "at": "2024-01-01T00:00:00Z",
        "list": [1, 2],
    }
    assert second["id"] == 2**62


def test_batches_may_carry_a_version(
    bronze: Any, run_target: Make, schema: Make, state: Make, tmp_path: Path
) -> None:
    for version, ids in ((1, [1, 2]), (2, [2, 3])):
        lines = [f'{{"id":{number}}}' for number in ids]
        file = write_lines(tmp_path / f"{version}.jsonl", lines, compressed=False)
        activate = {"type": "ACTIVATE_VERSION", "stream": "things", "version": version}
        run_target([schema(), batch([file], version, format="jsonl"), activate, state(version)])

    alive = bronze.query("""select record_key from ipai_bronze_core.raw_singer_things
        where deleted_at is null order by 1""")
    assert alive == [("[2]",), ("[3]",)]


@pytest.mark.parametrize("wanted", [True, False])
def test_files_go_after_their_commit_where_that_is_wanted(
    run_target: Make, schema: Make, state: Make, tmp_path: Path, wanted: bool
) -> None:
    loaded = write_lines(tmp_path / "a.jsonl", ['{"id":1}', '{"id":2}'], compressed=False)
    broken = tmp_path / "b.jsonl"
    broken.write_bytes(b"no gzip")
    messages = [batch([loaded], format="jsonl"), state(1)]
    messages.append(batch([broken.as_uri()], format="jsonl", compression="gzip"))

    done = run_target([schema(), *messages], delete_batch_files=wanted, batch_size_rows=2)

    assert (done.exit_code, done.states) == (65, [1])
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == ({"b.jsonl"} if wanted else {"a.jsonl", "b.jsonl"})


@pytest.mark.parametrize(
    ("message", "exit_code", "text"),
    [
        (batch([], format="csv"), 65, "unknown format 'csv'"),
        (batch(["file:///missing.jsonl"], format="jsonl"), 65, "File 'missing.jsonl' of a BATCH"),
        (batch([__file__], format="jsonl", compression="xz"), 65, "compressed by 'xz'"),
        (batch(["s3://bucket/a.jsonl"], format="jsonl"), 78, "points to 's3' storage"),
    ],
)
def test_a_batch_that_cannot_be_read_stops_the_run(
    run_target: Make, schema: Make, state: Make, message: Any, exit_code: int, text: str
) -> None:
    done = run_target([schema(), state(1), message])

    assert (done.exit_code, text in done.error) == (exit_code, True)


def test_parquet_without_its_extra_says_what_to_install(
    run_target: Make, schema: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)

    done = run_target([schema(), batch([__file__], format="parquet")])

    assert done.exit_code == 78
    assert "needs the extra 'parquet'" in done.error
