# SPDX-License-Identifier: Apache-2.0
"""Parquet files that ADBC filled hold what the lines hold, and STATE is the same."""

from __future__ import annotations

import json
import sys
from math import isfinite
from pathlib import Path
from random import Random
from struct import unpack
from types import SimpleNamespace

import msgspec
import pytest

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.batch_files import read_blocks
from ipai_kit.sql.postgres.columnar import ColumnarDatabase
from ipai_kit.sql.postgres.reader import PostgresDatabase

pytest.importorskip("adbc_driver_postgresql")
pytest.importorskip("pyarrow")

VALUES = [
    ("smallint", "-32768"),
    ("bigint", "9223372036854775807"),
    ("oid", "4294967295"),
    ("numeric", "12345678901234567890123456789.12345678901234567890"),
    ("numeric(38,20)", "123456789012345678.5"),
    ("numeric", "NaN"),
    ("money", "1234.56"),
    ("real", "1.1"),
    ("double precision", "0.1"),
    ("double precision", "5e-324"),
    ("boolean", "true"),
    ("date", "1500-02-28"),
    ("date", "0044-03-15 BC"),
    ("date", "infinity"),
    ("timestamp", "2024-02-29 12:34:56.78"),
    ("timestamp", "-infinity"),
    ("timestamp", "0044-03-15 10:00:00 BC"),
    ("timestamptz", "2024-02-29 12:34:56.789012+05"),
    ("timestamptz", "12024-01-01 00:00:00+00"),
    ("timestamptz", "infinity"),
    ("time", "24:00:00"),
    ("timetz", "12:00:01.5+02"),
    ("interval", "1 year 2 mons -3 days 04:05:06.7"),
    ("text", 'quote " backslash \\ tab \t line \n feed ä€😀'),
    ("text", ""),
    ("varchar(5)", "abcde"),
    ("char(10)", "ab"),
    ('"char"', "c"),
    ("name", "pg_class"),
    ("bytea", "\\x00ff10"),
    ("bytea", "\\x" + "ab" * 200),
    ("uuid", "c0ffee00-0000-0000-0000-000000000000"),
    ("mood", "so so"),
    ("bit(5)", "10101"),
    ("inet", "10.0.0.1/32"),
    ("cidr", "10.0.0.0/8"),
    ("macaddr", "08:00:2b:01:02:03"),
    ("int4range", "[1,5)"),
    ("tsvector", "'fat' 'rat':2"),
    ("xml", "<a>b</a>"),
    ("point", "(1,2.5)"),
    ("pg_lsn", "16/B374D848"),
    ("price", "2.50"),
]
NESTED = [
    ("json", '{"b" :\n 1, "a": [1.50, 1e3]}'),
    ("json", "null"),
    ("jsonb", '{"b": 1.0, "a": "x\\ny"}'),
    ("jsonb", "[1, {}, 1.50]"),
    ("place", '(1,"a, b")'),
    ("int[]", "{{1,NULL},{3,4}}"),
    ("numeric[]", "{1.10,NULL,99999999999999999999.5}"),
    ("timestamptz[]", "{infinity,2024-01-01 00:00Z}"),
]


@pytest.fixture
def columns_read(monkeypatch):
    """What was read by ADBC."""
    found = []
    read = ColumnarDatabase.read

    def noting(self, selection):
        found.append(selection)
        return read(self, selection)

    monkeypatch.setattr(ColumnarDatabase, "read", noting)
    return found


@pytest.fixture
def make_table(source):
    source.execute(
        "create type mood as enum ('sad', 'so so')",
        "create domain price as numeric(10, 2)",
        "create type place as (x float8, name text)",
        "set timezone = 'UTC'",
    )

    def make(values):
        columns = ", ".join(f"c{n} {kind}" for n, (kind, _) in enumerate(values))
        literals = ", ".join("'" + value.replace("'", "''") + "'" for _, value in values)
        source.execute(
            f"create table t (id int primary key, {columns})",
            f"insert into t values (1, {literals})",
            "insert into t values (2)",
            f"alter database {source.name} set timezone = 'Asia/Kolkata'",
            f"alter database {source.name} set datestyle = 'German, DMY'",
        )

    return make


def batches(tmp_path, rows=1000):
    return {
        "storage": {"root": str(tmp_path)},
        "encoding": {"format": "parquet"},
        "batch_size": rows,
    }


def landed(run):
    """The records as both targets read them from the files, byte for byte."""
    files = [one["manifest"][0] for one in run.messages if one["type"] == "BATCH"]
    about = {"format": "parquet", "compression": None, "stream": "t", "line": 1}
    read = (
        read_blocks(SimpleNamespace(path=Path(file.removeprefix("file://")), **about))
        for file in files
    )
    return [line for blocks in read for block in blocks for line in block.splitlines()]


def handed_over(run):
    """The same as values."""
    return [json.loads(line) for line in landed(run)]


