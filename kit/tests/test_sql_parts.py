# SPDX-License-Identifier: Apache-2.0
"""The parts of reading SQL databases that need none: addresses, patterns, cursors, key sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.address import address_from_settings, hidden, parse_address
from ipai_kit.sql.database import Block
from ipai_kit.sql.deletions import KeyReader, KeySet
from ipai_kit.sql.patterns import fits
from ipai_kit.sql.positions import CursorValue, last_position

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ZONED = CursorValue({"type": ["string", "null"], "format": "date-time"}, "timestamptz")
PLAIN = CursorValue({"type": "string"}, "timestamp without time zone")
DAY = CursorValue({"type": "string", "format": "date"}, "date")
NUMBER = CursorValue({"type": "string", "format": "x-singer.decimal"}, "numeric")
TEXT = CursorValue({"type": "string"}, "text")


@pytest.mark.parametrize(
    ("url", "expected", "is_remote"),
    [
        ("jdbc:postgresql://db.example.com:5433/a", "postgresql://db.example.com:5433/a", True),
        ("jdbc:postgresql:shop", "postgresql://localhost/shop", False),
        ("postgres://u@[::1]:5432/db", "postgresql://::1:5432/db", False),
        ("postgresql+psycopg://10.0.0.7/db", "postgresql://10.0.0.7/db", True),
        ("postgresql:///db?host=/var/run", "postgresql:///var/run/db", False),
        ("sqlite:////data/a%20b.db", "sqlite:/data/a b.db", False),
        ("jdbc:sqlite:/data/a.db", "sqlite:/data/a.db", False),
        ("duckdb:///x.duckdb", "duckdb:x.duckdb", False),
        ("mysql+pymysql://127.0.0.1/db", "mysql://127.0.0.1/db", False),
        ("jdbc:mariadb://db/shop", "mariadb://db/shop", True),
        ("jdbc:sqlserver://host\\x:1433;databaseName=y;encrypt=true", "mssql://host:1433/y", True),
        ("jdbc:oracle:thin:@//host:1521/service", "oracle://host:1521/service", True),
        ("jdbc:oracle:thin:@tcps://host:2484/service", "oracle://host:2484/service", True),
        ("jdbc:h2:mem:x", "jdbc:h2", False),
        ("jdbc:db2://host:50000/x", "jdbc://host/db2", True),
    ],
)  # fmt: skip
def test_addresses_of_both_kinds_are_read(url, expected, is_remote):
    address = parse_address(url)

    assert (address.shown, address.is_remote) == (expected, is_remote)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret%40@h/d",
        "jdbc:postgresql://h/d?user=u&password=s3cret%40",
        "jdbc:sqlserver://h;user=u;password=s3cret@",
        "jdbc:oracle:thin:u/s3cret@@//h:1/s",
        "jdbc:h2:tcp://h/x;PASSWORD=s3cret@",
    ],
)
def test_the_password_of_an_address_is_known_and_not_shown(url):
    address = parse_address(url)

    assert "s3cret@" in hidden(url)
    assert "s3cret" not in repr(address) + address.shown


@pytest.mark.parametrize("url", ["ftp://h/x", "nothing", "postgresql://h:port/d", "jdbc:oracle:x"])
def test_what_is_no_address_is_refused_without_showing_it(url):
    with pytest.raises(ConfigurationError) as caught:
        parse_address(url)

    assert caught.value.next_step
    assert hidden(url) == ()


def test_parts_win_over_the_url():
    config = {"url": "postgresql://a:b@h:1/d?sslmode=require", "user": "u", "password": "p@/:"}

    address = address_from_settings({**config, "port": 2, "connect_options": {"x": "y"}})

    assert (address.user, address.password, address.port) == ("u", "p@/:", 2)
    assert address.options == {"sslmode": "require", "x": "y"}
    assert address.url("postgresql") == "postgresql://u:p%40%2F%3A@h:2/d?sslmode=require&x=y"


@pytest.mark.parametrize("config", [{}, {"dialect": "dbase"}])
def test_some_address_is_needed(config):
    with pytest.raises(ConfigurationError):
        address_from_settings(config)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], True),
        (["orders"], True),
        (["sales.*"], True),
        (["*.order?"], True),
        (["public.*"], False),
        (["!sales.*"], False),
        (["*", "!orders"], False),
        (["!other"], True),
    ],
)
def test_patterns_choose_tables(patterns, expected):
    assert fits("sales", "orders", patterns) is expected


@pytest.mark.parametrize(
    ("cursor", "one", "other", "expected"),
    [
        (ZONED, "2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        (ZONED, "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        (PLAIN, "2026-01-01T00:00:00.5", "2026-01-01T00:00:00", "2026-01-01T00:00:00.5"),
        (DAY, "2026-01-10", "2026-01-09", "2026-01-10"),
        (NUMBER, "10.5", "9.75", "10.5"),
        (TEXT, "b", "a", "a"),  # only the database knows how texts compare
        (ZONED, None, "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"),
        (ZONED, "2026-01-01T00:00:00+00:00", None, "2026-01-01T00:00:00+00:00"),
        (NUMBER, "nonsense", "1", "1"),
    ],
)  # fmt: skip
def test_a_bookmark_takes_the_later_value(cursor, one, other, expected):
    assert cursor.later(one, other) == expected


@pytest.mark.parametrize(
    ("cursor", "value", "expected"),
    [
        (ZONED, "2026-05-01T00:00:00+00:00", "2026-05-01T00:00:00+00:00"),
        (ZONED, "2027-01-01T00:00:00+00:00", "2026-06-01T12:00:00+00:00"),
        (ZONED, "infinity", "2026-06-01T12:00:00+00:00"),
        (ZONED, "-infinity", "-infinity"),
        (ZONED, "0044-03-15T10:00:00+00:00 BC", "0044-03-15T10:00:00+00:00 BC"),
        (PLAIN, "2026-06-02T06:00:00", "2026-06-02T06:00:00"),  # its zone may be ahead of ours
        (PLAIN, "9999-12-31T00:00:00", "2026-06-02T12:00:00"),
        (DAY, "9999-12-31", "2026-06-02"),
        (DAY, "0000-00-00", "0000-00-00"),
        (NUMBER, "99999", "99999"),
        (ZONED, None, None),
    ],
)
def test_a_bookmark_never_lies_in_the_future(cursor, value, expected):
    assert cursor.no_later_than_now(value, NOW) == expected


@pytest.mark.parametrize(
    ("cursor", "value", "lookback", "expected"),
    [
        (ZONED, "2026-01-01T00:00:00+00:00", timedelta(hours=1), "2025-12-31T23:00:00+00:00"),
        (PLAIN, "2026-01-01T00:00:00", timedelta(hours=1), "2025-12-31T23:00:00"),
        (DAY, "2026-01-01", timedelta(hours=1), "2025-12-31"),
        (DAY, "0001-01-01", timedelta(days=9), "0001-01-01"),
        (NUMBER, 100, 10, 90),
        (NUMBER, "100", 10, "100"),
        (TEXT, "m", timedelta(days=1), "m"),
        (ZONED, "infinity", timedelta(days=1), "infinity"),
        (ZONED, "2026-01-01T00:00:00+00:00", None, "2026-01-01T00:00:00+00:00"),
    ],
)
def test_the_lookback_moves_what_it_can(cursor, value, lookback, expected):
    assert cursor.back(value, lookback) == expected


def test_the_last_position_is_taken_from_bytes_and_from_values():
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)

    assert last_position(Block(2, lines=lines), ("b", "a")) == ("y", 2)
    assert last_position(Block(2, rows=rows), ("b", "a")) == ("y", 2)
    assert last_position(Block(1, lines=lines[:16]), ("a",)) == (1,)


numbers = st.sets(st.tuples(st.integers(-5000, 9000)), max_size=60)
keys = st.one_of(
    numbers,
    st.sets(st.tuples(st.integers()), max_size=20),
    st.sets(st.tuples(st.integers(), st.text(max_size=5)), max_size=20),
    st.sets(st.one_of(st.tuples(st.text(max_size=3)), st.tuples(st.integers(5, 9))), max_size=2),
)


def made(found):
    made = KeySet()
    made.update(found)
    return made


@given(keys)
def test_keys_come_back_from_state_as_they_were(found):
    back = KeySet(made(found).encode("s"))

    assert set(back.without(KeySet())) == found
    assert len(back) == len(found)


@given(st.one_of(numbers, keys), st.one_of(numbers, keys))
def test_what_is_gone_is_the_difference(before, now):
    assert set(made(before).without(made(now))) == before - now


def test_numbers_in_a_row_take_no_room():
    found = made((n,) for n in range(1, 100_001) if n != 7)

    assert found.encode("s") == "r:1+5,8+99992"


def test_too_many_keys_are_refused(monkeypatch):
    monkeypatch.setattr("ipai_kit.sql.deletions._MOST_KEYS", 3)

    with pytest.raises(ConfigurationError, match="4 keys"):
        made((str(n),) for n in range(4)).encode("s")


def test_keys_are_read_without_building_records():
    reader = KeyReader(("id", "odd name"))
    lines = b'{"id":1,"odd name":"a","rest":[1,2]}\n{"odd name":null,"id":2}\n'

    assert list(reader.keys(Block(2, lines=lines))) == [(1, "a"), (2, None)]
    assert list(reader.keys(Block(1, rows=[{"id": 3, "odd name": "c"}]))) == [(3, "c")]
