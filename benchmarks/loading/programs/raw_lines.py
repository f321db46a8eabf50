# SPDX-License-Identifier: Apache-2.0
"""The limit for a lake: cut records out of Singer lines and write them as one column of text.

    python raw_lines.py parquet|delta FOLDER < messages

No key, no cursor, no check, one commit: only reading, slicing, compressing and writing.
"""

import sys
from array import array
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

_BLOCK = 1 << 20
_GROUP = 16 << 20


class _Message(msgspec.Struct):
    type: str
    record: msgspec.Raw = msgspec.Raw()


def batches() -> Iterator[pa.RecordBatch]:
    """The records of standard input, about 16 MB at a time."""
    decode = msgspec.json.Decoder(_Message).decode_lines
    rest, waiting, size = b"", [], 0
    for block in iter(lambda: sys.stdin.buffer.read(_BLOCK), b""):
        whole, newline, rest = (rest + block).rpartition(b"\n")
        waiting += [bytes(one.record) for one in decode(whole + newline) if one.type == "RECORD"]
        size += len(block)
        if size >= _GROUP:
            yield _batch(waiting)
            waiting, size = [], 0
    if waiting:
        yield _batch(waiting)


def _batch(records: list[bytes]) -> pa.RecordBatch:
    """One column from its buffers; `pa.array` on a list imports pandas where it is installed."""
    ends = array("i", accumulate(map(len, records), initial=0))
    data = pa.py_buffer(b"".join(records))
    column = pa.StringArray.from_buffers(len(records), pa.py_buffer(ends), data)
    return pa.record_batch([column], ["record"])


def main() -> None:
    """Write what comes in."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    schema = pa.schema([("record", pa.string())])
    if kind == "delta":
        write_delta(folder, schema)
        return
    folder.mkdir(parents=True)
    with ParquetWriter(folder / "records.parquet", schema, compression="zstd") as writer:
        for batch in batches():
            writer.write_batch(batch)


def write_delta(folder: Path, schema: Any) -> None:
    """Append to a Delta table."""
    from deltalake import write_deltalake

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    write_deltalake(str(folder), reader, mode="append")


if __name__ == "__main__":
    main()
