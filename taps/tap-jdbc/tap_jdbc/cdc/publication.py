# SPDX-License-Identifier: Apache-2.0
"""The publication: which tables' changes the log gives, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg import sql

from ipai_kit.exceptions import (
    ConfigurationError,
    CredentialsError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.database import Table
from ipai_kit.waiting import Waiting
from tap_jdbc.cdc.session import LogSession

__all__ = ["Publication", "unreadable"]

_WRITERS_SECONDS: Final = 600
_KINDS: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


class Publication:
    """The publication of one slot."""

    def __init__(self, session: LogSession, name: str) -> None:
        self._session = session
        self.name = name

    def ensure(self, tables: Mapping[int, Table]) -> dict[int, int]:
        """Have it hold these tables; return what tells one membership of a table from another.

        A table that left and came back was not followed meanwhile: its membership is another one.
        """
        members = self._members()
        missing = [table for oid, table in tables.items() if members is None or oid not in members]
        if missing or members is None:
            self._add(missing, is_new=members is None)
            members = self._members() or {}
        if lacking := [table.full_name for oid, table in tables.items() if oid not in members]:
            message = f"The publication {self.name!r} does not give the changes of {lacking}."
            raise ConfigurationError(
                message, next_step="Choose another name, for one of our own: 'cdc_publication'."
            )
        return {oid: members[oid] for oid in tables}

    def drop(self) -> None:
        """Remove it."""
        self._session.execute(sql.SQL("drop publication if exists {}").format(self._identifier))

    def await_writers(self, oids: Sequence[int], waiting: Waiting) -> None:
        """Wait until what changed these tables before now is over, and so in every snapshot.

        Their changes came before the publication and are not in the log that we get.
        """
        writers = self._writers(oids)
        until = waiting.monotonic() + _WRITERS_SECONDS
        while writers:
            if waiting.monotonic() > until:
                message = f"Transactions that write to new tables do not end: {sorted(writers)}."
                raise TryAgainLaterError(message, next_step="See pg_locks and pg_stat_activity.")
            waiting.sleep(0.2)
            writers &= self._writers(oids)

    def _writers(self, oids: Sequence[int]) -> set[str]:
        return {name for (name,) in self._session.rows("writers", tables=list(oids))}

    def _members(self) -> dict[int, int] | None:
        found = self._session.rows("publication", publication=self.name)
        if not found:
            return None
        number, _, publishes_all, _ = found[0]
        if not publishes_all:
            message = f"The publication {self.name!r} leaves out kinds of changes."
            raise ConfigurationError(
                message,
                next_step="Set publish = 'insert, update, delete, truncate' on it, or choose "
                "another name: 'cdc_publication'.",
            )
        rows = self._session.rows("members", publication=self.name)
        return {oid: member if member >= 0 else number for oid, member in rows}

    def _add(self, tables: Sequence[Table], *, is_new: bool) -> None:
        names = sql.SQL(", ").join(_named(one) for one in tables)
        if is_new:
            text = "create publication {} for table {} with (publish_via_partition_root = true)"
        else:
            text = "alter publication {} add table {}"
        statement = sql.SQL(text).format(self._identifier, names)
        try:
            self._session.execute(statement)
        except CredentialsError as error:
            raise CredentialsError(
                error.message,
                next_step=f"Let the tables' owner run: {statement.as_string()};",
            ) from error

    @property
    def _identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)


def _named(table: Table) -> sql.Composable:
    """The table without its heirs, which have no key of their own: their updates would fail."""
    name = sql.Identifier(table.schema, table.name)
    return sql.SQL("only {}").format(name) if table.has_heirs else name


def unreadable(
    table: Table, keys: Sequence[str], session: LogSession, publication: str
) -> StreamUnavailableError | None:
    """Return why a table's changes cannot be followed; None when they can.

    A table without replica identity must never be published: the source's own updates would fail.
    """
    rows = session.rows("tables", tables=[table.native_id], publication=publication)
    if not rows:
        return StreamUnavailableError(
            f"The table {table.full_name!r} is gone.", next_step="Run discovery again."
        )
    _, kind, persistence, identity, hides_rows, identifying, *published = rows[0]
    name = f'"{table.schema}"."{table.name}"'
    if kind in _KINDS or persistence != "p":
        what = _KINDS.get(kind, "a table that is not logged")
        return StreamUnavailableError(
            f"{table.full_name!r} is {what}, whose changes no log holds.",
            next_step="Read it with another replication method.",
        )
    if hides_rows:
        return StreamUnavailableError(
            f"Row security hides rows of {table.full_name!r} from this role, not from the log.",
            next_step="Run: alter role … bypassrls;",
        )
    if not keys:
        return StreamUnavailableError(
            f"The table {table.full_name!r} has no key, by which changes could be told apart.",
            next_step="Add a primary key, or name columns in 'key' of this stream and run: "
            f"alter table {name} replica identity full;",
        )
    if identity != "f" and not set(keys) <= set(identifying):
        return StreamUnavailableError(
            f"The log of {table.full_name!r} does not name the rows that are changed by their "
            f"key {list(keys)}.",
            next_step="Add a primary key, or run: alter table "
            f"{name} replica identity using index …; (or full)",
        )
    return _left_out(table, publication, *published)


def _left_out(
    table: Table, publication: str, by_partition: bool, is_filtered: bool, unlisted: Sequence[str]
) -> StreamUnavailableError | None:
    """Return what a publication that somebody else has made keeps from us."""
    whole = f"Run: alter publication {publication} drop table …; and add it without conditions."
    if by_partition:
        return StreamUnavailableError(
            f"The publication {publication!r} gives the changes of {table.full_name!r} as those "
            "of its partitions.",
            next_step=f"Run: alter publication {publication} set "
            "(publish_via_partition_root = true);",
        )
    if is_filtered:
        return StreamUnavailableError(
            f"The publication {publication!r} filters the rows of {table.full_name!r}.",
            next_step=whole,
        )
    if unlisted:
        return StreamUnavailableError(
            f"The publication {publication!r} leaves out columns of {table.full_name!r}: "
            f"{list(unlisted)}.",
            next_step=f"{whole} Or let the role not see these columns either.",
        )
    return None
