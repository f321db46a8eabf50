# SPDX-License-Identifier: Apache-2.0
"""A defined result for everything a tap may send: landed, kept as a dead letter, or refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def raw(record: bytes, stream: bytes = b"things") -> bytes:
    return b'{"type":"RECORD","stream":"%s","record":%s}' % (stream, record)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b'{"v":1}', "missing_key"),
        (b'{"id":null}', "null_key"),
        (b'"text"', "not_an_object"),
        (b"[1,2]", "not_an_object"),
        (b'{"id":9,"v":"a\\u0000b"}', "nul_character"),
        (b'{"id":9,"a\\u0000b":1}', "nul_character"),
        (b'{"id":9,"v":"\xff\xfe"}', "invalid_encoding"),
        (b'{"id":9,"v":1e999999}', "number_out_of_range"),
        (b'{"id":9,"v":1e-20000}', "number_out_of_range"),
    ],
)
def test_a_record_that_cannot_be_stored_becomes_a_dead_letter(
    each_bronze: Any, run_target: Make, schema: Make, state: Make, record: bytes, reason: str
) -> None:
    lines = [schema(), raw(b'{"id":1}'), raw(record), raw(b'{"id":2}'), state(1)]

    done = run_target(lines, into=each_bronze)

    assert done.exit_code == 0
    assert [key for key, _ in each_bronze.rows("things")] == ["[1]", "[2]"]
    assert each_bronze.letters() == [("things", reason, record)]
    assert [done.total(name) for name in ("received", "inserted", "dead")] == [3, 2, 1]
    assert done.states == [1]


@pytest.mark.parametrize(
    "record", [b'{"id":9,"v":NaN}', b'{"id":9,"v":-Infinity}', b'{"id":9,"v":"\\ud800"}']
)
def test_a_record_that_is_not_strict_json_becomes_a_dead_letter_with_its_line(
    bronze: Any, run_target: Make, schema: Make, record: bytes
) -> None:
    done = run_target([schema(), raw(b'{"id":1}'), raw(record), raw(b'{"id":2}')])

    assert done.exit_code == 0
    assert [key for key, _ in bronze.rows("things")] == ["[1]", "[2]"]
    assert bronze.letters() == [("things", "invalid_json", raw(record))]


def test_many_unstorable_records_are_found_among_good_ones(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    bad = {17, 18, 400, 999}
    lines = [raw(b'{"id":%d,"v":"%s"}' % (n, b"\xff" if n in bad else b"x")) for n in range(1000)]

    done = run_target([schema(), *lines])

    assert len(bronze.rows("things")) == 996
    assert [reason for _, reason, _ in bronze.letters()] == ["invalid_encoding"] * 4
    warned = done.of("dead_letter")
    assert [(event["stream"], event["records"]) for event in warned] == [("things", 4)]


def test_an_unstorable_change_of_a_landed_record_leaves_the_row(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    run_target([schema(), raw(b'{"id":1,"v":1}'), raw(b'{"id":2,"v":1}')])

    done = run_target([schema(), raw(b'{"id":1,"v":1e999999}'), raw(b'{"id":2,"v":2}')])

    assert bronze.rows("things", "record_key, (record->'v')::int") == [("[1]", 1), ("[2]", 2)]
    assert len(bronze.letters()) == 1
    assert done.total("updated") == 1


def test_a_replay_does_not_pile_up_dead_letters(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    for _ in range(3):
        run_target([schema(), raw(b'{"id":1}'), raw(b'{"v":1}')])

    assert len(bronze.letters()) == 1


def test_dead_letters_go_to_the_control_plane_where_it_is(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    bronze.connection.execute("create schema connectors")
    bronze.connection.execute("""create table connectors.dead_letters (
        id bigint generated always as identity, instance_id text, run_id text, source text,
        stream text, reason text, error text, raw bytea, received_at timestamptz default now(),
        replayed_at timestamptz)""")

    run_target([schema(), raw(b'{"id":1}'), raw(b'{"v":1}')], instance_id="i", run_id="r")

    letters = bronze.query(
        "select instance_id, run_id, source, reason from connectors.dead_letters"
    )
    assert letters == [("i", "r", "singer", "missing_key")]


def test_too_many_dead_letters_stop_the_run_after_what_was_read_is_committed(
    bronze: Any, run_target: Make, schema: Make, state: Make
) -> None:
    lines = [schema(), raw(b'{"id":1}'), *[raw(b'{"v":%d}' % n) for n in range(3)], state(3)]

    done = run_target(lines, dead_letter_limit=2)

    assert done.exit_code == 65
    assert done.states == [3]
    assert (len(bronze.rows("things")), len(bronze.letters())) == (1, 3)
    assert "3 records could not be landed, 'dead_letter_limit' is 2." in done.error


def test_records_that_the_server_refuses_count_towards_the_limit(
    run_target: Make, schema: Make
) -> None:
    done = run_target([schema(), raw(b'{"id":1,"v":1e999999}')], dead_letter_limit=0)

    assert done.exit_code == 65


def test_a_stream_of_which_no_record_has_its_key_fails_the_run(
    bronze: Any, run_target: Make, schema: Make, state: Make
) -> None:
    done = run_target([schema(), raw(b'{"v":1}'), raw(b'{"v":2}'), state(1)])

    assert (done.exit_code, done.states) == (65, [1])
    assert "None of the 2 records has the key properties 'id'. (stream 'things')" in done.error
    assert len(bronze.letters()) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"hello secret", "Line 4 of the input is not a Singer message"),
        (
            b'{"type":"RECORD","stream":"things"}',
            "Line 4 of the input is a RECORD without a record",
        ),
        (b'{"type":"LOG","stream":"x"}', "Line 4 of the input has the unknown message type 'LOG'"),
        (raw(b"{}", b"other"), "Line 4 of the input has a RECORD before the SCHEMA"),
        (raw(b'{"a":NaN}', b"other"), "before the SCHEMA of its stream. (stream 'other')"),
        (b'{"type":"STATE"}', "Line 4 of the input is a STATE without a value"),
        (b'{"type":"SCHEMA","stream":"x","schema":{}}', "Line 4 of the input is a SCHEMA without"),
        (b'{"type":"SCHEMA","stream":"x","schema":[]}', "Line 4 of the input is a SCHEMA without"),
        (b'{"type":"SCHEMA","stream":"x"}', "Line 4 of the input is a SCHEMA without"),
        (b'{"type":"ACTIVATE_VERSION","stream":"x","version":1}', "Line 4 of the input activates"),
        (b'{"type":"ACTIVATE_VERSION","stream":"things"}', "Line 4 of the input activates"),
        (b'{"type":"BATCH","stream":"other"}', "Line 4 of the input has a BATCH before the SCHEMA"),
        (b'{"type":"BATCH","stream":"things"}', "Line 4 of the input is a BATCH without an"),
        (b'{"type":"LOG","stream":"things"}', "message type 'LOG'. (stream 'things')"),
        (b'{"type":"RECORD","record":{"id":2}}', "Line 4 of the input has a RECORD without a str"),
    ],
)
def test_a_broken_input_stops_the_run_after_what_came_before_is_committed(
    bronze: Any, run_target: Make, schema: Make, state: Make, line: bytes, message: str
) -> None:
    done = run_target([schema(), raw(b'{"id":1}'), state(1), line, raw(b'{"id":2}'), state(2)])

    assert done.exit_code == 65
    assert message in done.error
    assert "secret" not in done.stderr
    assert [key for key, _ in bronze.rows("things")] == ["[1]"]
    assert done.states == [1]
    assert done.total("received") == 1


def test_a_record_before_its_schema_is_kept(bronze: Any, run_target: Make) -> None:
    run_target([raw(b'{"id":1}', b"early")])

    assert bronze.letters() == [("early", "record_before_schema", b'{"id":1}')]


def test_an_input_cut_off_inside_a_message_commits_what_came_before(
    bronze: Any, run_target: Make, schema: Make, state: Make
) -> None:
    whole = b"\n".join(
        [json.dumps(schema()).encode(), raw(b'{"id":1}'), b'{"type":"STATE","value":1}']
    )

    done = run_target(whole + b'\n{"type":"RECORD","stre')

    assert (done.exit_code, done.states) == (65, [1])
    assert "Line 4 of the input ends inside a message" in done.error
    assert len(bronze.rows("things")) == 1


def test_an_empty_input_is_a_run_without_effect(run_target: Make) -> None:
    done = run_target(b"")

    assert (done.exit_code, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("keys", "record", "expected"),
    [
        (["a.b"], b'{"a":{"b":5}}', "[5]"),
        (["list", "object"], b'{"list":[1,"x"],"object":{"b":1,"a":2}}', '[[1,"x"],{"a":2,"b":1}]'),
        (["id"], b'{"id":"caf\xc3\xa9 \\" \\\\"}', '["caf\u00e9 \\" \\\\"]'),
        (["id"], b'{"id":1,"id":2}', "[2]"),
        (
            ["id"],
            b'{"id":12345678901234567890123456789012345678}',
            "[12345678901234567890123456789012345678]",
        ),
    ],
)
def test_keys_of_any_shape_become_a_canonical_array(
    bronze: Any, run_target: Make, schema: Make, keys: list[str], record: bytes, expected: str
) -> None:
    properties: dict[str, Any] = {"a": {}, "list": {}, "object": {}}

    run_target([schema(keys=keys, **properties), raw(record)])

    assert [key for key, _ in bronze.rows("things")] == [expected]


def test_of_members_with_the_same_name_the_last_counts(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    run_target([schema(), raw(b'{"id":1,"v":1,"v":2}')])

    assert bronze.rows("things") == [("[1]", {"id": 1, "v": 2})]


def test_a_stream_without_keys_lands_each_content_once(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    lines = [schema(keys=[]), raw(b'{"a":1,"b":2}'), raw(b'{"b": 2, "a": 1}'), raw(b'{"a":2}')]

    for _ in range(2):
        run_target(lines)

    assert sorted(record["a"] for _, record in bronze.rows("things")) == [1, 2]


def test_a_key_too_long_for_an_index_lands_under_its_hash(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    run_target([schema(), raw(b'{"id":"%s"}' % (b"x" * 50_000))])

    [(key, record)] = bronze.rows("things")
    assert key.startswith('["sha256:')
    assert len(record["id"]) == 50_000


def test_streams_with_long_or_odd_names_have_a_table_each(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    names = ["x" * 80, "x" * 80 + "y", "Things", "things", "a:b!c", "a_b_c"]
    lines = [line for name in names for line in (schema(name), raw(b'{"id":1}', name.encode()))]

    done = run_target(lines)

    query = """select table_name from information_schema.tables
        where table_schema = 'ipai_bronze_core' and starts_with(table_name, 'raw_')"""
    tables = [row[0] for row in bronze.query(query)]
    landed = {bronze.value(f'select stream from ipai_bronze_core."{table}"') for table in tables}
    assert done.exit_code == 0
    assert landed == set(names)
    assert all(len(table) <= 63 for table in tables)


def test_two_streams_that_would_share_a_table_are_refused(run_target: Make, schema: Make) -> None:
    one, other = schema("b_c"), schema("c")
    one["schema"]["x-ipai"] = {"source": "a"}
    other["schema"]["x-ipai"] = {"source": "a_b"}

    done = run_target([one, other])

    assert done.exit_code == 78
    assert "Streams 'b_c' and 'c' would share table" in done.error


def test_the_table_of_another_source_is_refused(run_target: Make, schema: Make) -> None:
    run_target([schema("b_c"), raw(b'{"id":1}', b"b_c")], source="a")

    done = run_target([schema("c"), raw(b'{"id":1}', b"c")], source="a_b")

    assert done.exit_code == 78
    assert "belongs to stream 'b_c' of source 'a', not to 'c' of 'a_b'" in done.error


def test_an_unknown_domain_is_refused(run_target: Make, schema: Make) -> None:
    message = schema()
    message["schema"]["x-ipai"] = {"source": "a", "domain": "sales"}

    done = run_target([message])

    assert done.exit_code == 78
    assert "Unknown domain 'sales'" in done.error


def test_a_schema_may_change_in_the_middle_of_a_stream(
    bronze: Any, run_target: Make, schema: Make
) -> None:
    lines = [
        schema(),
        raw(b'{"id":1,"email":"a"}'),
        schema(extra={}),
        raw(b'{"id":2,"email":"b","extra":1}'),
        schema(keys=["email"], cursor="v", email={}),
        raw(b'{"id":3,"email":"c","v":5}'),
    ]

    done = run_target(lines)

    assert done.exit_code == 0
    assert bronze.rows("things", "record_key, cursor") == [
        ('["c"]', "00000000000000000005"),
        ("[1]", None),
        ("[2]", None),
    ]


@pytest.mark.parametrize("load_method", ["upsert", "append"])
def test_a_record_of_50_megabytes_lands_and_is_replaced(
    bronze: Any, run_target: Make, schema: Make, load_method: str
) -> None:
    def huge(letter: bytes) -> bytes:
        return raw(b'{"id":1,"v":"%s"}' % (letter * 50_000_000))

    for letter in (b"a", b"b"):
        done = run_target([schema(), raw(b'{"id":0}'), huge(letter)], load_method=load_method)
        assert done.exit_code == 0

    lengths = bronze.query("""select length(record->>'v'), left(record->>'v', 1)
        from ipai_bronze_core.raw_singer_things where record_key = '[1]' order by 2 desc""")
    assert lengths[0] == (50_000_000, "b")
    assert len(lengths) == (1 if load_method == "upsert" else 2)
