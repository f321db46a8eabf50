# SPDX-License-Identifier: Apache-2.0
"""The Bronze contract: what is in the table after a run."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

Make = Callable[..., Any]


def test_a_row_has_every_column_of_the_contract(
    each_bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    message = schema("issues", cursor="v")
    message["schema"]["x-ipai"] = {"source": "github", "domain": "devops"}
    lines = [
        message,
        record("issues", id=7, v="2024-01-01T02:00:00+02:00", at="2024-05-01T10:00:00.5Z"),
        state({"bookmarks": {"issues": 1}}),
    ]

    done = run_target(lines, into=each_bronze, instance_id="github-prod", run_id="run-1")

    rows = each_bronze.query("""
        select instance_id, record_key, record, emitted_at, source, stream, cursor, run_id,
               loaded_at > now() - interval '1 minute', deleted_at, record_hash <> 0
        from ipai_bronze_devops.raw_github_issues""")
    emitted = datetime(2024, 5, 1, 10, 0, 0, 500_000, UTC)
    assert done.exit_code == 0
    assert done.states == [{"bookmarks": {"issues": 1}}]
    assert rows == [
        (
            *("github-prod", "[7]", {"id": 7, "v": "2024-01-01T02:00:00+02:00"}, emitted),
            *("github", "issues", "2024-01-01T00:00:00.000000000Z", "run-1", True, None, True),
        )
    ]


def test_the_table_is_the_one_of_the_contract(
    each_bronze: Any, run_target: Make, schema: Make
) -> None:
    run_target([schema()], into=each_bronze)

    columns = each_bronze.query("""
        select column_name, data_type, is_nullable = 'NO', column_default
        from information_schema.columns where table_name = 'raw_singer_things'
        order by ordinal_position
    """)
    key = each_bronze.value("""
        select pg_get_constraintdef(oid) from pg_constraint
        where conrelid = 'ipai_bronze_core.raw_singer_things'::regclass and contype = 'p'""")
    assert columns == [
        ("instance_id", "text", True, None),
        ("record_key", "text", True, None),
        ("record", "jsonb", True, None),
        ("emitted_at", "timestamp with time zone", True, None),
        ("source", "text", True, None),
        ("stream", "text", True, None),
        ("cursor", "text", False, None),
        ("run_id", "text", False, None),
        ("loaded_at", "timestamp with time zone", True, "now()"),
        ("deleted_at", "timestamp with time zone", False, None),
        ("record_hash", "bigint", True, None),
    ]
    assert key == "PRIMARY KEY (instance_id, record_key)"


def test_records_are_compressed_by_lz4_where_the_server_has_it(
    each_bronze: Any, run_target: Make, schema: Make
) -> None:
    run_target([schema()], into=each_bronze)

    has_lz4 = each_bronze.value("""
        select 'lz4' = any (enumvals) from pg_settings where name = 'default_toast_compression'""")
    method = each_bronze.value("""
        select attcompression::text from pg_attribute
        where attrelid = 'ipai_bronze_core.raw_singer_things'::regclass and attname = 'record'""")
    assert method == ("l" if has_lz4 else "")


def test_values_are_landed_exactly(each_bronze: Any, run_target: Make, schema: Make) -> None:
    record = (
        '{"id":9223372036854775807,"big":18446744073709551616,'
        '"decimal":12345678901234567890123456789012345.678,"tiny":1e-300,"huge":1E400,'
        '"one":1.0,"text":"\\u00e9\\ud83d\\ude00 \\\\ \\" \\n","deep":[{"a":[]},null,true]}'
    )

    run_target(
        [schema(), f'{{"type":"RECORD","stream":"things","record":{record}}}'], into=each_bronze
    )

    landed = each_bronze.value("select record::text from ipai_bronze_core.raw_singer_things")
    exact = {
        "parse_int": str,
        "parse_float": lambda text: format(__import__("decimal").Decimal(text), "f"),
    }
    assert json.loads(landed, **exact) == json.loads(record, **exact)


def test_a_newer_record_replaces_and_an_older_one_does_not(
    each_bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    def land(value: str, cursor: str, at: str) -> Any:
        return run_target(
            [schema(cursor="u", u={}), record(id=1, v=value, u=cursor, at=at)], into=each_bronze
        )

    steps = [
        ("first", "2024-01-02", "2024-02-01T00:00:00Z", "first"),
        ("older cursor", "2024-01-01", "2024-02-02T00:00:00Z", "first"),
        ("same cursor, read earlier", "2024-01-02", "2024-01-31T00:00:00Z", "first"),
        (
            "same cursor, read later",
            "2024-01-02",
            "2024-02-02T00:00:00Z",
            "same cursor, read later",
        ),
        ("newer cursor", "2024-01-03", "2024-01-01T00:00:00Z", "newer cursor"),
    ]
    for value, cursor, at, expected in steps:
        land(value, cursor, at)
        assert (
            each_bronze.value("select record->>'v' from ipai_bronze_core.raw_singer_things")
            == expected
        ), value


def test_within_a_batch_the_newest_version_of_a_key_wins(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [
        schema(cursor="u", u={}),
        record(id=1, v="a", u=1),
        record(id=1, v="c", u=3),
        record(id=1, v="b", u=2),
        record(id=2, v="first", u=1, at="2024-01-01T00:00:00Z"),
        record(id=2, v="last of equals", u=1, at="2024-01-01T00:00:00Z"),
    ]

    done = run_target(lines)

    assert bronze.rows("things", "record_key, record->>'v'") == [
        ("[1]", "c"),
        ("[2]", "last of equals"),
    ]
    assert (done.total("received"), done.total("inserted"), done.total("unchanged")) == (5, 2, 3)


def test_a_stream_without_cursor_is_ordered_by_the_time_of_reading_alone(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    """Switching a stream from incremental to full-table must not freeze its rows."""
    run_target([schema(cursor="u", u={}), record(id=1, v="old", u=9, at="2024-01-01T00:00:00Z")])

    run_target([schema(), record(id=1, v="new", at="2024-01-02T00:00:00Z")])

    assert bronze.rows("things", "record_key, record->>'v', cursor") == [("[1]", "new", None)]


def test_an_identical_record_writes_nothing(
    each_bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [schema(cursor="v"), *(record(id=n, v=n) for n in range(500))]
    run_target(lines, into=each_bronze)
    before = each_bronze.query(
        "select xmin::text, ctid::text from ipai_bronze_core.raw_singer_things order by record_key"
    )
    wal = each_bronze.value("select pg_current_wal_insert_lsn()")

    done = run_target(lines, into=each_bronze)

    written = each_bronze.value("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", wal)
    after = each_bronze.query(
        "select xmin::text, ctid::text from ipai_bronze_core.raw_singer_things order by record_key"
    )
    assert before == after
    assert written < 10_000
    assert (done.total("received"), done.total("unchanged")) == (500, 500)


def test_what_changed_is_updated_what_is_new_inserted_the_rest_left(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    run_target([schema(), *(record(id=n, v=0) for n in range(6))])

    done = run_target([schema(), *(record(id=n, v=n // 3) for n in range(9))])

    assert [done.total(name) for name in ("received", "inserted", "updated", "unchanged")] == [
        9,
        3,
        3,
        3,
    ]
    assert bronze.rows("things", "record->'v'") == [
        (value,) for value in [0] * 3 + [1] * 3 + [2] * 3
    ]


def test_rows_of_another_instance_are_not_touched(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    for instance in ("one", "two"):
        run_target([schema(), record(id=1, v=instance)], instance_id=instance)

    run_target([schema(), record(id=1, v="changed")], instance_id="two")

    assert bronze.rows("things", "instance_id, record->>'v'") == [
        ("one", "one"),
        ("two", "changed"),
    ]


def test_interleaved_streams_land_in_one_transaction(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    lines = [schema("a"), schema("b")]
    for number in range(20):
        lines += [record("a", id=number), record("b", id=number, v=number)]

    done = run_target([*lines, state(20)])

    writers = bronze.query("""select xmin::text from ipai_bronze_core.raw_singer_a
        union select xmin::text from ipai_bronze_core.raw_singer_b""")
    assert len(writers) == 1
    assert len(bronze.rows("a")) == len(bronze.rows("b")) == 20
    assert done.states == [20]


def test_a_stream_without_records_has_its_table(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    run_target([schema()])

    assert bronze.rows("things") == []


def test_append_keeps_every_version(
    each_bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [schema(), record(id=1, v="a"), record(id=1, v="b"), record(id=1, v="a")]

    for _ in range(2):
        done = run_target(lines, into=each_bronze, load_method="append")

    assert done.total("inserted") == 3
    assert sorted(each_bronze.rows("things", "record->>'v'")) == [("a",)] * 4 + [("b",)] * 2


def test_the_two_load_methods_refuse_each_others_tables(
    run_target: Make, schema: Make, record: Make
) -> None:
    run_target([schema("kept"), record("kept", id=1)])
    run_target([schema("all"), record("all", id=1)], load_method="append")

    appended = run_target([schema("kept"), record("kept", id=1)], load_method="append-only")
    upserted = run_target([schema("all"), record("all", id=1)])

    assert (appended.exit_code, upserted.exit_code) == (78, 78)
    assert "'load_method' is 'append'" in appended.error
    assert "has no primary key (instance_id, record_key)" in upserted.error


def test_a_foreign_table_of_the_same_name_is_refused(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    bronze.connection.execute("create schema ipai_bronze_core")
    bronze.connection.execute("create table ipai_bronze_core.raw_singer_things (record_key int)")

    done = run_target([schema()])

    assert done.exit_code == 78
    assert "is no Bronze table" in done.error
    assert "instance_id" in done.error


def test_a_table_filled_first_has_statistics(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    run_target([schema(), *(record(id=n) for n in range(100))])

    assert (
        bronze.value("""select reltuples from pg_class where relname = 'raw_singer_things'""")
        == 100
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_size_of_batches_does_not_change_the_result(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make, size: int
) -> None:
    lines: list[Any] = [schema("a", cursor="u", u={}), schema("b", keys=[])]
    for number in range(60):
        lines.append(record("a", id=number % 13, v=number, u=number % 7))
        lines.append(record("b", v=number % 9))
        if number % 10 == 0:
            lines.append(state(number))

    done = run_target(lines, batch_size_rows=size)

    newest: dict[int, tuple[int, int]] = {}
    for number in range(60):
        newest[number % 13] = max(newest.get(number % 13, (-1, -1)), (number % 7, number))
    expected = sorted((key, number) for key, (_, number) in newest.items())
    assert sorted(bronze.rows("a", "(record->'id')::int, (record->'v')::int")) == expected
    assert len(bronze.rows("b")) == 9
    assert done.states[-1] == 50
    assert done.states == sorted(done.states)
    assert done.total("received") == 120


def test_emitted_at_is_the_time_of_reading_where_the_tap_gives_none(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [
        schema(),
        record(id=1),
        record(id=2, at="not a time"),
        record(id=3, at="2024-01-01T00:00:00"),
    ]

    done = run_target(lines)

    moments = [row[0] for row in bronze.rows("things", "emitted_at, record_key")]
    now = datetime.now(UTC)
    assert moments[0] == datetime(2024, 1, 1, tzinfo=UTC)
    assert all(now - moment < timedelta(minutes=1) for moment in moments[1:])
    (warned,) = done.of("unreadable_time_extracted")
    assert warned["stream"] == "things"
