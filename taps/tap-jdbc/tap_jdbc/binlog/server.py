# SPDX-License-Identifier: Apache-2.0
"""What the server says of its binary log: whether it can be followed, where it is, what is kept."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pymysql

from ipai_kit.exceptions import ConfigurationError, CredentialsError, TryAgainLaterError
from ipai_kit.sql.dialects.mysql import MySQLDatabase
from ipai_kit.waiting import Waiting
from tap_jdbc.binlog.exceptions import LogLostError

__all__ = ["LogServer", "Place", "lsn_of"]

_NEEDED: Final[Mapping[str, tuple[str, str]]] = {
    "log_bin": ("ON", "Start the server with --log-bin."),
    "binlog_format": ("ROW", "Run: SET GLOBAL binlog_format = ROW; and reconnect all writers."),
    "binlog_row_image": ("FULL", "Run: SET GLOBAL binlog_row_image = FULL;"),
    "binlog_row_metadata": ("FULL", "Run: SET GLOBAL binlog_row_metadata = FULL;"),
    "log_bin_compress": ("OFF", "Run: SET GLOBAL log_bin_compress = OFF;"),
    "binlog_transaction_compression": ("OFF", "Set binlog_transaction_compression = OFF."),
    "binlog_row_value_options": ("", "Run: SET GLOBAL binlog_row_value_options = '';"),
}
_ALWAYS: Final = ("log_bin", "binlog_format", "binlog_row_image", "binlog_row_metadata")
_NO_SUCH_STATEMENT: Final = 1064
_REFUSED: Final = (1227, 1045)
_ON: Final = {"1": "ON", "0": "OFF"}
_SETTLE_SECONDS: Final = 1.0
_ASK_AGAIN_SECONDS: Final = 0.1
_LONGEST_SECONDS: Final = 600.0
_FILE_BITS: Final = 32


@dataclass(frozen=True, order=True)
class Place:
    """A position in the log: the number of the file, then the byte."""

    number: int
    offset: int
    file: str


def lsn_of(base: int, place: Place) -> int:
    """Return one number that grows along the log; `base` keeps it growing from server to server."""
    return (base + place.number) << _FILE_BITS | place.offset


class LogServer:
    """Questions about the binary log, asked over an ordinary connection."""

    def __init__(self, database: MySQLDatabase) -> None:
        self._database = database
        self._executed: dict[Place, str] = {}
        self._character_sets: dict[tuple[str, str], Mapping[str, str]] = {}
        self.is_mariadb = database.is_mariadb

    def check(self) -> None:
        """Raise, with what to do, where the log cannot be followed."""
        for name, (wanted, next_step) in _NEEDED.items():
            found = self._variable(name)
            if found is None and name not in _ALWAYS:
                continue
            if found is None or found.upper() != wanted:
                message = f"The server's log does not hold whole rows: {name} is {found or ''!r}."
                raise ConfigurationError(message, next_step=next_step)

    @property
    def identity(self) -> str:
        """What tells this server from others."""
        return self._variable("server_uuid") or f"id {self._variable('server_id')}"

    def end(self) -> Place:
        """Return where the log is now."""
        try:
            rows = self._ask("SHOW MASTER STATUS")
        except pymysql.err.ProgrammingError as error:
            if error.args[0] != _NO_SUCH_STATEMENT:
                raise
            rows = self._ask("SHOW BINARY LOG STATUS")
        place = place_of(rows[0][0], int(rows[0][1]))
        if not self.is_mariadb:
            self._executed[place] = str(rows[0][4]).replace("\n", "")
        return place

    def beginning(self, waiting: Waiting) -> Place:
        """Return a position before which everything is visible to statements that start now.

        A transaction is in the log a moment before others see it. MariaDB tells the position that
        belongs to a snapshot; MySQL the transactions that have a number and are not seen yet. Those
        without numbers are given a second.
        """
        if not self.is_mariadb:
            place, unseen = self.end(), self._unseen()
            if (self._variable("gtid_mode") or "OFF") != "ON":
                time.sleep(_SETTLE_SECONDS)
            self._await(unseen, waiting)
            return place
        with self._database.connection.cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            cursor.execute("SHOW STATUS LIKE 'binlog_snapshot_%'")
            found = {name.lower(): value for name, value in cursor.fetchall()}
            cursor.execute("COMMIT")
        return place_of(found["binlog_snapshot_file"], int(found["binlog_snapshot_position"]))

    def _await(self, unseen: set[str], waiting: Waiting) -> None:
        until = waiting.monotonic() + _LONGEST_SECONDS
        while unseen & self._unseen():
            if waiting.monotonic() > until:
                message = "A transaction that the log has does not end on the server."
                raise TryAgainLaterError(
                    message, next_step="Look at SHOW PROCESSLIST, or wait and run again."
                )
            waiting.sleep(_ASK_AGAIN_SECONDS)

    def _unseen(self) -> set[str]:
        owned = str(self._ask("SELECT @@GLOBAL.gtid_owned")[0][0] or "")
        return {one for one in re.split(r"[,:\s]+", owned) if "#" in one}

    def gtid_at(self, place: Place) -> str:
        """Return the global position: what other servers know a place by. Empty if there is none.

        MySQL tells only that of the end of its log, as it was when it was asked.
        """
        if self.is_mariadb:
            rows = self._database.fetch(
                "SELECT binlog_gtid_pos(%s, %s)", (place.file, place.offset)
            )
            return str(rows[0][0] or "")
        return self._executed.get(place, "")

    def holds(self, place: Place) -> bool:
        """Say whether the log still has everything from a place on."""
        sizes = {str(row[0]): int(row[1]) for row in self._ask("SHOW BINARY LOGS")}
        return sizes.get(place.file, -1) >= place.offset

    def character_sets(self, schema: str, table: str) -> Mapping[str, str]:
        """Return the character set of each column of text, as first seen since `forget`."""
        found = self._character_sets.get((schema, table))
        if found is None:
            found = self._character_sets[schema, table] = self._ask_sets(schema, table)
        return found

    def forget(self) -> None:
        """Ask anew for what a statement may have changed."""
        self._character_sets.clear()

    def _ask_sets(self, schema: str, table: str) -> Mapping[str, str]:
        rows = self._database.fetch(
            "SELECT column_name, character_set_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s AND character_set_name IS NOT NULL",
            (schema, table),
        )
        return {str(name): str(charset) for name, charset in rows}

    def compressed_column(self, schema: str, table: str) -> str:
        """Return a column of MariaDB's COMPRESSED kind, which no reader of the log understands."""
        rows = self._database.fetch(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s AND column_type LIKE '%%COMPRESSED%%'",
            (schema, table),
        )
        return str(rows[0][0]) if rows else ""

    def _variable(self, name: str) -> str | None:
        rows = self._database.fetch("SHOW GLOBAL VARIABLES LIKE %s", (name,))
        value = str(rows[0][1]) if rows else None
        return _ON.get(value, value) if value is not None and name.startswith("log_bin") else value

    def _ask(self, text: str) -> Any:
        try:
            with self._database.connection.cursor() as cursor:
                cursor.execute(text)
                return cursor.fetchall()
        except pymysql.err.Error as error:
            if error.args and error.args[0] in _REFUSED:
                message = "The user may not read the log."
                raise CredentialsError(
                    message,
                    next_step="Grant REPLICATION SLAVE and, on MariaDB, BINLOG MONITOR, on MySQL,"
                    " REPLICATION CLIENT.",
                ) from error
            raise


def place_of(file: str, offset: int) -> Place:
    """Return the place for a file such as `bin.000042`."""
    number = file.rpartition(".")[2]
    if not number.isdigit():
        message = f"The log's file has no number: {file!r}."
        raise LogLostError(message, next_step="Report it with the version of the server.")
    return Place(int(number), offset, file)
