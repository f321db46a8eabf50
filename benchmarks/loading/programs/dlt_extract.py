# SPDX-License-Identifier: Apache-2.0
"""Extract a table with dlt's sql_database, runs in dlt's own environment.

python dlt_extract.py URL sqlalchemy|pyarrow|connectorx FOLDER
"""

import sys

import dlt
from dlt.destinations import filesystem
from dlt.sources.sql_database import sql_table


def main() -> None:
    """Run one pipeline to its end."""
    url, backend, folder = sys.argv[1:]
    rows = sql_table(
        credentials=url,
        table="narrow",
        schema="public",
        backend=backend,
        chunk_size=50_000,
        reflection_level="full",
    )
    pipeline = dlt.pipeline(
        pipeline_name="extract",
        destination=filesystem(bucket_url=f"file://{folder}/files"),
        dataset_name="bench",
        pipelines_dir=f"{folder}/state",
    )
    pipeline.run(rows, loader_file_format="parquet")


if __name__ == "__main__":
    main()
