# SPDX-License-Identifier: Apache-2.0
"""Events of the binary log, one after another, as the package that reads it packs them."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pymysql
from pymysqlreplication import (  # type: ignore[import-untyped]
    BinLogStreamReader,
    row_event,
)
from pymysqlreplication.column import Column  # type: ignore[import-untyped]
from pymysqlreplication.constants.BINLOG import QUERY_EVENT  # type: ignore[import-untyped]
from pymysqlreplication.event import (  # type: ignore[import-untyped]
    NotImplementedEvent,
    QueryEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.exceptions import (  # type: ignore[import-untyped]
    MalformedBinLogEvent,
    StatusVariableMismatch,
    TableMetadataUnavailableError,
)
from pymysqlreplication.packet import BinLogPacketWrapper  # type: ignore[import-untyped]
from pymysqlreplication.row_event import (  # type: ignore[import-untyped]
    DeleteRowsEvent,
    MetadataFieldType,
    PartialUpdateRowsEvent,
    UpdateRowsEvent,
    WriteRowsEvent,
)

from ipai_kit.exceptions import InternalError
from ipai_kit.sql.dialects.mysql import MySQLDatabase, connect_options
from tap_jdbc.binlog.cells import VECTOR
from tap_jdbc.binlog.followed import FollowedTable
from tap_jdbc.binlog.server import Place, place_of

__all__ = ["LogReader", "StatementEvent", "is_compressed", "is_whole"]

_GARBLED: Final = (
    *(ValueError, IndexError, AssertionError, TypeError, struct.error),
    *(MalformedBinLogEvent, StatusVariableMismatch, TableMetadataUnavailableError),
)
_COMPRESSED: Final = frozenset({40, *range(165, 172)})
"""A transaction of MySQL; statements and rows of MariaDB."""


class StatementEvent(QueryEvent):  # type: ignore[misc]
    """A statement, without the variables of its session: servers have ones unknown here."""

    def _read_status_vars_value_for_key(self, key: int) -> None:
        del key
        self.packet.advance(self.status_vars_length - 1)


class LoggedColumn(Column):  # type: ignore[misc]
    """A column, also of the type VECTOR."""

    def __init__(self, column_type: int, packet: Any) -> None:
        super().__init__(column_type, packet)
        if column_type == VECTOR:
            self.length_size = packet.read_uint8()


def _metadata_kind(index: int) -> MetadataFieldType:
    """Name a part of a table's description; numbers that are new are read like others."""
    try:
        return MetadataFieldType(index)
    except ValueError:
        return MetadataFieldType.GEOMETRY_TYPE


# The package has no other place to say how an event is read.
BinLogPacketWrapper._BinLogPacketWrapper__event_map[QUERY_EVENT] = StatementEvent
row_event.Column = LoggedColumn
MetadataFieldType.by_index = staticmethod(_metadata_kind)

_EVENTS: Final = [
    *(WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, PartialUpdateRowsEvent),
    *(StatementEvent, XidEvent, XAPrepareEvent, NotImplementedEvent),
]


class LogReader:
    """The log from a place on, over a connection of its own."""

    def __init__(
        self,
        database: MySQLDatabase,
        settings: Mapping[str, Any],
        streams: Sequence[FollowedTable],
        start: Mapping[str, Any],
    ) -> None:
        options = connect_options(database.address, settings)
        for name in ("conv", "autocommit", "database"):
            options.pop(name, None)
        self._reader = BinLogStreamReader(
            connection_settings=options,
            server_id=secrets.randbelow(1 << 31) + (1 << 30),
            resume_stream=True,
            only_events=_EVENTS,
            only_tables=[stream.table.name for stream in streams],
            only_schemas=[stream.table.schema for stream in streams],
            enable_logging=False,
            filter_non_implemented_events=False,
            pymysql_wrapper=_connect,
            **start,
        )

    @property
    def place(self) -> Place:
        """The place behind the last event."""
        return place_of(self._reader.log_file, self._reader.log_pos)

    def next(self) -> Any:
        """Return the next event; None where the log ends."""
        try:
            return self._reader.fetchone()
        except _GARBLED as error:
            place = f"{self._reader.log_file}:{self._reader.log_pos}"
            message = f"The log cannot be understood behind {place}: {error}."
            raise InternalError(
                message, next_step="Reset the state of the streams, or report it."
            ) from error

    def table(self, event: Any) -> Any:
        """Return the table of rows, as the log describes it."""
        return self._reader.table_map[event.table_id]

    def close(self) -> None:
        """Leave the server."""
        self._reader.close()


def is_compressed(event: Any) -> bool:
    """Say whether the event holds a compressed transaction, or a part of one."""
    return event.event_type in _COMPRESSED


def is_whole(event: Any, count: int) -> bool:
    """Say whether the event holds every column, before and after."""
    if isinstance(event, PartialUpdateRowsEvent):
        return False
    full = (1 << count) - 1
    bitmaps = [event.columns_present_bitmap, getattr(event, "columns_present_bitmap2", None)]
    return all(
        int.from_bytes(bitmap, "little") & full == full for bitmap in bitmaps if bitmap is not None
    )


def _connect(**options: Any) -> Any:
    """Connect for the package that reads the log, which still says `db`."""
    database = options.pop("db", None)
    return pymysql.connect(**options, database=database)
