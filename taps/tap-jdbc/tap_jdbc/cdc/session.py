# SPDX-License-Identifier: Apache-2.0
"""One session with the source for the whole run: its slot's copy ends with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg import errors, sql

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    TryAgainLaterError,
)
from ipai_kit.sql.postgres.failures import is_passing
from tap_jdbc.cdc.exceptions import SlotLostError
from tap_jdbc.cdc.statements import statement

__all__ = ["LogSession", "shown_position"]

_SETTINGS: Final = (
    "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; "
    "set extra_float_digits = 1; set bytea_output = 'hex'; set client_encoding = 'UTF8'; "
    "set statement_timeout = 0; set search_path = pg_catalog"
)
_FILE_HEAD: Final = 19
"""Bytes of the head of a binary COPY."""
_EMPTY_ROW: Final = 6


class LogSession:
    """Statements of one connection; their failures say what to do."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._run(_SETTINGS.encode())

    def rows(self, name: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement by name."""
        return self._run(statement(name), values).fetchall()

    def value(self, name: str, **values: Any) -> Any:
        """Return the first value of a statement by name."""
        return self.rows(name, **values)[0][0]

    def execute(self, text: sql.Composable) -> None:
        """Run a statement that was put together."""
        self._run(text)

    def messages(self, slot: str, publication: str, limit: int, until: int) -> Iterator[bytes]:
        """Yield what a slot has, each in its row of binary COPY, and move the slot on."""
        query = sql.SQL(
            "copy (select data from pg_catalog.pg_logical_slot_get_binary_changes({}, {}, {}, "
            "'proto_version', '1', 'publication_names', {})) to stdout (format binary)"
        ).format(slot, shown_position(until), limit, _quoted_publication(publication))
        try:
            with self.connection.cursor() as cursor, cursor.copy(query) as copy:
                for part in copy:
                    row = bytes(part)
                    if row.startswith(b"PGCOPY\n"):
                        row = row[_FILE_HEAD:]
                    if len(row) > _EMPTY_ROW:
                        yield row
        except psycopg.Error as error:
            raise _failure(error) from error

    def close(self) -> None:
        """End the session, and with it the slot's copy."""
        self.connection.close()

    def _run(self, text: Any, values: Any = None) -> psycopg.Cursor[Any]:
        try:
            return self.connection.execute(text, values or None)
        except psycopg.Error as error:
            raise _failure(error) from error


def shown_position(position: int) -> str:
    """A position as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _quoted_publication(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _failure(error: psycopg.Error) -> ConnectorError:
    text = error.diag.message_primary or str(error).strip()
    if isinstance(error, errors.InsufficientPrivilege):
        if "replication" in text.lower():
            return CredentialsError(
                f"The database refuses to read its log: {text!r}.",
                next_step="Give the role the attribute REPLICATION: alter role … replication.",
            )
        return CredentialsError(
            f"The database refuses a statement of change data capture: {text!r}.",
            next_step="Let the tables' owner make the publication, see docs/cdc.md.",
        )
    if isinstance(error, errors.ObjectInUse):
        return TryAgainLaterError(
            f"The replication slot is in use: {text!r}.",
            next_step="Wait for the other reader, or give this source a slot of its own.",
        )
    if isinstance(error, errors.ConfigurationLimitExceeded):
        return ConfigurationError(
            f"The server has no room for another replication slot: {text!r}.",
            next_step="Raise max_replication_slots (a run needs one more), or drop unused slots.",
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return ConfigurationError(
            "This server is a replica, where no publication can be made.",
            next_step="Make the publication on its primary, see docs/cdc.md.",
        )
    if isinstance(error, errors.ObjectNotInPrerequisiteState | errors.UndefinedObject):
        return SlotLostError(f"The log cannot be read from where it was left: {text!r}.")
    if is_passing(error):
        return TryAgainLaterError(
            f"The database broke off while its log was read: {text!r}.",
            for_all=True,
            next_step="Run again; what was delivered is kept.",
        )
    return InternalError(
        f"The database does not understand a statement of change data capture: {text!r}.",
        next_step="Report it with the version of the server.",
    )
