# SPDX-License-Identifier: Apache-2.0
"""How rows of PostgreSQL arrive: whole tables, changes, deletions; nothing twice, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipai_kit.exceptions import ConfigurationError

STREAM = "public-orders"
HOURS = "timestamptz '2026-01-01' + n * interval '1 hour'"


def orders(rows: int, updated_at: str = HOURS) -> list[str]:
    return [
        "create table orders (id int primary key, updated_at timestamptz, note text)",
        f"""insert into orders select n, {updated_at}, 'order ' || n
            from generate_series(1, {rows}) n""",
    ]


def incremental(**more):
    return {"streams": {STREAM: {"cursor": "updated_at", **more}}}


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 1000])
def test_a_table_arrives_whole_in_the_order_of_its_key(source, ids, chunk_rows, parallel):
    rows = 20 if chunk_rows == 1 else 100
    source.execute(*orders(rows))

    run = source.run(chunk_rows=chunk_rows, parallel=parallel)

    assert ids(run, STREAM) == list(range(1, rows + 1))
    assert run.state == {"bookmarks": {STREAM: {}}}


def test_keys_of_several_columns_and_odd_types_are_compared_as_the_database_does(source):
    source.execute(
        """create table odd ("k""1" text, k2 numeric, k3 bytea, k4 date,
            primary key ("k""1", k2, k3, k4))""",
        r"""insert into odd
            select chr(64 + n % 3) || E'\\''', (n % 5) * 1.10,
                decode(lpad(to_hex(n % 7), 2, '0'), 'hex'),
                date '0044-03-15 BC' + n
            from generate_series(1, 200) n""",
    )

    run = source.run(chunk_rows=9)

    found = [tuple(record.values()) for record in run.records["public-odd"]]
    assert len(found) == len(set(found)) == 200


def test_an_empty_table_and_one_without_columns_pass(source):
    source.execute("create table nothing (id int primary key)", "create table bare ()")

    run = source.run()

    assert run.records["public-nothing"] == []


def test_a_snapshot_goes_on_where_it_was(source, ids):
    source.execute(*orders(100))
    until = {"order": ["id"], "version": 7, "until": [100], "after": [40]}

    run = source.run(
        state={"bookmarks": {STREAM: {"snapshot": until}}},
        chunk_rows=10,
        emit_activate_version_messages=True,
    )

    assert ids(run, STREAM) == list(range(41, 101))
    versions = {one["version"] for one in run.messages if "version" in one}
    assert versions == {7}
    assert run.messages[-2] == {"type": "ACTIVATE_VERSION", "stream": STREAM, "version": 7}


@pytest.mark.parametrize("change", [{"order": ["other"]}, {"until": None}])
def test_a_snapshot_of_another_key_begins_anew(source, ids, change):
    source.execute(*orders(10))
    mark = {"order": ["id"], "version": 7, "until": [10], "after": [4], **change}

    run = source.run(state={"bookmarks": {STREAM: {"snapshot": mark}}})

    assert ids(run, STREAM) == list(range(1, 11))


def test_rows_behind_the_end_that_the_snapshot_had_are_left_to_the_next(source, ids):
    source.execute(*orders(10))
    mark = {"order": ["id"], "version": 7, "until": [8], "after": [4]}

    run = source.run(state={"bookmarks": {STREAM: {"snapshot": mark}}})

    assert ids(run, STREAM) == [5, 6, 7, 8]


def test_the_first_incremental_run_reads_all_and_the_next_what_changed(source, ids):
    source.execute(*orders(10))

    first = source.run(**incremental())
    source.execute(
        "update orders set updated_at = '2026-03-01' where id = 3",
        "insert into orders values (11, '2026-02-01', 'new')",
    )
    second = source.run(state=first.state, **incremental())

    assert ids(first, STREAM) == list(range(1, 11))
    assert first.state["bookmarks"][STREAM] == {
        "replication_key": "updated_at",
        "replication_key_value": "2026-01-01T10:00:00+00:00",
    }
    assert ids(second, STREAM) == [10, 11, 3]
    value = second.state["bookmarks"][STREAM]["replication_key_value"]
    assert value == "2026-03-01T00:00:00+00:00"


def test_ties_at_the_bookmark_are_never_lost(source, ids):
    source.execute(*orders(6, "timestamptz '2026-01-01'"))

    first = source.run(**incremental())
    source.execute("insert into orders values (0, '2026-01-01', 'late, with the same moment')")
    second = source.run(state=first.state, **incremental())

    assert ids(second, STREAM) == list(range(7))


def test_a_run_that_was_killed_among_ties_goes_on_behind_the_last_pair(source, ids):
    source.execute(*orders(50, "timestamptz '2026-01-01'"))
    bookmark = {
        "replication_key": "updated_at",
        "replication_key_value": "2025-01-01T00:00:00+00:00",
        "position": ["2026-01-01T00:00:00+00:00", 20],
    }

    run = source.run(state={"bookmarks": {STREAM: bookmark}}, **incremental())

    assert ids(run, STREAM) == list(range(21, 51))
    assert "position" not in run.state["bookmarks"][STREAM]


def test_rows_whose_cursor_is_null_are_read_every_time(source, ids):
    source.execute(*orders(3), "insert into orders values (9, null, 'no moment')")

    first = source.run(**incremental())
    second = source.run(state=first.state, **incremental())

    assert ids(first, STREAM) == [1, 2, 3, 9]
    assert ids(second, STREAM) == [3, 9]


@pytest.mark.parametrize(
    ("type_", "rows", "lookback", "expected"),
    [
        ("timestamptz", HOURS, "PT2H", [8, 9, 10]),
        ("timestamp", HOURS, "PT2H", [8, 9, 10]),
        ("date", "date '2026-01-01' + n", "P1D", [9, 10]),
        ("bigint", "n * 10", 20, [8, 9, 10]),
        ("numeric", "n * 1.5", 0, [10]),
        ("text", "lpad(n::text, 3, '0')", "P1D", [10]),
    ],
)
def test_the_lookback_reads_a_little_before_the_bookmark(
    source, ids, type_, rows, lookback, expected
):
    source.execute(
        f"create table orders (id int primary key, updated_at {type_} not null)",
        f"insert into orders select n, {rows} from generate_series(1, 10) n",
    )
    settings = incremental(lookback=lookback)

    first = source.run(**settings)
    second = source.run(state=first.state, **settings)

    assert ids(first, STREAM) == list(range(1, 11))
    assert ids(second, STREAM) == expected


@pytest.mark.parametrize("future", ["infinity", "9999-12-31", "12024-01-01"])
def test_a_cursor_in_the_future_hides_nothing(source, ids, future):
    source.execute(*orders(3), f"insert into orders values (9, '{future}', 'for ever')")

    first = source.run(**incremental())
    source.execute("insert into orders values (10, now() + interval '1 hour', 'tomorrow''s')")
    second = source.run(state=first.state, **incremental())

    assert set(ids(second, STREAM)) >= {9, 10}


def test_the_start_date_bounds_the_first_run(source, ids):
    source.execute(*orders(10))

    run = source.run(start_date="2026-01-01T08:00:00Z", **incremental())

    assert ids(run, STREAM) == [8, 9, 10]


def test_a_full_refresh_reads_everything_again(source, ids):
    source.execute(*orders(4))
    first = source.run(**incremental())

    again = source.run(state=first.state, full_refresh=True, **incremental())

    assert ids(again, STREAM) == [1, 2, 3, 4]
    assert again.state == first.state


def test_a_table_without_key_is_incremental_too(source):
    source.execute(*orders(5), "alter table orders drop constraint orders_pkey")

    first = source.run(**incremental())
    second = source.run(state=first.state, **incremental())

    assert [record["id"] for record in first.records[STREAM]] == [1, 2, 3, 4, 5]
    assert [record["id"] for record in second.records[STREAM]] == [5]


def test_cursor_columns_make_every_table_incremental_that_has_one(source):
    source.execute(*orders(5), "create table plain (id int primary key)")

    run = source.run(cursor_columns=["write_date", "updated_at"])

    assert set(run.state["bookmarks"][STREAM]) == {"replication_key", "replication_key_value"}
    assert run.schemas[STREAM]["bookmark_properties"] == ["updated_at"]
    assert "bookmark_properties" not in run.schemas["public-plain"]


def test_a_query_is_a_stream(source):
    source.execute(*orders(10))
    query = {
        "sql": "select id, updated_at, id * 1.10 as price from orders where note <> 'order 7';",
        "key": "id",
        "cursor": "updated_at",
        "where": "id > 2 -- the first two are tests",
    }

    first = source.run(streams={"prices": query})
    second = source.run(streams={"prices": query}, state=first.state)

    assert list(first.schemas) == ["prices"]
    assert first.schemas["prices"]["key_properties"] == ["id"]
    assert [one["id"] for one in first.records["prices"]] == [3, 4, 5, 6, 8, 9, 10]
    assert first.records["prices"][0]["price"] == "3.30"
    assert [one["id"] for one in second.records["prices"]] == [10]


def test_rows_that_are_gone_are_told_once(source, ids):
    source.execute(*orders(10))
    settings = incremental(deletes="compare")

    first = source.run(**settings)
    source.execute("delete from orders where id in (2, 9)")
    second = source.run(state=first.state, **settings)
    third = source.run(state=second.state, **settings)

    gone = [one for one in second.records[STREAM] if one.get("_sdc_deleted_at")]
    assert first.state["bookmarks"][STREAM]["keys"] == "r:1+9"
    assert [(one["id"], set(one)) for one in gone] == [
        (2, {"id", "_sdc_deleted_at"}),
        (9, {"id", "_sdc_deleted_at"}),
    ]
    assert "_sdc_deleted_at" in second.schemas[STREAM]["schema"]["properties"]
    assert [one for one in third.records[STREAM] if one.get("_sdc_deleted_at")] == []


def test_keys_that_are_no_numbers_are_compared_too(source):
    source.execute(
        "create table things (a text, b date, primary key (a, b))",
        "insert into things values ('x', '2026-01-01'), ('y', 'infinity')",
    )

    first = source.run(deletes="compare")
    source.execute("delete from things where a = 'y'")
    second = source.run(state=first.state, deletes="compare")

    gone = [one for one in second.records["public-things"] if "_sdc_deleted_at" in one]
    assert [(one["a"], one["b"]) for one in gone] == [("y", "infinity")]


def test_only_selected_columns_are_read(source):
    source.execute(*orders(2))
    catalog = source.run().schemas and _catalog(source)
    for entry in catalog["streams"][0]["metadata"]:
        if entry["breadcrumb"] == ["properties", "note"]:
            entry["metadata"]["selected"] = False

    run = source.run(catalog=catalog)

    assert set(run.records[STREAM][0]) == {"id", "updated_at"}
    assert set(run.schemas[STREAM]["schema"]["properties"]) == {"id", "updated_at"}


def test_stream_maps_see_the_same_values(source):
    source.execute("create table t (id bigint primary key, n numeric, j jsonb)")
    source.execute("""insert into t values (9007199254740993, 1.10, '{"a": [1]}')""")

    run = source.run(stream_maps={"public-t": {"twice": "id * 2"}})

    assert run.records["public-t"] == [
        {"id": 9007199254740993, "n": "1.10", "j": {"a": [1]}, "twice": 18014398509481986}
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"public-a", "public-b", "sales-a", "sales-v"}),
        ({"schemas": ["sales"]}, {"sales-a", "sales-v"}),
        ({"tables": ["a"]}, {"public-a", "sales-a"}),
        ({"tables": ["sales.*", "!*.v"]}, {"sales-a"}),
        ({"schemas": ["sales"], "tables": ["a"]}, {"sales-a"}),
        ({"tables": ["!sales.*"]}, {"public-a", "public-b"}),
    ],
)
def test_schemas_and_tables_are_chosen_by_patterns(source, settings, expected):
    source.execute(
        "create table a (id int primary key)",
        "create table b (id int primary key) partition by range (id)",
        "create table b1 partition of b for values from (0) to (9)",
        "create schema sales",
        "create table sales.a (id int primary key)",
        "create view sales.v as select * from a",
    )

    assert set(source.run(**settings).schemas) == expected


def test_discovery_tells_keys_types_comments_and_estimates(source):
    source.execute(
        "create table t (a int not null, b numeric(38, 20), c text, unique (a))",
        "comment on table t is 'Things.'",
        "comment on column t.b is 'Price in euros.'",
        "insert into t select n from generate_series(1, 50) n",
        "analyze t",
    )

    (entry,) = _catalog(source)["streams"]

    assert entry["key_properties"] == ["a"]
    assert entry["schema"]["properties"]["b"] == {
        "type": ["string", "null"],
        "format": "x-singer.decimal",
        "description": "Price in euros.",
    }
    sent = source.run().schemas["public-t"]["schema"]["properties"]["b"]
    assert sent["x-sql-type"] == "numeric(38,20)"
    assert entry["schema"]["properties"]["a"]["type"] == "integer"
    assert entry["row_count"] == 50
    assert entry["is_view"] is False
    assert (entry["database_name"], entry["table_name"]) == (source.name, "t")


def test_batch_files_hold_the_bytes_of_the_database(source, tmp_path):
    source.execute("create table t (id int primary key, n numeric)")
    source.execute("insert into t select n, n * 1.10 from generate_series(1, 250) n")
    batches = {"storage": {"root": str(tmp_path)}, "batch_size": 100}

    run = source.run(batch_config=batches, chunk_rows=100)

    files = [one["manifest"][0] for one in run.messages if one["type"] == "BATCH"]
    assert run.records["public-t"] == []
    lines = [
        line
        for file in files
        for line in Path(file.removeprefix("file://")).read_bytes().splitlines()
    ]
    assert len(lines) == 250
    assert lines[0] == b'{"id":1,"n":"1.10"}'


def test_parquet_files_hold_the_same_values(source, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    source.execute(
        "create table t (id bigint primary key, n numeric, f float8, b boolean, d bytea, "
        "at timestamptz, day date)",
        "insert into t select 9007199254740990 + n, n * 1.10, n / 8.0, n % 2 = 0, 'x', "
        "timestamptz 'infinity', date '0044-03-15 BC' from generate_series(1, 250) n",
        "insert into t (id) values (1)",
    )
    batches = {
        "storage": {"root": str(tmp_path)},
        "encoding": {"format": "parquet"},
        "batch_size": 100,
    }

    lines = source.run().records["public-t"]
    run = source.run(batch_config=batches, chunk_rows=100)

    files = [one["manifest"][0] for one in run.messages if one["type"] == "BATCH"]
    tables = [parquet.read_table(file.removeprefix("file://")) for file in files]
    assert [row for table in tables for row in table.to_pylist()] == lines
    assert {str(kind) for kind in tables[0].schema.types} == {"int64", "string", "double", "bool"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"cursr": "a"}, "'cursr'"),
        ({"lookback": "2 hours"}, "'2 hours'"),
        ({"deletes": "log"}, "'log'"),
        ({"chunk_rows": 0}, "0"),
        ({"replication_method": "SOMETIMES"}, "'SOMETIMES'"),
        ("updated_at", "'updated_at'"),
    ],
)
def test_what_is_said_of_a_stream_is_checked(source, said, words):
    source.execute("create table x (a int primary key)")

    with pytest.raises(ConfigurationError, match=words):
        source.run(streams={"public-x": said})


def _catalog(source):
    from tap_jdbc.tap import TapJdbc

    return TapJdbc(config=source.config()).catalog_dict
