# SPDX-License-Identifier: Apache-2.0
"""docs/databases.md shows the rules that are in force; run as a program, this file writes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ipai_kit.sql.dialects.duckdb_types import DUCKDB_RULES
from ipai_kit.sql.dialects.jdbc_types import JDBC_RULES
from ipai_kit.sql.dialects.mssql import MSSQL_RULES
from ipai_kit.sql.dialects.mysql_types import mysql_rules
from ipai_kit.sql.dialects.oracle import ORACLE_RULES
from ipai_kit.sql.dialects.sqlite_types import SQLITE_RULES
from ipai_kit.sql.dialects.type_tables import type_table
from ipai_kit.sql.postgres.values import ColumnType

PAGE = Path(__file__).resolve().parents[3] / "docs" / "databases.md"
BLOCK = re.compile(r"<!-- types: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)
RULES = {
    "mysql": mysql_rules(tinyint1_as_boolean=True).rules,
    "sqlite": SQLITE_RULES.rules,
    "duckdb": DUCKDB_RULES.rules,
    "mssql": MSSQL_RULES.rules,
    "oracle": ORACLE_RULES.rules,
    "jdbc": tuple(JDBC_RULES.values()),
}
POSTGRES = {
    "integer": {"type": "integer"},
    "number": {"type": ["number", "string"]},
    "string, `x-singer.decimal`": {"type": "string", "format": "x-singer.decimal"},
    "boolean": {"type": "boolean"},
    "string, `date`": {"type": "string", "format": "date"},
    "string, `date-time`, `…+00:00`": {"type": "string", "format": "date-time"},
    "string, `uuid`": {"type": "string", "format": "uuid"},
    "string, base64": {"type": "string", "contentEncoding": "base64"},
    "any JSON": {"type": ["object", "array", "string", "number", "boolean", "null"]},
    "string": {"type": "string"},
}


def written(text):
    return BLOCK.sub(
        lambda found: f"<!-- types: {found[1]} -->\n{type_table(RULES[found[1]])}\n<!-- end -->",
        text,
    )


def test_the_page_shows_the_rules():
    text = PAGE.read_text(encoding="utf-8")

    assert set(RULES) == {name for name, _ in BLOCK.findall(text)}
    assert written(text) == text


def rows():
    section = PAGE.read_text(encoding="utf-8").partition("## PostgreSQL")[2].partition("\n## ")[0]
    found = re.findall(r"^\| ([a-z0-9, ]+) \| ([^|;]+?)(?:;[^|]*)? \|", section, re.MULTILINE)
    return [
        (name, shown) for names, shown in found if shown in POSTGRES for name in names.split(", ")
    ]


@pytest.mark.parametrize(("name", "shown"), rows())
def test_the_page_shows_the_types_of_postgresql(name, shown):
    assert POSTGRES[shown] == ColumnType(name, 1, name).schema


def test_the_page_shows_most_types_of_postgresql():
    assert len(rows()) > 20


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