def delivered(run):
    """The records as they stand in RECORD lines."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    messages = [decode(line) for line in run.lines]
    return [bytes(one["record"]) for one in messages if bytes(one["type"]) == b'"RECORD"']


@pytest.mark.parametrize(
    ("values", "by_adbc"),
    [(VALUES, True), (NESTED, True), (VALUES, False), (NESTED, False)],
    ids=["flat", "nested", "flat, by lines", "nested, by lines"],
)
def test_a_target_reads_the_records_that_lines_would_bring(
    source, make_table, columns_read, tmp_path, monkeypatch, values, by_adbc
):
    make_table(values)
    if not by_adbc:
        monkeypatch.setattr(PostgresDatabase, "in_columns", lambda _: None)

    lines = source.run()
    files = source.run(batch_config=batches(tmp_path))

    assert landed(files) == delivered(lines)
    assert bool(columns_read) == by_adbc
    assert all(selection.order for selection in columns_read)
    assert files.schemas == lines.schemas


def some_doubles():
    """Where ways to write a number part, and any bits at all."""
    random = Random(7)
    yield from (0.0, -0.0, 1.0, -1.0, 1e5, 1e-4, 1e-5, 1e15, 1e16, 1e22, 1e23, 5e-324, 2.0**53)
    yield from (999999999999999.9, 123456789012345.6, 1234567890123456.8, 2.5e15, -1e15, 1.9e22)
    for _ in range(1500):
        yield unpack("<d", random.randbytes(8))[0]
        yield float(random.randrange(1, 10 ** random.randrange(1, 25)))
        yield random.randrange(1, 10**9) / 10 ** random.randrange(0, 12)


def test_every_number_is_written_as_lines_write_it(source, tmp_path):
    found = [one for one in some_doubles() if isfinite(one)]
    source.execute(
        "create table t (id int primary key, d float8, s float4)",
        "insert into t select n, d, case when abs(d) between 1e-37 and 1e37 then d end from unnest("
        f"array[{','.join(map(repr, found))}]::float8[]) with ordinality as u(d, n)",
    )

    lines, files = source.run(), source.run(batch_config=batches(tmp_path, 10_000))

    assert landed(files) == delivered(lines)


def test_documents_of_unlike_shape_stay_as_they_are(source, tmp_path):
    """A struct would give each row the members of the others."""
    source.execute(
        "create table t (j jsonb)",
        """insert into t values ('{"a": 1}'), ('{"b": "x"}'), ('[1, "x"]')""",
    )

    files = source.run(batch_config=batches(tmp_path))

    assert [one["j"] for one in handed_over(files)] == [{"a": 1}, {"b": "x"}, [1, "x"]]


def test_state_is_that_of_lines(source, columns_read, tmp_path):
    source.execute(
        "create table t (id bigint primary key, at timestamptz)",
        "insert into t select n, timestamptz '2024-01-01' + (n / 2) * interval '1 s'"
        " from generate_series(1, 900) n",
    )
    said = {"cursor_columns": ["at"], "chunk_rows": 100}

    lines = source.run(**said)
    files = source.run(batch_config=batches(tmp_path, 250), parallel=2, **said)
    source.execute("insert into t values (0, '2024-02-01 00:00:00.5Z')")
    later = source.run(state=files.state, batch_config=batches(tmp_path), **said)

    assert files.state == lines.state
    assert handed_over(files) == lines.records["public-t"]
    assert [one["id"] for one in handed_over(later)] == [900, 0]
    bookmark = later.state["bookmarks"]["public-t"]["replication_key_value"]
    assert bookmark == "2024-02-01T00:00:00.5+00:00"
    assert len(columns_read) > 9


def test_what_breaks_off_is_read_on_and_told_by_lines(source, columns_read, tmp_path):
    source.execute(
        "create table t (id bigint primary key, filler text)",
        "insert into t select n, repeat('x', 1000) from generate_series(1, 20000) n",
    )
    said = {"streams": {"public-t": {"where": "1 / (id - 19000) < 2"}}}

    with pytest.raises(ConfigurationError, match="division by zero"):
        source.run(batch_config=batches(tmp_path), **said)

    assert len(columns_read) == 2


def test_a_connection_that_breaks_is_made_anew(source, tmp_path, monkeypatch):
    source.execute(
        "create table t (id bigint primary key, filler text)",
        "insert into t select n, repeat('x', 1000) from generate_series(1, 20000) n",
    )
    read, broken = ColumnarDatabase.read, []

    def breaking(self, selection):
        for block in read(self, selection):
            yield block
            if not broken:
                broken.append(
                    source.query(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where datname = current_database() and query like '%COPY%'"
                        " and pid <> pg_backend_pid()"
                    )
                )

    monkeypatch.setattr(ColumnarDatabase, "read", breaking)
    run = source.run(batch_config=batches(tmp_path))

    assert broken == [[(True,)]]
    assert [one["id"] for one in handed_over(run)] == list(range(1, 20001))


def test_what_parquet_cannot_say_is_refused_by_name(source, tmp_path):
    source.execute(
        "create table t (id int primary key, ratio float8)",
        "insert into t values (1, 0.5), (2, 'NaN')",
    )

    with pytest.raises(ConfigurationError, match=r"'ratio' of 'public.t'.*set the format 'jsonl'"):
        source.run(batch_config=batches(tmp_path))


def test_a_wrong_query_is_told_like_with_lines(source, tmp_path):
    source.execute("create table t (id int primary key)", "insert into t values (1)")
    said = {"streams": {"public-t": {"where": "1 / (id - 1) = 0"}}}

    with pytest.raises(ConfigurationError) as lines:
        source.run(**said)
    with pytest.raises(ConfigurationError) as files:
        source.run(batch_config=batches(tmp_path), **said)

    assert "division by zero" in str(lines.value)
    assert "division by zero" in str(files.value)


def test_compared_keys_and_a_missing_driver_leave_it_to_lines(
    source, columns_read, tmp_path, monkeypatch
):
    source.execute(
        "create table t (id int primary key)",
        "insert into t values (1), (2)",
        "create view v as select * from t",
    )

    source.run(batch_config=batches(tmp_path), deletes="compare")
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    run = source.run(batch_config=batches(tmp_path), tables=["public.t"])

    assert [selection.order for selection in columns_read] == [()]  # the view
    assert handed_over(run) == [{"id": 1}, {"id": 2}]
