# SPDX-License-Identifier: Apache-2.0
"""Key, cursor, time and hash of a record."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipai_kit.bronze import (
    MAX_KEY_BYTES,
    RecordRejectedError,
    RejectionReason,
    compile_extract,
    content_key,
    emitted_micros,
    holds_nul,
    is_superseded,
    key_text,
    parse_emitted,
    plan_stream,
    record_hash,
    sortable_cursor,
)


def extract(record: bytes, keys: list[str], cursor: str | None = None, **properties: Any) -> Any:
    schema = {"properties": {"id": {}, "a": {}, **properties}}
    plan = plan_stream("s", schema, key_properties=keys, bookmark_properties=cursor)
    return compile_extract(plan)(record)


@pytest.mark.parametrize(
    ("record", "keys", "expected"),
    [
        (b'{"id":7}', ["id"], b"[7]"),
        (b'{ "x":1, "id" : "\\u0041b" }', ["id"], b'["Ab"]'),
        (b'{"id":1.0}', ["id"], b"[1]"),
        (b'{"id":1e3}', ["id"], b"[1000]"),
        (b'{"id":-0.0}', ["id"], b"[0]"),
        (b'{"id":1.50}', ["id"], b"[1.5]"),
        (b'{"id":123456789012345678901234567890}', ["id"], b"[123456789012345678901234567890]"),
        (b'{"id":true}', ["id"], b"[true]"),
        (b'{"id":[1,{"b":2,"a":1.0}]}', ["id"], b'[[1,{"a":1,"b":2}]]'),
        (b'{"id":1,"id":2}', ["id"], b"[2]"),
        (b'{"id":1,"a":"x"}', ["a", "id"], b'["x",1]'),
        (b'{"id":null,"a":"x"}', ["a", "id"], b'["x",null]'),
        (b'{"a":{"b":5}}', ["a.b"], b"[5]"),
        (b'{"a":{"b":5,"c":"x"}}', ["a.c", "a.b"], b'["x",5]'),
        (b'{"id":1,"a":{"b":{"c":5}}}', ["id", "a.b.c"], b"[1,5]"),
        (b'{"x.y":3}', ["x.y"], b"[3]"),
    ],
)
def test_the_key_is_a_canonical_array_of_the_key_values(
    record: bytes, keys: list[str], expected: bytes
) -> None:
    assert extract(record, keys) == (expected, None)


def test_a_property_with_a_dot_in_its_name_wins_over_a_path() -> None:
    record = b'{"a.b":1,"a":{"b":2}}'

    assert extract(record, ["a.b"], **{"a.b": {}}) == (b"[1]", None)


def test_numbers_that_are_equal_make_the_same_key() -> None:
    texts = [b"1.5", b"1.50", b"15e-1", b"0.15E1"]

    assert len({extract(b'{"id":%s}' % text, ["id"])[0] for text in texts}) == 1


@pytest.mark.parametrize(
    ("record", "keys", "reason"),
    [
        (b'{"a":1}', ["id"], "missing_key"),
        (b'{"id":1}', ["id", "a"], "missing_key"),
        (b'{"a":[1]}', ["a.b"], "missing_key"),
        (b'{"a":null}', ["a.b"], "missing_key"),
        (b'{"id":null}', ["id"], "null_key"),
        (b'{"id":null,"a":null}', ["id", "a"], "null_key"),
        (b'"text"', ["id"], "not_an_object"),
        (b"[1]", [], "not_an_object"),
        (b'{"id":"\xff"}', ["id"], "invalid_encoding"),
        (b'{"a":"\xff"}', [], "invalid_encoding"),
        (b'{"id":NaN}', ["id"], "invalid_json"),
        (b'{"id":NaN}', [], "invalid_json"),
    ],
)
def test_a_record_without_a_usable_key_is_rejected(
    record: bytes, keys: list[str], reason: str
) -> None:
    with pytest.raises(RecordRejectedError) as caught:
        extract(record, keys)

    assert caught.value.reason == reason
    assert caught.value.error


def test_a_record_without_keys_is_known_by_its_content() -> None:
    one = content_key(b'{"a": 1.5, "b": [1, 2]}')

    assert one == content_key(b'{"b":[1,2],"a":1.5}')
    assert one != content_key(b'{"b":[2,1],"a":1.5}')
    assert json.loads(one)[0].isalnum()


def test_a_key_too_long_for_an_index_is_replaced_by_its_hash() -> None:
    key = key_text(["x" * MAX_KEY_BYTES])

    assert len(key) < 100
    assert key.startswith(b'["sha256:')
    assert key != key_text(["y" * MAX_KEY_BYTES])


@pytest.mark.parametrize(
    ("record", "cursor", "expected"),
    [
        (b'{"id":1,"u":"2024-01-01T00:00:00Z"}', "u", "2024-01-01T00:00:00.000000000Z"),
        (b'{"id":1,"u":null}', "u", None),
        (b'{"id":1}', "u", None),
        (b'{"id":1,"a":{"u":5}}', "a.u", "00000000000000000005"),
        (b'{"id":1,"a":null}', "a.u", None),
        (b'{"id":1,"a":[]}', "a.u", None),
        (b'{"id":1}', "a.u", None),
    ],
)
def test_the_cursor_is_the_records_own_and_may_be_absent(
    record: bytes, cursor: str, expected: str | None
) -> None:
    assert extract(record, ["id"], cursor) == (b"[1]", expected)
    assert extract(record, ["id", "id"], cursor) == (b"[1,1]", expected)
    assert extract(record, [], cursor)[1] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-31T12:30:00Z", "2024-01-31T12:30:00.000000000Z"),
        ("2024-01-31T12:30:00.5Z", "2024-01-31T12:30:00.500000000Z"),
        ("2024-01-31T12:30:00.1234567891Z", "2024-01-31T12:30:00.123456789Z"),
        ("2024-01-31T12:30:00,5", "2024-01-31T12:30:00.500000000Z"),
        ("2024-01-31 12:30", "2024-01-31T12:30:00.000000000Z"),
        ("2024-01-31T00:30:00+02:00", "2024-01-30T22:30:00.000000000Z"),
        ("2024-01-31T12:30:00.25-0530", "2024-01-31T18:00:00.250000000Z"),
        ("2024-01-31T12:30:00+00", "2024-01-31T12:30:00.000000000Z"),
        ("0800-01-01T01:00:00+01:00", "0800-01-01T00:00:00.000000000Z"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+01:00"),
        ("2024-02-31T00:00:00+01:00", "2024-02-31T00:00:00+01:00"),
        ("2024-01-31", "2024-01-31"),
        ("abc", "abc"),
        (5, "00000000000000000005"),
        (0, "00000000000000000000"),
        (-5, "-99999999999999999994~"),
        (Decimal("12.50"), "00000000000000000012.5"),
        (Decimal("-12.5"), "-99999999999999999987.4~"),
        (10**20, "~000021100000000000000000000"),
        (True, "true"),
        ([1, {"b": 1, "a": 2}], '[1,{"a":2,"b":1}]'),
    ],
)
def test_cursors_become_sortable_text(value: Any, expected: str) -> None:
    assert sortable_cursor(value) == expected


def test_a_cursor_beyond_every_number_is_rejected() -> None:
    with pytest.raises(RecordRejectedError) as caught:
        sortable_cursor(Decimal("1e999999"))

    assert caught.value.reason is RejectionReason.NUMBER_OUT_OF_RANGE


numbers = st.one_of(
    st.integers(),
    st.integers(min_value=-(10**45), max_value=10**45),
    st.decimals(allow_nan=False, allow_infinity=False, places=5),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-10, max_value=10),
)


@given(numbers, numbers)
def test_text_order_of_numbers_is_their_order(one: Any, other: Any) -> None:
    first, second = sortable_cursor(one), sortable_cursor(other)

    assert (first < second) == (one < other)
    assert (first == second) == (one == other)


moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.builds(
        lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60)
    ),
)


def _written(moment: datetime, style: int) -> str:
    in_utc = moment.astimezone(UTC)
    styles = [
        moment.isoformat(),
        f"{in_utc.replace(tzinfo=None).isoformat()}Z",
        in_utc.replace(tzinfo=None).isoformat(sep=" "),
        in_utc.isoformat(timespec="microseconds"),
    ]
    return styles[style]


@given(moments, moments, st.integers(0, 3), st.integers(0, 3))
def test_text_order_of_timestamps_is_their_order_whatever_their_notation(
    one: datetime, other: datetime, style: int, other_style: int
) -> None:
    first = sortable_cursor(_written(one, style))
    second = sortable_cursor(_written(other, other_style))

    assert (first < second) == (one < other)
    assert (first == second) == (one == other)


@given(st.dates(), st.dates())
def test_text_order_of_dates_is_their_order(one: Any, other: Any) -> None:
    first, second = sortable_cursor(one.isoformat()), sortable_cursor(other.isoformat())

    assert (first < second) == (one < other)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values.filter(lambda value: value is not None), st.text())
def test_the_key_text_is_json_that_reads_back_as_the_key_values(value: Any, other: str) -> None:
    record = json.dumps({"id": value, "other": other}).encode()

    key, _ = extract(record, ["id", "other"])

    if not key.startswith(b'["sha256:'):
        assert json.loads(key) == [value, other]


def test_a_plan_takes_source_and_domain_from_the_schema_unless_told() -> None:
    schema = {"properties": {}, "x-ipai": {"source": "github", "domain": "devops"}}

    plan = plan_stream("s", schema, bookmark_properties=["u", "v"])
    told = plan_stream("s", schema, bookmark_properties=["u", "v"], source="x", domain="erp")

    assert (plan.source, plan.domain, plan.cursor_property) == ("github", "devops", "u")
    assert (told.source, told.domain) == ("x", "erp")
    assert not plan.lands_like(told)
    assert plan.lands_like(plan_stream("s", {**schema, "more": 1}, bookmark_properties="u"))


def test_a_plan_without_any_name_lands_under_singer_in_core() -> None:
    plan = plan_stream("s", {"properties": {}, "x-ipai": "no object"})

    assert (plan.source, plan.domain, plan.key_properties) == ("singer", "core", ())


def test_emitted_times_count_microseconds_since_2000_in_utc() -> None:
    expected = 1_000_001

    assert parse_emitted("2000-01-01T02:00:01.000001+02:00") == expected
    assert parse_emitted("2000-01-01T00:00:01.000001Z") == expected
    assert emitted_micros(datetime(2000, 1, 1, 0, 0, 1, 1)) == expected  # noqa: DTZ001
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse_emitted("yesterday")
    for beyond in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"):
        with pytest.raises(ValueError, match="is in no year from 1 to 9999"):
            parse_emitted(beyond)


@pytest.mark.parametrize(
    ("old", "new", "wins"),
    [
        (("2024", 1), ("2023", 9), False),
        (("2024", 1), ("2025", 0), True),
        (("2024", 1), ("2024", 0), False),
        (("2024", 1), ("2024", 1), True),
        ((None, 1), ("2024", 0), True),
        (("2024", 0), (None, 1), False),
        ((None, 1), (None, 0), False),
    ],
)
def test_the_newer_cursor_wins_then_the_later_reading_then_the_later_message(
    old: tuple[str | None, int], new: tuple[str | None, int], wins: bool
) -> None:
    rows = [(b"[1]", b"{}", emitted, cursor, b"") for cursor, emitted in (old, new)]

    assert is_superseded(*rows) is wins


def test_the_hash_is_eight_bytes_and_never_changes() -> None:
    assert record_hash(b'{"id":1}').hex() == "1ea450d66dcfc383"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb'{"a":"\u0000"}', True),
        (rb'{"a":"\\u0000"}', False),
        (rb'{"a":"\\\u0000"}', True),
        (rb'{"a":"\u00001"}', True),
        (rb'{"a":"u0000"}', False),
    ],
)
def test_a_nul_character_is_told_from_the_text_that_looks_like_one(
    text: bytes, expected: bool
) -> None:
    assert holds_nul(text) is expected
