# SPDX-License-Identifier: Apache-2.0
"""The named queries of a queries.sql, and their answers; the database's errors become ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg.rows import class_row, scalar_row

from ipai_orchestrate.control_plane.errors import translate

_Record = TypeVar("_Record")
_NAMED = re.compile(r"^-- (\w+) --\n(.*?)(?=^-- \w+ --$|\Z)", re.MULTILINE | re.DOTALL)


def load_queries(text: str | None = None) -> dict[str, LiteralString]:
    """Return the queries by name; the text is part of this package, hence as literal as code."""
    source = text or files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    return {name: cast("LiteralString", body.strip()) for name, body in _NAMED.findall(source)}


def fetch_records(
    connection: psycopg.Connection[Any],
    record: type[_Record],
    query: LiteralString,
    arguments: Mapping[str, Any],
) -> list[_Record]:
    """Every row as a record."""
    try:
        with connection.cursor(row_factory=class_row(record)) as cursor:
            return cursor.execute(query, arguments).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error


def fetch_values(
    connection: psycopg.Connection[Any], query: LiteralString, arguments: Mapping[str, Any]
) -> list[Any]:
    """The first column of every row."""
    try:
        with connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(query, arguments).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error


def fetch_value(
    connection: psycopg.Connection[Any], query: LiteralString, arguments: Mapping[str, Any]
) -> Any:
    """The first column of the first row; None without a row."""
    return next(iter(fetch_values(connection, query, arguments)), None)
