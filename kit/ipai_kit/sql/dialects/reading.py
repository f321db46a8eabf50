# SPDX-License-Identifier: Apache-2.0
"""What all dialects have in common: a connection, a catalog, rows that become records."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeAlias

from ipai_kit.exceptions import ConnectorError
from ipai_kit.sql.address import Address
from ipai_kit.sql.database import Block, Column, Position, Selection, Table
from ipai_kit.sql.dialects.statements import Compiled, Statements
from ipai_kit.sql.dialects.type_rules import TypeRules
from ipai_kit.sql.dialects.values import Convert
from ipai_kit.sql.patterns import fits

__all__ = ["DialectDatabase", "Row", "first_line", "with_unique_key"]

Row: TypeAlias = Sequence[Any]


class DialectDatabase:
    """A database read through a Python driver; subclasses know the driver and the catalog."""

    default_schema: str = ""
    rules: TypeRules

    def __init__(self, address: Address, settings: Mapping[str, Any]) -> None:
        self.address = address
        self.settings = settings
        self._connection: Any = None
        self._reading = False
        self._beside: DialectDatabase | None = None

    # -- what a dialect supplies ------------------------------------------------------------

    @cached_property
    @abstractmethod
    def statements(self) -> Statements:
        """What writes the selections."""

    @abstractmethod
    def connect(self) -> Any:
        """Return a new connection of the driver, for reading only."""

    @abstractmethod
    def rows(self, connection: Any, statement: Compiled) -> Iterator[Sequence[Row]]:
        """Run a statement and yield its rows some at a time, from a cursor on the server."""

    @abstractmethod
    def catalog(self) -> Sequence[Table]:
        """Return all tables and views but those of the system."""

    @abstractmethod
    def query_columns(self, sql: str) -> Sequence[Column]:
        """Return the columns that a query gives, without running it whole."""

    @cached_property
    @abstractmethod
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that the driver raises."""

    @abstractmethod
    def failure(self, error: Exception) -> ConnectorError:
        """Say what an error of the driver means to the reader."""

    probe = "SELECT 1"

    @property
    def name(self) -> str:
        """The database's own name."""
        return self.address.database

    # -- the seam to the streams ------------------------------------------------------------

    def check(self) -> None:
        """Connect and ask for something small."""
        with self.told():
            self.fetch(self.probe)

    def tables(self, patterns: Sequence[str]) -> Sequence[Table]:
        """Return tables and views whose `schema.name` fits a pattern; all when there is none."""
        with self.told():
            return [one for one in self.catalog() if fits(one.schema, one.name, patterns)]

    def describe(self, schema: str, name: str, sql: str) -> Table:
        """Return what a query of one's own gives, without running it whole."""
        with self.told():
            return Table(schema, name, self.query_columns(sql), kind="query", sql=sql)

    def read(self, selection: Selection) -> Iterator[Block]:
        """Yield the records in blocks."""
        names = list(selection.columns)
        conversions = self._conversions(selection.table, names)
        with self.told():
            for rows in self.run(self.statements.reading(selection)):
                yield Block(len(rows), rows=[_record(names, row, conversions) for row in rows])

    def position(
        self, selection: Selection, *, skip: int = 0, backwards: bool = False
    ) -> Position | None:
        """Return the position of the row after `skip` rows, or of the last row; None if none."""
        statement = self.statements.position(selection, skip=skip, backwards=backwards)
        names = list(selection.order)
        conversions = self._conversions(selection.table, names)
        with self.told():
            found = [row for rows in self.run(statement) for row in rows]
        return tuple(_record(names, found[0], conversions).values()) if found else None

    def another(self) -> DialectDatabase:
        """Return a further connection to the same database."""
        return type(self)(self.address, self.settings)

    def close(self) -> None:
        """Close the connection; it may be used again, which connects anew."""
        connection, self._connection = self._connection, None
        beside, self._beside = self._beside, None
        if connection is not None:
            with contextlib.suppress(*self.errors):
                connection.close()
        if beside is not None:
            beside.close()

    # -- for the dialects -------------------------------------------------------------------

    @property
    def connection(self) -> Any:
        """The connection, made when it is first needed."""
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn errors of the driver into those of the kit; a broken connection is dropped."""
        try:
            yield
        except GeneratorExit:
            self.close()  # the rest of the rows is still on its way
            raise
        except self.errors as error:
            self.close()
            raise self.failure(error) from error

    def fetch(self, sql: str, params: Any = ()) -> list[Row]:
        """Return all rows of a small query."""
        return [row for rows in self.run(Compiled(sql, params)) for row in rows]

    def run(self, statement: Compiled) -> Iterator[Sequence[Row]]:
        """Run a statement; on a second connection while the first one is still being read."""
        if self._reading:
            self._beside = self._beside or self.another()
            yield from self._beside.run(statement)
            return
        self._reading = True
        try:
            yield from self.rows(self.connection, statement)
        finally:
            self._reading = False

    def column(
        self,
        name: str,
        native_type: str,
        *,
        nullable: bool = True,
        comment: str | None = None,
    ) -> Column:
        """Return a column as the rules for its type have it."""
        return Column(
            name,
            native_type,
            self.rules.schema(native_type, nullable=nullable),
            nullable=nullable,
            comment=comment or "",
            sortable=self.rules.find(native_type).sortable,
        )

    def _conversions(self, table: Table, names: Sequence[str]) -> list[tuple[str, Convert]]:
        found = []
        for name in names:
            column = table.column(name)
            native_type = column.native_type if column else ""
            convert = self.rules.find(native_type).conversion(native_type)
            if convert is not None:
                found.append((name, convert))
        return found


def _record(
    names: Sequence[str], row: Row, conversions: Sequence[tuple[str, Convert]]
) -> dict[str, Any]:
    record = dict(zip(names, row, strict=False))
    for name, convert in conversions:
        value = record[name]
        if value is not None:
            record[name] = convert(value)
    return record


def first_line(error: BaseException) -> str:
    """Return what an error says, without the lines of detail below."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def with_unique_key(table: Table) -> Table:
    """Give a table without primary key its smallest unique key without nullable columns."""
    if table.primary_key:
        return table
    nullable = {one.name for one in table.columns if one.nullable}
    usable = [key for key in table.unique_keys if key and not nullable & set(key)]
    return replace(table, primary_key=min(usable, key=len)) if usable else table
