# SPDX-License-Identifier: Apache-2.0
"""The log gives text, a snapshot JSON made by the server: both arrive as the same values."""

from __future__ import annotations

import pytest

STREAM = "public-values_of"
PREPARATION = [
    "create type mood as enum ('sad', 'it''s \"ok\"')",
    "create type pair as (a int, b numeric(5, 2), c text, d timestamptz)",
    "create domain percent as numeric(5, 2) check (value between 0 and 100)",
    "create domain percents as percent[]",
    "create domain whole as int",
]
VALUES = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "0"],
    "bigint": ["9223372036854775807", "-9223372036854775808"],
    "oid": ["4294967295"],
    "numeric": ["'NaN'", "'Infinity'", "-0.00", "1e40", "12345678901234567890.0123456789"],
    "numeric(38, 20)": ["123456789012345678.01234567890123456789"],
    "real": ["1.1", "'NaN'", "'-Infinity'", "1e-30", "1e20"],
    "double precision": ["0.1", "'Infinity'", "1e300", "-0", "123456789012345680"],
    "money": ["12.5"],
    "text": [r"E'a\"b\\c\n\t\u0001é漢😀'", "''"],
    "varchar(20)": ["'x'"],
    "char(5)": ["'ab'", "''"],
    '"char"': ["'a'"],
    "name": ["'somebody'"],
    "bytea": [r"'\x00ff10'", "''"],
    "date": ["'2026-01-31'", "'1500-01-01'", "'0044-03-15 BC'", "'infinity'", "'12345-01-01'"],
    "timestamp": [
        "'2026-01-31 12:00'",
        "'2026-01-31 12:00:00.123456'",
        "'0044-03-15 01:02:03 BC'",
        "'-infinity'",
        "'12345-01-01'",
    ],
    "timestamptz": [
        "'2026-01-31 12:00+02'",
        "'2026-01-31 12:00:00.5+05:30'",
        "'0044-03-15 01:02:03+00 BC'",
        "'infinity'",
        "'12345-01-01+00'",
    ],
    "time": ["'12:34:56.789'", "'24:00'"],
    "timetz": ["'12:34:56+03:30'"],
    "interval": ["'1 year 2 mons -3 days 04:05:06.7'", "'-1 hour'"],
    "uuid": ["'6f0c1d0e-0000-4000-8000-000000000001'"],
    "json": ['\'{"a" : 1.50,\n "b":\t[null, "x\\u00e9"]}\'', "'\"text\"'", "'null'", "'1e400'"],
    "jsonb": ['\'{"a": {"b": 12345678901234567890.10}}\'', "'[1, \"a\\nb\"]'"],
    "xml": ["'<a b=\"c\">d</a>'"],
    "bit(4)": ["B'1010'"],
    "bit varying": ["B'101'"],
    "inet": ["'10.0.0.1/8'", "'::1'"],
    "cidr": ["'10.0.0.0/8'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "point": ["'(1.5,-2)'"],
    "tsvector": ["'a:1 b:2'"],
    "int4range": ["'[1,5)'", "'empty'"],
    "tstzrange": ["'[2026-01-01 00:00+00,)'"],
    "int4multirange": ["'{[1,5), [7,9)}'"],
    "pg_lsn": ["'16/B374D848'"],
    "mood": ["'sad'", "'it''s \"ok\"'"],
    "pair": ["row(1, 2.50, 'x, \"y\"', '2026-01-31 12:00+00')", "row(null, null, '', null)"],
    "percent": ["99.50"],
    "whole": ["7"],
    "percents": ["'{1.5,100}'"],
    "integer[]": ["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'"],
    "bigint[]": ["'{9223372036854775807}'"],
    "text[]": [r"""'{"a,b","c\"d",NULL,"NULL",""}'"""],
    "numeric(5,2)[]": ["'{1.50,NaN}'"],
    "double precision[]": ["'{1.5,NaN}'"],
    "boolean[]": ["'{t,f}'"],
    "timestamptz[]": ["'{2026-01-31 12:00+00}'"],
    "timestamp[]": ["'{2026-01-31 12:00,infinity}'"],
    "bytea[]": [r"""'{"\\x00ff"}'"""],
    "jsonb[]": [r"""'{"{\"a\": 1}"}'"""],
    "uuid[]": ["'{6f0c1d0e-0000-4000-8000-000000000001}'"],
    "mood[]": ["'{sad}'"],
    "pair[]": ["array[row(1, 2.5, 'x', null)::pair]"],
}


def test_the_log_gives_each_type_as_a_snapshot_does(each_followed):
    source = each_followed.source
    columns = ", ".join(f'"{name}" {name}' for name in VALUES if not name.startswith('"'))
    source.execute(
        *PREPARATION,
        f'create table values_of (id int primary key, "char" "char", {columns})',
    )
    each_followed.run()
    number = 0
    for name, values in VALUES.items():
        for value in ["null", *values]:
            number += 1
            column = name.strip('"')
            source.execute(f'insert into values_of (id, "{column}") values ({number}, {value})')

    each_followed.run()

    expected = {row["id"]: row for row in each_followed.expected(STREAM)}
    delivered = {row["id"]: row for row in each_followed.delivered(STREAM)}
    assert len(expected) == number
    for row in sorted(expected):
        assert delivered[row] == expected[row]
        assert list(delivered[row]) == list(expected[row])


@pytest.mark.parametrize("type_", ["integer[]", "text[]"])
def test_a_type_that_was_dropped_since_leaves_its_values_as_text(followed, type_):
    followed.change(
        "create type mood as enum ('sad')",
        f"create table values_of (id int primary key, m mood, many {type_})",
    )
    followed.run()
    followed.change(
        "insert into values_of values (1, 'sad', '{1}')",
        "alter table values_of drop column m",
        "drop type mood",
    )

    run = followed.run()

    (record,) = run.records[STREAM]
    assert record["m"] == "sad"
    assert [str(one) for one in record["many"]] == ["1"]
