# SPDX-License-Identifier: Apache-2.0
"""Every type leaves PostgreSQL exactly: compared with literals and with its own text."""

from __future__ import annotations

import base64
import json
from decimal import Decimal

import jsonschema
import pytest

from ipai_kit.sql.address import parse_address
from ipai_kit.sql.database import Selection
from ipai_kit.sql.postgres import PostgresDatabase

JSON = '{"b" : 1,   "a": [1.10, 12345678901234567890]}'
LONG = '{"z": 123456789012345678901234567890.10}'
# type, literal, JSON as delivered
VALUES = [
    ("smallint", "-32768", "-32768"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    ("oid", "4294967295", "4294967295"),
    ("numeric", "12345678901234567890123456789.12345678901234567890", None),
    ("numeric(38,20)", "1.5", '"1.50000000000000000000"'),
    ("numeric", "NaN", '"NaN"'),
    ("numeric", "0.00", '"0.00"'),
    ("money", "1234.56", None),
    ("real", "1.1", "1.1"),
    ("real", "NaN", '"NaN"'),
    ("double precision", "0.1", "0.1"),
    ("double precision", "5e-324", "5e-324"),
    ("double precision", "-Infinity", '"-Infinity"'),
    ("boolean", "true", "true"),
    ("date", "2024-02-29", '"2024-02-29"'),
    ("date", "1500-02-28", '"1500-02-28"'),
    ("date", "0044-03-15 BC", '"0044-03-15 BC"'),
    ("date", "infinity", '"infinity"'),
    ("timestamp", "2024-02-29 12:34:56.78", '"2024-02-29T12:34:56.78"'),
    ("timestamp", "-infinity", '"-infinity"'),
    ("timestamp", "12024-01-01 00:00:00", '"12024-01-01T00:00:00"'),
    ("timestamp", "0044-03-15 10:00:00 BC", '"0044-03-15T10:00:00 BC"'),
    ("timestamptz", "2024-02-29 12:34:56.789012+05", '"2024-02-29T07:34:56.789012+00:00"'),
    ("timestamptz", "infinity", '"infinity"'),
    ("time", "24:00:00", '"24:00:00"'),
    ("timetz", "12:00:01.5+02", '"12:00:01.5+02"'),
    ("interval", "1 year 2 mons -3 days 04:05:06.7", '"1 year 2 mons -3 days +04:05:06.7"'),
    ("text", "quote \" backslash \\ tab \t line \n feed ä€😀", None),
    ("text", "", '""'),
    ("varchar(5)", "abcde", '"abcde"'),
    ("char(10)", "ab", '"ab        "'),
    ('"char"', "c", '"c"'),
    ("name", "pg_class", '"pg_class"'),
    ("bytea", "\\x00ff10", '"AP8Q"'),
    ("bytea", "\\x" + "ab" * 200, '"' + base64.b64encode(b"\xab" * 200).decode() + '"'),
    ("json", '{"b" : 1,\r\n "a": [1.10, 12345678901234567890]}', JSON),
    ("jsonb", LONG, LONG),
    ("jsonb", "null", "null"),
    ("uuid", "c0ffee00-0000-0000-0000-000000000000", None),
    ("mood", "so so", '"so so"'),
    ("bit(5)", "10101", '"10101"'),
    ("varbit", "101", '"101"'),
    ("inet", "10.0.0.1/8", '"10.0.0.1/8"'),
    ("cidr", "10.0.0.0/8", '"10.0.0.0/8"'),
    ("macaddr", "08:00:2b:01:02:03", '"08:00:2b:01:02:03"'),
    ("int4range", "[1,5)", '"[1,5)"'),
    ("numrange", "(1.10,)", '"(1.10,)"'),
    ("int4multirange", "{[1,2),[5,9)}", '"{[1,2),[5,9)}"'),
    ("tsvector", "'fat' 'rat':2", None),
    ("xml", "<a>b</a>", '"<a>b</a>"'),
    ("point", "(1,2.5)", '"(1,2.5)"'),
    ("pg_lsn", "16/B374D848", '"16/B374D848"'),
    ("price", "2.50", '"2.50"'),
    ("int[]", "{{1,NULL},{3,4}}", "[[1,null],[3,4]]"),
    ("numeric[]", "{1.10,NULL,99999999999999999999.5}", '["1.10",null,"99999999999999999999.5"]'),
    ("text[]", '{"a,b",NULL,"NULL"}', '["a,b",null,"NULL"]'),
    ("text[]", "{}", "[]"),
    ("bytea[]", '{"\\\\x00ff"}', '["\\\\x00ff"]'),
    ("timestamptz[]", "{infinity,2024-01-01 00:00Z}", '["infinity","2024-01-01T00:00:00+00:00"]'),
    ("mood[]", '{"so so",NULL}', '["so so",null]'),
    ("price[]", "{2.50}", '["2.50"]'),
    ("json[]", '{"{\\"a\\" : 1.10}"}', '[{"a" : 1.10}]'),
    ("pair", "(1,2.50)", '{"a":1,"b":2.50}'),
]  # fmt: skip
COLUMNS = [f"c{n}" for n in range(len(VALUES))]
TEXTLESS = ("[]", "json", "pair", "bytea", "text", '"char"')


@pytest.fixture
def typed(each_source):
    each_source.execute(
        "create type mood as enum ('sad', 'so so')",
        "create domain dearness as numeric(10, 2)",
        "create domain price as dearness check (value > 0)",
        "create type pair as (a int, b numeric)",
        "set timezone = 'UTC'",
        "create table t (id int primary key, "
        + ", ".join(f"{c} {v[0]}" for c, v in zip(COLUMNS, VALUES, strict=True))
        + ")",
    )
    literals = ", ".join("'" + value[1].replace("'", "''") + "'" for value in VALUES)
    each_source.execute(f"insert into t values (1, {literals})", "insert into t values (2)")
    return each_source


@pytest.fixture
def members(typed):
    """The records' members in bytes, as they leave."""
    database = PostgresDatabase(parse_address(typed.url))
    (table,) = database.tables(["t"])
    blocks = list(database.read(Selection(table, ["id", *COLUMNS], order=("id",))))
    database.close()
    first, second = b"".join(block.lines for block in blocks).splitlines()
    return table, first.decode(), json.loads(second)


def exact(text):
    return json.loads(text, parse_float=Decimal, object_pairs_hook=list)


def test_every_value_is_exact(typed, members):
    _, first, _ = members
    texts = ", ".join(f"{column}::text" for column in COLUMNS)
    (row,) = typed.query(f"select {texts} from t where id = 1")
    own = dict(zip(COLUMNS, row, strict=True))
    found = dict(exact(first))

    for column, (type_, _, expected) in zip(COLUMNS, VALUES, strict=True):
        wanted = own[column] if expected is None else exact(expected)
        assert (type_, found[column]) == (type_, wanted)
    assert JSON in first


def test_the_database_reads_back_what_it_wrote(typed, members):
    found = json.loads(members[1])

    for column, (type_, _, _) in zip(COLUMNS, VALUES, strict=True):
        if any(one in type_ for one in TEXTLESS):
            continue
        value = found[column]
        text = value if isinstance(value, str) else json.dumps(value)
        back, own = typed.query(
            f"select (%s::{type_})::text, {column}::text from t where id = 1", text
        )[0]
        assert (type_, back) == (type_, own)


def test_null_is_null(members):
    _, _, second = members

    assert second == {"id": 2, **dict.fromkeys(COLUMNS)}


def test_every_value_fits_its_schema(typed):
    run = typed.run()

    schema = run.schemas["public-t"]["schema"]
    for record in run.records["public-t"]:
        jsonschema.Draft7Validator(schema).validate(record)
    assert schema["properties"]["id"]["type"] == "integer"
    assert schema["properties"]["c4"] == {
        "type": ["string", "null"],
        "format": "x-singer.decimal",
        "x-sql-type": "numeric(38,20)",
    }


def test_the_server_s_own_settings_change_nothing(typed, members):
    typed.execute(
        f"alter database {typed.name} set timezone = 'Asia/Kolkata'",
        f"alter database {typed.name} set datestyle = 'German, DMY'",
        f"alter database {typed.name} set intervalstyle = 'iso_8601'",
        f"alter database {typed.name} set extra_float_digits = -5",
        f"alter database {typed.name} set bytea_output = 'escape'",
        f"alter database {typed.name} set standard_conforming_strings = off",
    )

    run = typed.run()

    assert run.records["public-t"][0] == json.loads(members[1])
