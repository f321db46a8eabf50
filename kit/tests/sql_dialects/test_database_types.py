# SPDX-License-Identifier: Apache-2.0
"""Every type of every database: the value in the record is what the database itself prints."""

from __future__ import annotations

import io
import json

import pytest
from jsonschema import Draft202012Validator

from ipai_kit.singer.writer import FastWriter
from ipai_kit.sql.database import Column
from ipai_kit.sql.dialects.duckdb_types import DUCKDB_RULES
from ipai_kit.sql.dialects.mysql_types import mysql_rules
from ipai_kit.sql.dialects.sqlite_types import SQLITE_RULES
from ipai_kit.testing import database_values

CASES = {
    "mariadb": database_values.MARIADB,
    "mysql": database_values.MYSQL,
    "sqlite": database_values.SQLITE,
    "duckdb": database_values.DUCKDB,
    "h2": database_values.H2,
    "hsqldb": database_values.HSQLDB,
}
RULES = {"mariadb": mysql_rules(), "sqlite": SQLITE_RULES, "duckdb": DUCKDB_RULES}
NO_SCHEMA_FITS = {"0000-00-00", "2020-00-15", "0044-03-15 (BC)", "infinity", "-0044-03-15"}


@pytest.fixture
def loaded(database, kind):
    """A table with one row of every value and one of nulls."""
    for statement in database_values.table_of(CASES[kind]):
        if kind in ("mariadb", "mysql"):
            statement = statement.replace("mediumint NOT NULL", "mediumint")
        database.execute(statement)
    return database


def in_json(value):
    """A value as the writer encodes it."""
    from ipai_kit.singer.writer import _encoder

    return _encoder.encode(value).decode()


def shown(value):
    return in_json(value) if isinstance(value, list | dict) else str(value)


def test_every_value_is_what_the_database_prints(loaded, kind):
    table = loaded.table("every_type")
    names = [column.name for column in table.columns]
    full, nulls = loaded.records(table, order=(names[0],))
    own = [f"{case.own.format(f'c{place}')}" for place, case in enumerate(CASES[kind])]
    printed = loaded.query(f"SELECT {', '.join(own)} FROM every_type WHERE id = 1")[0]

    wrong = []
    for name, case, text in zip(names[1:], CASES[kind], printed, strict=True):
        found = full[name]
        if found != case.expected or type(found) is not type(case.expected):
            wrong.append((case.native, "record", case.expected, found))
        text = text.decode() if isinstance(text, bytes) else text
        same = text == shown(found)
        if not same and isinstance(found, float):
            same = float(text) == found
        if not same and isinstance(found, list | dict):
            same = json.loads(text) == json.loads(in_json(found))
        if not same:
            wrong.append((case.native, "printed", text, shown(found)))

    assert wrong == []
    assert set(nulls.values()) == {None, 2}


def test_every_value_fits_its_schema(loaded, kind):
    table = loaded.table("every_type")
    wrong = []
    for record in loaded.records(table):
        for column in table.columns:
            value = json.loads(in_json(record[column.name]))
            checked = Draft202012Validator(
                dict(column.schema), format_checker=Draft202012Validator.FORMAT_CHECKER
            )
            if str(value) not in NO_SCHEMA_FITS and not checked.is_valid(value):
                wrong.append((column.native_type, value, dict(column.schema)))

    expected = [("integer", "no number", {"type": ["integer", "null"]})]
    zero = [("timestamp(3)", "0000-00-00 00:00:00.000")]
    assert [one for one in wrong if one not in expected and one[:2] not in zero] == []


def test_every_value_leaves_with_all_its_digits(loaded, kind):
    table = loaded.table("every_type")
    out = io.BytesIO()
    writer = FastWriter(out)
    writer.write_dict_records("s", loaded.records(table, order=(table.columns[0].name,)))
    writer.flush()
    out.seek(0)

    record = json.loads(out.readline())["record"]

    for column, case in zip(table.columns[1:], CASES[kind], strict=True):
        if isinstance(case.expected, int | str):
            assert case.expected == record[column.name]


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_is_tried(name):
    rules = RULES[name]
    cases = [*CASES[name], *(CASES["mysql"] if name == "mariadb" else ())]
    tried = {id(rules.find(_reflected(name, case.native))) for case in cases}

    untried = [rule.names for rule in rules.rules if id(rule) not in tried]

    assert untried == []


def _reflected(name, native):
    """A type as the catalog calls it."""
    words = {"timestamptz": "timestamp with time zone", "timetz": "time with time zone"}
    native = native.replace(" NULL", "").partition(" CHARACTER SET")[0]
    return words.get(native.lower(), native) if name == "duckdb" else native


def test_a_column_that_may_not_be_null_says_so(database, kind):
    database.execute("CREATE TABLE strict_one (id INTEGER NOT NULL, n INTEGER, PRIMARY KEY (id))")

    schemas = [dict(column.schema) for column in database.table("strict_one").columns]

    assert [{"type": "integer"}, {"type": ["integer", "null"]}] == schemas


def test_what_has_no_rule_is_text():
    column: Column = mysql_rules().find("no such type")

    assert ("text", False) == (column.kind, column.sortable)


def test_tinyint_of_one_digit_is_true_or_false_when_asked_for(mariadb):
    from ipai_kit.testing.databases import mariadb_database

    with mariadb_database(mariadb) as database:
        database.execute(
            "CREATE TABLE flags (id int PRIMARY KEY, f tinyint(1))",
            "INSERT INTO flags VALUES (1, 0), (2, 5)",
        )
        database.settings = {**database.settings, "tinyint1_as_boolean": True}
        table = database.table("flags")

        assert [False, True] == [row["f"] for row in database.records(table, order=("id",))]
        assert {"type": ["boolean", "null"]} == dict(table.columns[1].schema)
