# SPDX-License-Identifier: Apache-2.0
"""Load JSON lines with dlt, runs in dlt's own environment.

python dlt_load.py RECORDS NAME postgres|parquet PLACE DATASET dicts|arrow STATE_FOLDER
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.common.json import json
from dlt.destinations import filesystem, postgres

_LINES = 10_000
_BLOCK = 16 << 20


def dicts(path: str) -> Iterator[list[Any]]:
    """Records as dlt's own JSON reader makes them, some thousand at a time."""
    with Path(path).open("rb") as lines:
        chunk = []
        for line in lines:
            chunk.append(json.loadb(line))
            if len(chunk) == _LINES:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def arrow(path: str) -> Iterator[Any]:
    """Arrow batches as pyarrow's JSON reader makes them."""
    from pyarrow import Table
    from pyarrow.json import ReadOptions, open_json

    for batch in open_json(path, read_options=ReadOptions(block_size=_BLOCK)):
        yield Table.from_batches([batch])


def main() -> None:
    """Run one pipeline to its end."""
    path, name, kind, place, dataset, reader, state = sys.argv[1:]
    into_postgres = kind == "postgres"
    rows = dlt.resource(
        {"dicts": dicts, "arrow": arrow}[reader](path),
        name=name,
        primary_key="id" if into_postgres else None,
        write_disposition="merge" if into_postgres else "append",
    )
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        destination=postgres(place) if into_postgres else filesystem(bucket_url=place),
        dataset_name=dataset,
        pipelines_dir=state,
    )
    with_parquet = reader == "arrow" or not into_postgres
    pipeline.run(rows, loader_file_format="parquet" if with_parquet else None)


if __name__ == "__main__":
    main()
