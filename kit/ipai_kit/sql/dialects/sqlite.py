# SPDX-License-Identifier: Apache-2.0
"""SQLite files, opened for reading only; values keep the types they are stored with."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.dialects.queries import queries
from ipai_kit.sql.dialects.reading import DialectDatabase, Row, with_unique_key
from ipai_kit.sql.dialects.sqlite_types import SQLITE_RULES
from ipai_kit.sql.dialects.statements import Compiled, Statements

__all__ = ["SQLiteDatabase"]

_BLOCK_ROWS = 1000
_WAIT_SECONDS = 30.0


class SQLiteDatabase(DialectDatabase):
    """One SQLite file."""

    default_schema = "main"
    rules = SQLITE_RULES

    @cached_property
    def statements(self) -> Statements:
        """What writes the selections."""
        return Statements(SQLiteDialect_pysqlite(), self.rules, compares_rows=True)

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that the driver raises."""
        return (sqlite3.Error,)

    def connect(self) -> sqlite3.Connection:
        """Open the file for reading."""
        path = Path(self.address.database).absolute()
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_WAIT_SECONDS,
        )
        connection.text_factory = _text
        return connection

    def rows(self, connection: Any, statement: Compiled) -> Iterator[Sequence[Row]]:
        """Run a statement and yield its rows as SQLite finds them."""
        cursor = connection.execute(statement.text, statement.params)
        try:
            while found := cursor.fetchmany(_BLOCK_ROWS):
                yield found
        finally:
            cursor.close()

    def catalog(self) -> Sequence[Table]:
        """Return the tables and views of the file."""
        columns: dict[str, list[Column]] = defaultdict(list)
        primary: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for table, name, declared, not_null, place in self._ask("columns"):
            columns[table].append(self._declared(name, declared, nullable=not (not_null or place)))
            if place:
                primary[table].append((place, name))
        unique, estimates = self._unique_keys(), self._estimates()
        found = []
        for name, kind in self._ask("tables"):
            table = Table(
                self.default_schema,
                name,
                columns[name],
                kind="view" if kind == "view" else "table",
                primary_key=tuple(column for _, column in sorted(primary[name])),
                unique_keys=tuple(unique.get(name, ())),
                row_estimate=estimates.get(name),
            )
            table = with_unique_key(table)
            found.append(table if self._has_places(table) else replace(table, primary_key=()))
        return found

    def query_columns(self, sql: str) -> Sequence[Column]:
        """Return the columns that a query gives, from a view that only this connection sees."""
        connection = self.connection
        connection.execute("DROP VIEW IF EXISTS temp.described_query")
        connection.execute(f"CREATE TEMP VIEW described_query AS {sql.strip().rstrip(';')}")
        try:
            rows = connection.execute(
                "SELECT name, type FROM pragma_table_xinfo('described_query')"
            )
            return [self._declared(name, declared, nullable=True) for name, declared in rows]
        finally:
            connection.execute("DROP VIEW temp.described_query")

    def failure(self, error: Exception) -> ConnectorError:
        """Say what an error of the driver means to the reader."""
        message = f"{self.address.shown} answers: {error}."
        text = str(error)
        if "locked" in text or "busy" in text:
            return TryAgainLaterError(message, next_step="Another process is writing: run again.")
        if "no such table" in text or "no such column" in text:
            return StreamUnavailableError(message, next_step="Discover the tables again.")
        return ConfigurationError(message, next_step="Check the path, the query and condition.")

    def _declared(self, name: str, declared: str, *, nullable: bool) -> Column:
        return self.column(name, declared.lower(), nullable=nullable)

    def _ask(self, name: str) -> list[Row]:
        return self.fetch(queries("sqlite.sql")[name])

    def _has_places(self, table: Table) -> bool:
        """Say whether each row has a key by which it can be found again.

        SQLite lets keys be null, and a column hold text beside bytes, which do not compare.
        """
        strange = []
        for name in table.primary_key:
            column = table.column(name)
            sign = "<" if column and "blob" in column.native_type else ">="
            quoted = _quoted(name)
            strange.append(f"{quoted} IS NULL OR {quoted} {sign} x''")
        if not strange:
            return True
        name, where = _quoted(table.name), " OR ".join(strange)
        return not self.fetch(f"SELECT 1 FROM {name} WHERE {where} LIMIT 1")  # noqa: S608

    def _unique_keys(self) -> Mapping[str, list[tuple[str, ...]]]:
        parts: dict[tuple[str, str], list[str | None]] = defaultdict(list)
        for table, index, column in self._ask("keys"):
            parts[table, index].append(column)
        found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for (table, _), columns in parts.items():
            if None not in columns:  # an expression
                found[table].append(tuple(str(one) for one in columns))
        return found

    def _estimates(self) -> Mapping[str, int]:
        """Return what ANALYZE has counted, if it ever ran."""
        if not self._ask("has_statistics"):
            return {}
        return {table: int(str(text).split()[0]) for table, text in self._ask("statistics")}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: bytes) -> str:
    r"""Read text; bytes that are none are shown as `\xff` instead of failing the table."""
    return value.decode("utf-8", "backslashreplace")
