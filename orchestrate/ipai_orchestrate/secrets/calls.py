# SPDX-License-Identifier: Apache-2.0
"""Runs the named queries of this package and turns what the database raises into our errors."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row, scalar_row

from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.control_plane.queries import load_queries

Connection = psycopg.Connection[Any]
_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_Record = TypeVar("_Record")


def rows(
    connection: Connection, record: type[_Record], query: str, arguments: Mapping[str, Any]
) -> list[_Record]:
    """All rows of a query."""
    try:
        with connection.cursor(row_factory=class_row(record)) as cursor:
            return cursor.execute(_QUERIES[query], arguments).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error


def value(connection: Connection, query: str, arguments: Mapping[str, Any]) -> Any:
    """The single value of a query."""
    try:
        with connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(_QUERIES[query], arguments).fetchone()
    except psycopg.Error as error:
        raise translate(error) from error
