# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL as a source: the server writes each row as JSON, COPY brings the bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.address import Address
from ipai_kit.sql.database import Block, Database, Position, Selection, Table
from ipai_kit.sql.postgres.catalog import Catalog, column_type, make_column, query
from ipai_kit.sql.postgres.columnar import columnar
from ipai_kit.sql.postgres.connection import SESSION, connect
from ipai_kit.sql.postgres.copying import copy_lines
from ipai_kit.sql.postgres.failures import statement_failure
from ipai_kit.sql.postgres.statement import select_positions, select_rows
from ipai_kit.sql.postgres.values import ColumnType

__all__ = ["PostgresDatabase"]

_TableKey = tuple[str, str]


def _never() -> None:
    """Check nothing."""


class PostgresDatabase:
    """One connection, opened at the first question and again after a failure."""

    default_schema = "public"

    def __init__(
        self,
        address: Address,
        *,
        allow_insecure: bool = False,
        check: Callable[[], None] = _never,
    ) -> None:
        self.address = address
        self.allow_insecure = allow_insecure
        self.while_waiting = check
        self._connection: psycopg.Connection[Any] | None = None
        self._types: dict[_TableKey, dict[str, ColumnType]] = {}

    @property
    def name(self) -> str:
        """The database's own name."""
        return self.address.database or self.address.user

    # -- the catalog ------------------------------------------------------------------------

    def check(self) -> None:
        """Connect, and ask who and where we are."""
        with self._transaction("the server") as connection:
            connection.execute("select 1")

    def tables(self, patterns: Sequence[str]) -> Sequence[Table]:
        """Return tables and views that fit the patterns."""
        with self._transaction("the catalog") as connection:
            found = Catalog(connection).tables(patterns)
        for table, types in found:
            self._types[table.schema, table.name] = types
        return [table for table, _ in found]

    def describe(self, schema: str, name: str, sql: str) -> Table:
        """Return what a query gives; the server plans it but reads nothing."""
        with self._transaction(name) as connection:
            # The text is the operator's own, from the settings; the transaction only reads.
            shape = f"select * from ({sql}\n) as q limit 0"  # noqa: S608
            result = connection.execute(shape.encode())
            given = result.description or ()
            modifiers = [
                result.pgresult.fmod(n) if result.pgresult else -1 for n in range(len(given))
            ]
            values = {"types": [one.type_code for one in given], "modifiers": modifiers}
            rows = connection.execute(query("types").encode(), values).fetchall()
        types = {
            given[place - 1].name: column_type(native, *about) for place, native, *about in rows
        }
        if len(types) != len(given):
            message = f"The query of {name!r} gives two columns of one name."
            raise ConfigurationError(message, stream=name, next_step="Name them with 'as'.")
        columns = [make_column(one, kind, nullable=True) for one, kind in types.items()]
        self._types[schema, name] = types
        return Table(schema, name, tuple(columns), kind="query", sql=sql)

    # -- reading ----------------------------------------------------------------------------

    def read(self, selection: Selection) -> Iterator[Block]:
        """Yield blocks of JSON lines as the server sends them."""
        text = select_rows(selection, self.types_of(selection.table))
        with self._transaction(selection.table.full_name) as connection:
            for count, lines in copy_lines(connection, text, self.while_waiting):
                yield Block(count, lines)

    def in_columns(self) -> Database | None:
        """Return this database read by ADBC, if that is installed."""
        return columnar(self)

    def position(
        self, selection: Selection, *, skip: int = 0, backwards: bool = False
    ) -> Position | None:
        """Return the position of the row after `skip` rows, or counted from the end."""
        types = self.types_of(selection.table)
        text = select_positions(selection, types, skip=skip, backwards=backwards)
        with self._transaction(selection.table.full_name) as connection:
            lines = b"".join(lines for _, lines in copy_lines(connection, text, self.while_waiting))
        if not lines:
            return None
        record = msgspec.json.decode(lines)
        return tuple(record[name] for name in selection.order)

    def fetch(self, text: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Return the rows of a small query, e.g. one of the catalog."""
        with self._transaction("a query") as connection:
            return connection.execute(text.encode(), values).fetchall()

    def types_of(self, table: Table) -> dict[str, ColumnType]:
        """Return the types of a table's columns, from the catalog if they are not known yet."""
        key = table.schema, table.name
        if key not in self._types:
            if table.sql:
                self.describe(table.schema, table.name, table.sql)
            else:
                self.tables([f"{_literal(table.schema)}.{_literal(table.name)}"])
        if key not in self._types:
            message = f"The table {table.full_name!r} is gone."
            raise ConfigurationError(message, next_step="Run discovery again.")
        return self._types[key]

    # -- the connection ---------------------------------------------------------------------

    def another(self) -> PostgresDatabase:
        """Return a further connection to the same database."""
        twin = PostgresDatabase(
            self.address, allow_insecure=self.allow_insecure, check=self.while_waiting
        )
        twin._types = self._types
        return twin

    def close(self) -> None:
        """Close the connection; the next question opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _transaction(self, table: str) -> Iterator[psycopg.Connection[Any]]:
        """Run a block in a transaction that only reads; a failure gives up the connection."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self.address, allow_insecure=self.allow_insecure)
        connection = self._connection
        done = False
        try:
            connection.execute(SESSION)
            yield connection
            connection.execute("commit")
            done = True
        except psycopg.Error as error:
            raise statement_failure(error, table, None) from error
        finally:
            if not done:
                self.close()  # what was under way, perhaps a COPY, ends with its connection


def _literal(text: str) -> str:
    """A pattern that means this text alone."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)
