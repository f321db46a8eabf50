# SPDX-License-Identifier: Apache-2.0
"""Count the rows and bytes of a stream in a folder, as a reader of the table would find them.

    python count_rows.py FOLDER STREAM

The Delta log says which files are the table, else the newest manifest, else every Parquet file is.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deltalake import DeltaTable
from pyarrow.parquet import read_metadata


def main() -> None:
    """Print what was found as JSON."""
    folder, stream = Path(sys.argv[1]), sys.argv[2]
    rows = size = 0
    for file in _files(folder, stream):
        rows += read_metadata(file).num_rows
        size += file.stat().st_size
    print(json.dumps({"rows": rows, "bytes": size}))


def _files(folder: Path, stream: str) -> Iterator[Path]:
    named = re.compile(rf"(raw_\w+_)?{stream}([-.].*)?")
    if logs := _tables(folder, "_delta_log", named.fullmatch):
        for table in logs:
            uris = DeltaTable(str(table)).file_uris()
            yield from (Path(unquote(urlsplit(uri).path)) for uri in uris)
    elif lists := _tables(folder, "_manifests", named.fullmatch):
        for table in lists:
            newest = max((table / "_manifests").glob("*.json"))
            yield from (table / file["path"] for file in json.loads(newest.read_bytes())["files"])
    else:
        files = list(folder.rglob("*.parquet"))
        own = [file for file in files if any(map(named.fullmatch, file.relative_to(folder).parts))]
        yield from own or files


def _tables(folder: Path, log: str, is_named: Callable[[str], object]) -> list[Path]:
    """Tables with such a log: those of the stream, else whatever there is."""
    tables = [path.parent for path in folder.rglob(log)]
    return [table for table in tables if is_named(table.name)] or tables


if __name__ == "__main__":
    main()
