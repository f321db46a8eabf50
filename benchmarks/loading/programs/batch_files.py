# SPDX-License-Identifier: Apache-2.0
"""Write the files of BATCH messages, as a tap that exports files would: JSON lines, or Parquet.

python batch_files.py RECORDS FOLDER jsonl|parquet ROWS_PER_FILE
"""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
from pyarrow.json import read_json
from pyarrow.parquet import write_table


def main() -> None:
    """Cut the records into files of as many rows."""
    records, folder, form, rows = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, lines in enumerate(_chunks(Path(records), int(rows))):
        path = Path(folder) / f"{number:05}.{form}"
        if form == "jsonl":
            path.write_bytes(lines)
        else:
            write_table(_typed(lines), path, compression="zstd")


def _chunks(path: Path, rows: int) -> Iterator[bytes]:
    with path.open("rb") as lines:
        while chunk := b"".join(islice(lines, rows)):
            yield chunk


def _typed(lines: bytes) -> pa.Table:
    """As a typed table; moments stay the text that was delivered."""
    table = read_json(pa.py_buffer(lines))
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pa.compute.strftime(table[field.name], "%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(place, field.name, text)
    return table


if __name__ == "__main__":
    main()
