# SPDX-License-Identifier: Apache-2.0
"""What a SQL source offers, whatever the database: the seam between dialects and streams.

A dialect implements `Database`; a stream asks it for tables and for blocks of records. Values in
records follow one contract for all databases (docs/databases.md): exact integers, decimals as
text, timestamps as ISO text, binary as base64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

__all__ = ["Block", "Column", "Columnar", "Database", "Position", "Selection", "Table"]

Position = tuple[Any, ...]
"""Values of the ordering columns of one row, as they stand in its record."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column and the JSON Schema of its values."""

    name: str
    native_type: str
    """As the database writes it, e.g. `numeric(38,20)`."""
    schema: Mapping[str, Any]
    """JSON Schema fragment; null is allowed when the column is nullable."""
    nullable: bool = True
    comment: str = ""
    sortable: bool = True
    """Whether `order by` and comparison agree with time or counting, so that it may be a cursor."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view, or a query of one's own (`sql`)."""

    schema: str
    name: str
    columns: Sequence[Column]
    kind: Literal["table", "view", "query"] = "table"
    primary_key: Sequence[str] = ()
    """The primary key, or else the smallest unique key without nullable columns."""
    unique_keys: Sequence[Sequence[str]] = ()
    comment: str = ""
    row_estimate: int | None = None
    """What the database's statistics say; None when it does not know."""
    readable: bool = True
    """Whether this user may select from it."""
    native_id: int | str | None = None
    """The database's own id, e.g. the oid."""
    has_heirs: bool = False
    """PostgreSQL: tables inherit from it, streams of their own; only its own rows are read."""
    replica_identity: str = ""
    """PostgreSQL: `default`, `full`, `index`, `nothing`; MariaDB and MySQL: `binlog`."""
    sql: str = ""
    """The text of a query of one's own."""

    @property
    def full_name(self) -> str:
        """The name for people, e.g. `public.orders`."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def column(self, name: str) -> Column | None:
        """Return a column by name."""
        return next((one for one in self.columns if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read: columns of a table, the rows between two positions, in which order.

    Positions compare row by row, `(a, b) > (x, y)`, over the columns in `order`.
    """

    table: Table
    columns: Sequence[str]
    order: Sequence[str] = ()
    """Ascending; empty where the order does not matter."""
    after: Position | None = None
    """Only rows beyond this position, without it."""
    until: Position | None = None
    """Only rows up to this position, with it."""
    since: Any = None
    """Only rows whose first ordering column is this value or greater."""
    null: str | None = None
    """Only rows in which this column is null."""
    not_null: str | None = None
    """Only rows in which this column is not null."""
    where: str = ""
    """A condition in the database's own SQL, from the settings."""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Some records: JSON objects in bytes, one a line, or Python values, or columns."""

    count: int
    lines: bytes = b""
    """JSON objects, each followed by one newline; there is no other newline."""
    rows: Sequence[dict[str, Any]] = field(default=())
    """Values that the writer can encode: numbers, text, lists, dicts; see the value contract."""
    batch: Any = None
    """A record batch of Arrow."""


class Database(Protocol):
    """A connection to one database; used by one thread at a time."""

    default_schema: str

    @property
    def name(self) -> str:
        """The database's own name."""
        ...

    def check(self) -> None:
        """Connect and ask for something small; raises a ConnectorError that says what to do."""
        ...

    def tables(self, patterns: Sequence[str]) -> Sequence[Table]:
        """Return tables and views whose `schema.name` fits a pattern; all when there is none.

        Patterns are shell-like (`sales.*`, `*.order?`); a name without a dot is of any schema.
        System schemas are left out.
        """
        ...

    def describe(self, schema: str, name: str, sql: str) -> Table:
        """Return what a query of one's own gives, without running it whole."""
        ...

    def read(self, selection: Selection) -> Iterator[Block]:
        """Yield the records in blocks, from a cursor on the server: memory stays small."""
        ...

    def position(
        self, selection: Selection, *, skip: int = 0, backwards: bool = False
    ) -> Position | None:
        """Return the position of the row after `skip` rows, or of the last row; None if none."""
        ...

    def another(self) -> Database:
        """Return a further connection to the same database."""
        ...

    def close(self) -> None:
        """Close the connection; it may be used again, which connects anew."""
        ...


@runtime_checkable
class Columnar(Protocol):
    """A database that can give blocks of columns as well."""

    def in_columns(self) -> Database | None:
        """Return the same database read in columns; None if what that needs is not installed."""
        ...
