# SPDX-License-Identifier: Apache-2.0
"""Keys and names as databases allow them: no row is lost at the end of a chunk, no table hidden."""

from __future__ import annotations

import sqlite3

import duckdb
import pytest

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.testing.runs import run_tap
from tap_jdbc.tap import TapJdbc

PARENT = (
    "create table parent (id int primary key, v text)",
    "create table child () inherits (parent)",
    "insert into parent select i, 'p' from generate_series(1, 5) i",
    "insert into child select i, 'c' from generate_series(1, 5) i",
)


def test_a_table_that_others_inherit_from_has_its_own_rows_alone(source):
    source.execute(*PARENT)

    run = source.run(chunk_rows=2)

    assert [row["v"] for row in run.records["public-parent"]] == ["p"] * 5
    assert [row["v"] for row in run.records["public-child"]] == ["c"] * 5


def test_heirs_are_not_published_by_accident(source):
    source.execute(*PARENT)

    first = source.run(replication_method="LOG_BASED", tables=["parent"], cdc_slot="heirs")
    source.execute("update child set v = 'd' where id = 1", "update parent set v = 'q'")
    second = source.run(
        replication_method="LOG_BASED", tables=["parent"], cdc_slot="heirs", state=first.state
    )
    source.query("select pg_drop_replication_slot('heirs')")

    assert len(first.records["public-parent"]) == 5
    assert [row["v"] for row in second.records["public-parent"]] == ["q"] * 5


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("k int[]", "array[i, i + 1]"),
        ("k pair", "row(i, 'x\"' || i)::pair"),
        ("k pair[]", "array[row(i, null)::pair]"),
        ("k jsonb", "jsonb_build_object('a', i)"),
    ],
)
def test_keys_of_nested_types_come_in_chunks(source, column, value):
    source.execute(
        "create type pair as (a int, b text)",
        f"create table nested ({column} primary key)",
        f"insert into nested select {value} from generate_series(1, 9) i",
    )

    run = source.run(chunk_rows=2)

    assert len(run.records["public-nested"]) == 9


def test_a_key_of_the_settings_that_is_none_loses_no_rows(source):
    source.execute(
        "create table odd (id int primary key, k int)",
        "insert into odd select i, nullif(i / 4, 2) from generate_series(1, 30) i",
    )

    run = source.run(chunk_rows=3, streams={"public-odd": {"key": "k"}})

    assert len(run.records["public-odd"]) == 30


@pytest.mark.parametrize(
    ("name", "said"),
    [("public-a", {"key": "nope"}), ("a_query", {"sql": "select 1 as a", "key": ["a", "nope"]})],
)
def test_a_key_of_the_settings_that_is_no_column_is_told(source, name, said):
    source.execute("create table a (id int primary key)")

    with pytest.raises(ConfigurationError, match=f"key 'nope' of '{name}' is none of its columns"):
        source.run(streams={name: said})


def test_two_tables_whose_streams_would_share_a_name_are_both_read(source):
    source.execute(
        'create table "a-b" (id int primary key)',
        'insert into "a-b" values (1)',
        'create schema "public-a"',
        'create table "public-a".b (id int primary key)',
        'insert into "public-a".b values (2)',
    )

    run = source.run()

    assert run.records == {"public.a-b": [{"id": 1}], "public-a.b": [{"id": 2}]}


def test_a_condition_may_name_the_table_as_in_other_databases(source):
    source.execute("create table a (id int primary key)", "insert into a values (1), (2)")

    run = source.run(streams={"public-a": {"where": "q.id > 1"}})

    assert run.records["public-a"] == [{"id": 2}]


def test_a_table_without_columns_is_no_stream(source):
    source.execute("create table nothing ()", "create table a (id int primary key)")

    assert list(source.run().schemas) == ["public-a"]


@pytest.mark.parametrize(
    ("definition", "rows"),
    [
        ("k text primary key", ["'a'", "null", "null", "'b'"]),
        ("k primary key", ["1", "'1'", "x'01'", "null", "1.5"]),
        ("k blob primary key", ["x'00'", "x'0102'", "x'ff'"]),
        ("k blob primary key", ["x'00'", "'text'", "1", "x'ff'"]),
        ("k text not null unique", ["'a'", "x'00'", "'b'"]),
        ("k integer, l integer, primary key (k, l)", ["1, null", "1, null", "2, 3"]),
    ],
)
def test_sqlite_keys_may_be_null_or_bytes(tmp_path, definition, rows):
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute(f"create table t ({definition})")
        connection.execute(f"insert into t values ({'), ('.join(rows)})")

    run = run_tap(TapJdbc, {"url": f"sqlite:///{file}", "chunk_rows": 1})

    assert len(run.records["main-t"]) == len(rows)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("blob", ["'\\x00'", "'\\xff'", "'a'"]),
        ("timestamp", ["'infinity'", "'2020-01-01'", "'0044-01-01 (BC)'", "'-infinity'"]),
        ("timestamptz", ["'infinity'", "'2020-01-01 00:00:00+00'", "'0044-01-01 (BC)'"]),
        ("double", ["'nan'", "'inf'", "'-inf'", "0.1"]),
    ],
)
def test_duckdb_keys_of_any_type_come_in_chunks(tmp_path, kind, values):
    file = tmp_path / "shop.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute(f"create table t (k {kind} primary key)")
        connection.execute(f"insert into t values ({'), ('.join(values)})")

    run = run_tap(TapJdbc, {"url": f"duckdb:///{file}", "chunk_rows": 1})

    keys = [row["k"] for row in run.records["main-t"]]
    assert len(keys) == len(values)
    assert not any("T(BC)" in str(key) for key in keys)
