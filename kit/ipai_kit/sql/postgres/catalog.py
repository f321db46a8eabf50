# SPDX-License-Identifier: Apache-2.0
"""What a PostgreSQL database holds: two queries for any number of tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal

import psycopg

from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.patterns import fits
from ipai_kit.sql.postgres.values import ColumnType

__all__ = ["Catalog", "query"]

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_VIEWS = ("v", "m")


@cache
def _queries() -> dict[str, str]:
    text = resources.files(__package__).joinpath("catalog.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    bodies = [body.strip().rstrip(";") for body in parts[1::2]]
    return dict(zip(parts[::2], bodies, strict=True))


def query(name: str) -> str:
    """Return a query from catalog.sql."""
    return _queries()[name]


class Catalog:
    """Tables as found, and the types of their columns, which reading needs."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def tables(self, patterns: Sequence[str]) -> list[tuple[Table, dict[str, ColumnType]]]:
        """Return the tables that fit, each with the types of its columns."""
        found = [
            row
            for row in self._connection.execute(query("tables").encode()).fetchall()
            if fits(row[1], row[2], patterns)
        ]
        numbers = {"tables": [row[0] for row in found]}
        columns, types = self._columns(numbers)
        keys = self._keys(numbers)
        return [(_table(row, columns[row[0]], keys[row[0]]), types[row[0]]) for row in found]

    def _columns(
        self, numbers: Mapping[str, Any]
    ) -> tuple[dict[int, list[Column]], dict[int, dict[str, ColumnType]]]:
        columns: dict[int, list[Column]] = defaultdict(list)
        types: dict[int, dict[str, ColumnType]] = defaultdict(dict)
        rows = self._connection.execute(query("columns").encode(), numbers).fetchall()
        for table, name, native, strict, comment, *about in rows:
            kind = column_type(native, *about)
            types[table][name] = kind
            columns[table].append(make_column(name, kind, nullable=not strict, comment=comment))
        return columns, types

    def _keys(self, numbers: Mapping[str, Any]) -> dict[int, list[tuple[bool, list[str], bool]]]:
        keys: dict[int, list[tuple[bool, list[str], bool]]] = defaultdict(list)
        rows = self._connection.execute(query("keys").encode(), numbers).fetchall()
        for table, is_primary, names, strict in rows:
            keys[table].append((is_primary, names, strict))
        return keys


def column_type(
    native: str,
    oid: int,
    name: str,
    kind: str,
    element_oid: int | None,
    element_name: str | None,
    element_kind: str | None,
) -> ColumnType:
    """Build the type of a column from the catalog's row."""
    element = None
    if element_oid is not None:
        element = ColumnType(str(element_name), element_oid, str(element_name), str(element_kind))
    return ColumnType(native, oid, name, kind, element)


def make_column(name: str, kind: ColumnType, *, nullable: bool, comment: str = "") -> Column:
    """Build a column whose schema carries its comment and its type's name."""
    schema = kind.nullable_schema(nullable=nullable)
    if comment:
        schema["description"] = comment
    schema["x-sql-type"] = kind.native
    return Column(name, kind.native, schema, nullable, comment, kind.sortable)


def _table(
    row: Sequence[Any], columns: Sequence[Column], keys: Sequence[tuple[bool, list[str], bool]]
) -> Table:
    number, schema, name, kind, comment, estimate, readable, identity, has_heirs = row
    visible = {column.name for column in columns}
    usable = [names for is_primary, names, strict in keys if is_primary or strict]
    usable = [names for names in usable if visible.issuperset(names)]
    what: Literal["table", "view"] = "view" if kind in _VIEWS else "table"
    return Table(
        schema,
        name,
        tuple(columns),
        kind=what,
        primary_key=tuple(usable[0]) if usable else (),
        unique_keys=tuple(tuple(names) for is_primary, names, _ in keys if not is_primary),
        comment=comment,
        row_estimate=estimate,
        readable=readable and bool(columns),
        native_id=number,
        has_heirs=has_heirs,
        replica_identity={"d": "default", "f": "full", "i": "index", "n": "nothing"}[identity],
    )
