# SPDX-License-Identifier: Apache-2.0
"""DuckDB, polars, Spark's reader and delta-rs see the same rows, by the queries of docs/lake.md."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable

Make = Callable[..., Any]
Rows = dict[str, str]

DOCS = Path(__file__).resolve().parents[3] / "docs" / "lake.md"
SHOWN = "/srv/lake/ipai_bronze_devops/raw_github_issues"
QUERY, CREATE = re.findall(r"^```sql\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
DUCKDB, POLARS, PARQUET = re.findall(
    r"^```python\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE
)


@pytest.fixture
def history(lake: Any, run_target: Make, schema: Make, record: Make, state: Make) -> Rows:
    """Updates, a generation that retires a key, a compaction, an old reading; the newest rows."""
    first = schema(cursor="u", u={})
    one = [
        record(id=n, u=n, v="é\u0000", version=1, at=f"2024-05-0{n}T12:00:00Z") for n in (1, 2, 3)
    ]
    two = [record(id=n, u=n + 5, v=None, version=2) for n in (2, 3, 4)]
    run_target([first, *one, record(id=2, u=1, v="older", version=1), state(1)], batch_size_rows=2)
    run_target([first, {"type": "ACTIVATE_VERSION", "stream": "things", "version": 1}])
    run_target([first, *two, {"type": "ACTIVATE_VERSION", "stream": "things", "version": 2}])
    run_target([first, record(id=1, u=9, v="read before", at="2024-06-01T00:00:00Z")])
    run_target([first, record(id=3, u=9, v="newest")], optimize_after=2)
    newest: Rows = lake.newest()
    assert [json.loads(text)["id"] for text in newest.values()] == [2, 3, 4]
    return newest


def run_python(text: str, folder: Path) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(text.replace(SHOWN, str(folder)), names)
    return names


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_duckdb_reads_the_newest_rows_of_the_live_files(
    lake: Any, history: Rows, form: str
) -> None:
    if form == "delta":
        run_python(DUCKDB, lake.path())
    else:
        files = run_python(PARQUET, lake.path())["files"]
        duckdb.read_parquet(files, hive_partitioning=True).create_view("raw", replace=True)

    found = duckdb.sql(f"select record_key, record from ({QUERY}) q order by 1").fetchall()
    [(first_day,)] = duckdb.sql("select min(emitted_date) from raw").fetchall()
    duckdb.sql("drop view raw")

    assert dict(found) == history
    assert str(first_day) == "2024-05-01"


def test_polars_reads_the_newest_rows(lake: Any, history: Rows) -> None:
    newest = run_python(POLARS, lake.path())["newest"].collect()

    assert dict(sorted(zip(newest["record_key"], newest["record"], strict=True))) == history


def test_delta_rs_reads_types_as_they_should_be(lake: Any, history: Rows) -> None:
    kinds = {
        field.name: (str(field.type), field.nullable)
        for field in DeltaTable(lake.path()).schema().fields
    }

    needed = ("instance_id", "record_key", "source", "stream")
    assert {kinds[name] for name in needed} == {('PrimitiveType("string")', False)}
    assert kinds["emitted_at"] == ('PrimitiveType("timestamp")', False)
    assert kinds["emitted_date"] == ('PrimitiveType("date")', False)
    assert kinds["cursor"] == ('PrimitiveType("string")', True)


def test_readers_skip_files_by_their_statistics(lake: Any, history: Rows) -> None:
    actions = DeltaTable(lake.path()).get_add_actions(flatten=True)
    names = set(actions.schema.names)

    assert {"min.emitted_at", "max.cursor", "min.record_key", "null_count.deleted_at"} <= names
    assert "min.record" not in names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spark_reads_the_newest_rows(lake: Any, history: Rows) -> None:
    """Through Sail, which speaks Spark's protocol and reads Delta's log by itself."""
    spark_module = pytest.importorskip("pysail.spark")
    from pyspark.sql import SparkSession

    server = spark_module.SparkConnectServer(port=0)
    server.start(background=True)
    try:
        session = SparkSession.builder.remote(
            f"sc://127.0.0.1:{server.listening_address[1]}"
        ).getOrCreate()
        session.sql(CREATE.replace(SHOWN, str(lake.path())))
        rows = session.sql(f"select record_key, record from ({QUERY}) q order by 1").collect()
        session.stop()
    finally:
        server.stop()

    assert {row["record_key"]: row["record"] for row in rows} == history
