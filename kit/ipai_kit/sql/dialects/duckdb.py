# SPDX-License-Identifier: Apache-2.0
"""DuckDB files, opened for reading only, with rows streamed as they are found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy.engine.default import DefaultDialect

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.dialects.duckdb_types import DUCKDB_RULES
from ipai_kit.sql.dialects.queries import queries
from ipai_kit.sql.dialects.reading import DialectDatabase, Row, first_line, with_unique_key
from ipai_kit.sql.dialects.statements import Compiled, Statements

__all__ = ["DuckDBDatabase"]

_BLOCK_ROWS = 1000
_MEMORY = "256MB"  # sorting beyond that goes to disk


class DuckDBDatabase(DialectDatabase):
    """One DuckDB file."""

    default_schema = "main"
    rules = DUCKDB_RULES

    @cached_property
    def statements(self) -> Statements:
        """What writes the selections."""
        return Statements(DefaultDialect(paramstyle="qmark"), self.rules)

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that the driver raises."""
        return (duckdb.Error,)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open the file for reading, in UTC."""
        path = Path(self.address.database)
        if not path.is_file():
            message = f"There is no DuckDB file {str(path)!r}."
            raise ConfigurationError(message, next_step="Check the path in the URL.")
        options: dict[str, Any] = {"memory_limit": _MEMORY, **self.address.options}
        connection = duckdb.connect(str(path), read_only=True, config=options)
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def rows(self, connection: Any, statement: Compiled) -> Iterator[Sequence[Row]]:
        """Run a statement and yield its rows."""
        cursor = connection.execute(statement.text, list(statement.params))
        while found := cursor.fetchmany(_BLOCK_ROWS):
            yield found

    def catalog(self) -> Sequence[Table]:
        """Return the tables and views of the file."""
        columns: dict[tuple[str, str], list[Column]] = defaultdict(list)
        for schema, table, name, native_type, nullable, comment in self._ask("columns"):
            columns[schema, table].append(
                self.column(name, native_type, nullable=bool(nullable), comment=comment)
            )
        primary: dict[tuple[str, str], tuple[str, ...]] = {}
        unique: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
        for schema, table, kind, names in self._ask("keys"):
            unique[schema, table].append(tuple(names))
            if kind == "PRIMARY KEY":
                primary[schema, table] = tuple(names)
        return [
            with_unique_key(
                Table(
                    schema,
                    name,
                    columns[schema, name],
                    kind=kind,
                    primary_key=primary.get((schema, name), ()),
                    unique_keys=tuple(unique[schema, name]),
                    comment=comment or "",
                    row_estimate=estimate,
                )
            )
            for schema, name, kind, estimate, comment in self._ask("tables")
        ]

    def query_columns(self, sql: str) -> Sequence[Column]:
        """Return the columns that a query gives."""
        rows = self.fetch(f"DESCRIBE {sql.strip().rstrip(';')}")
        return [self.column(name, native_type) for name, native_type, *_ in rows]

    def failure(self, error: Exception) -> ConnectorError:
        """Say what an error of the driver means to the reader."""
        message = f"{self.address.shown} answers: {first_line(error)}."
        if isinstance(error, duckdb.CatalogException):
            return StreamUnavailableError(message, next_step="Discover the tables again.")
        if isinstance(error, duckdb.IOException) and "lock" in str(error).lower():
            return TryAgainLaterError(message, next_step="Another process is writing: run again.")
        return ConfigurationError(message, next_step="Check the path, the query and condition.")

    def _ask(self, name: str) -> list[Row]:
        return self.fetch(queries("duckdb.sql")[name])
