# SPDX-License-Identifier: Apache-2.0
"""BATCH messages: records of files land in the lake as the same records of lines do."""

import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Any]

WRITTEN = datetime(2026, 1, 31, 12, tzinfo=UTC)
USUAL = [f'{{"id":{n},"at":"2026-01-01T00:00:{n:02}Z","v":1.50}}'.encode() for n in range(50)]
ODD = [b'{"v":1}', b'{"id":1.0}', b'{"id":', b' {"id":"\xc3\xa9","v":"\\u0000"} ', b'{"id":"\xff"}']


def batch(path: Path, data: bytes, **encoding: Any) -> dict[str, Any]:
    path.write_bytes(data)
    os.utime(path, (WRITTEN.timestamp(), WRITTEN.timestamp()))
    manifest = [path.as_uri()]
    return {"type": "BATCH", "stream": "things", "encoding": encoding, "manifest": manifest}


def message(record: bytes) -> bytes:
    text = b'{"type":"RECORD","stream":"things","record":%s,"time_extracted":"%s"}'
    return text % (record.strip(), WRITTEN.isoformat().encode())


def landed(lake: Any) -> list[dict[str, Any]]:
    rows = lake.rows()
    kept = [{name: value for name, value in row.items() if name != "loaded_at"} for row in rows]
    return sorted(kept, key=lambda row: (row["record_key"], row["position"]))


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("records", [USUAL, [*USUAL[:20], *ODD, *USUAL[10:]]], ids=["usual", "odd"])
def test_a_file_lands_as_the_same_lines_do(
    run_target: Make,
    schema: Make,
    state: Make,
    tmp_path: Path,
    lake: Any,
    compression: str,
    records: list[bytes],
) -> None:
    head = schema(cursor="at", at={})
    valid = [one for one in records if one != b'{"id":']
    data = b"".join(one + b"\n" for one in valid)
    packed = gzip.compress(data) if compression == "gzip" else data
    file = batch(tmp_path / "things.jsonl", packed, format="jsonl", compression=compression)

    lines = run_target([head, *map(message, valid), state(1)], instance_id="lines")
    files = run_target([head, file, state(1)], instance_id="files")

    assert (lines.exit_code, files.exit_code, files.states) == (0, 0, [1])
    found: dict[str, list[Any]] = {"lines": [], "files": []}
    for row in landed(lake):
        found[row.pop("instance_id")].append(row)
    assert found["files"] == found["lines"]
    assert len(found["files"]) >= len(USUAL)


def test_a_parquet_file_lands(
    run_target: Make, schema: Make, state: Make, tmp_path: Path, lake: Any
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "things.parquet"
    pq.write_table(pa.table({"id": [1, 2**62], "v": ["a", None]}), path)

    done = run_target([schema(), batch(path, path.read_bytes(), format="parquet"), state(1)])

    assert done.exit_code == 0
    assert [json.loads(row["record"]) for row in landed(lake)] == [
        {"id": 1, "v": "a"},
        {"id": 2**62, "v": None},
    ]
