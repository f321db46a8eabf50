# SPDX-License-Identifier: Apache-2.0
"""A run over all log-based streams of one server: whole tables where needed, then the log.

Where the log ends is read when the run starts; the run ends there, however busy the server is. A
bookmark holds the place behind the last transaction that was delivered, the place and the server's
identity by which it is known again, and a global position for a server that takes over.
"""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pymysql
from pymysqlreplication import BinLogStreamReader  # type: ignore[import-untyped]
from pymysqlreplication.event import QueryEvent, XidEvent  # type: ignore[import-untyped]
from pymysqlreplication.row_event import (  # type: ignore[import-untyped]
    DeleteRowsEvent,
    UpdateRowsEvent,
    WriteRowsEvent,
)

from ipai_kit.exceptions import (
    ConnectorError,
    InternalError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.dialects.mysql import MySQLDatabase, connect_options
from tap_jdbc.binlog.cells import UnknownTypeError
from tap_jdbc.binlog.exceptions import LogLostError
from tap_jdbc.binlog.followed import FollowedTable
from tap_jdbc.binlog.rows import RowShape, make_shape
from tap_jdbc.binlog.server import LogServer, Place, lsn_of, place_of
from tap_jdbc.cdc.logs import POSITION, RunDoor
from tap_jdbc.cdc.shape import DELETED_AT, LSN

__all__ = ["BinlogRun"]

_STATE_SECONDS: Final = 5.0
_MOST_ROWS: Final = 1000
_PURGED: Final = 1236
_WORD = r"(?:`(?P<{0}q>(?:[^`]|``)+)`|(?P<{0}>[\w$]+))"
_TABLE: Final = rf"(?:{_WORD.format('s')}\s*\.\s*)?{_WORD.format('t')}"
_EMPTIES: Final = re.compile(
    rf"\s*(?:truncate(?:\s+table)?|drop\s+table(?:\s+if\s+exists)?|create\s+or\s+replace\s+table)"
    rf"\s+{_TABLE}",
    re.IGNORECASE,
)
_RENAMES: Final = re.compile(r"\s*(?:rename\s|alter\s.*\brename\b)", re.IGNORECASE | re.DOTALL)
_WRITES: Final = re.compile(
    r"\s*(?:insert|replace|update|delete|load\s+data)\b(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_WITHIN: Final = re.compile(r"\s*(?:begin|start transaction|savepoint|xa\s)", re.IGNORECASE)
_NOTE: Final = re.compile(r"^(?:\s|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)*", re.DOTALL)


class BinlogRun:
    """One run; everything happens in one thread."""

    def __init__(
        self,
        database: MySQLDatabase,
        settings: Mapping[str, Any],
        streams: Sequence[FollowedTable],
        door: RunDoor,
    ) -> None:
        self._database = database
        self._settings = settings
        self._streams = list(streams)
        self._door = door
        self._server = LogServer(database)
        self._shapes: dict[int, tuple[Any, RowShape]] = {}
        self._rows: list[dict[str, Any]] = []
        self._writing: FollowedTable | None = None
        self._base = 0
        self._state_due = 0.0

    def run(self) -> None:
        """Deliver everything up to now; a log that is lost is replaced by whole tables, once."""
        with self._database.told():
            self._server.check()
            self._identity = self._server.identity
            self._streams = [one for one in self._streams if self._may_follow(one)]
            if not self._streams:
                return
            end = self._server.end()
            fresh = [one for one in self._streams if not self._continues(one)]
            self._base = self._new_base(fresh)
            self._start(fresh)
        self._copy_tables()
        try:
            self._drain(end)
        except LogLostError as error:
            self._door.note("log_lost", reason=error.message)
            with self._database.told():
                end = self._server.end()
                self._start(self._streams)
            self._copy_tables()
            self._drain(end)

    # -- where to begin ---------------------------------------------------------------------

    def _may_follow(self, stream: FollowedTable) -> bool:
        table = stream.table
        names = {column.name for column in table.columns}
        if not stream.keys or not names.issuperset(stream.keys):
            message = f"The table {table.full_name!r} has no key to follow its rows by."
            next_step = "Give it a primary key, or set 'key' of the stream."
        elif compressed := self._server.compressed_column(table.schema, table.name):
            message = f"Column {compressed!r} of {table.full_name!r} is compressed in the log."
            next_step = "Read the table as FULL_TABLE or INCREMENTAL."
        else:
            return True
        self._pass_by(stream, StreamUnavailableError(message, next_step=next_step))
        return False

    def _continues(self, stream: FollowedTable) -> bool:
        """Say whether the log still holds all that the stream has not delivered."""
        entry, log = stream.entry, stream.entry.get("log")
        if not isinstance(log, dict) or entry.get("replication_key") != LSN:
            return False
        reason = self._reason_against(log)
        if reason:
            self._door.note("snapshot_anew", stream=stream.name, reason=reason)
        return not reason

    def _reason_against(self, log: Mapping[str, Any]) -> str:
        if log.get("server") != self._identity:
            # Only one start by global position: streams of one bookmark took the same way here.
            return "" if log.get("gtid") else "the server is another one"
        place = place_of(str(log["file"]), int(log["offset"]))
        if not self._server.holds(place):
            return "the log was purged"
        if self._server.is_mariadb and log.get("gtid") is not None:
            known = place_of(str(log["gtid_file"]), int(log["gtid_offset"]))
            if self._server.holds(known) and self._server.gtid_at(known) != log["gtid"]:
                return "the log was reset"
        return ""

    def _new_base(self, fresh: Sequence[FollowedTable]) -> int:
        kept = [one.entry["log"] for one in self._streams if one not in fresh]
        return max((int(one.get("base") or 0) for one in kept), default=0)

    def _start(self, fresh: Sequence[FollowedTable]) -> None:
        """Mark where the changes of new streams begin, before anything of them is read."""
        if not fresh:
            return
        place = self._server.beginning()
        last = max((int(one.entry.get(POSITION) or 0) for one in self._streams), default=0)
        if lsn_of(self._base, place) < last:
            self._base = (last >> 32) + 1 - place.number
        for stream in fresh:
            stream.start(lsn_of(self._base, place))
            stream.entry["log"] = self._log(place, self._server.gtid_at(place), place)

    def _log(self, place: Place, gtid: str, known: Place) -> dict[str, Any]:
        return {
            "file": place.file,
            "offset": place.offset,
            "server": self._identity,
            "base": self._base,
            "gtid": gtid,
            "gtid_file": known.file,
            "gtid_offset": known.offset,
        }

    def _copy_tables(self) -> None:
        for stream in list(self._streams):
            stream.announce(None)
            if "snapshot" not in stream.entry:
                stream.resume()
                continue
            try:
                stream.copy_table()
            except (StreamUnavailableError, TryAgainLaterError) as error:
                self._pass_by(stream, error)
                self._streams.remove(stream)
            self._door.write_state()

    # -- the log ----------------------------------------------------------------------------

    def _drain(self, end: Place) -> None:
        """Read the log up to a place."""
        if not self._streams:
            return
        first = min(self._streams, key=lambda one: int(one.entry[POSITION]))
        log = first.entry["log"]
        place = place_of(log["file"], log["offset"])
        elsewhere = log["server"] != self._identity
        if not elsewhere and place >= end:
            return
        reader = self._open(place, log["gtid"] if elsewhere else "")
        try:
            self._read(reader, end, int(first.entry[POSITION]) if elsewhere else 0)
        except pymysql.err.MySQLError as error:
            if error.args and error.args[0] == _PURGED:
                message = f"The server does not have the log any more: {error.args[1]}"
                raise LogLostError(message) from error
            raise self._database.failure(error) from error
        finally:
            reader.close()
        with self._database.told():
            gtid = self._server.gtid_at(end)
        self._checkpoint(end, gtid)

    def _open(self, place: Place, gtid: str) -> BinLogStreamReader:
        options = connect_options(self._database.address, self._settings)
        for name in ("conv", "autocommit", "database"):
            options.pop(name, None)
        start: dict[str, Any] = {"log_file": place.file, "log_pos": place.offset}
        if gtid:
            start = {"auto_position": gtid, "is_mariadb": self._server.is_mariadb}
        return BinLogStreamReader(
            connection_settings=options,
            server_id=secrets.randbelow(1 << 31) + (1 << 30),
            resume_stream=True,
            only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, QueryEvent, XidEvent],
            only_tables=[stream.table.name for stream in self._streams],
            only_schemas=[stream.table.schema for stream in self._streams],
            enable_logging=False,
            pymysql_wrapper=_connect,
            **start,
        )

    def _read(self, reader: BinLogStreamReader, end: Place, beyond: int) -> None:
        """Take events until the end; `beyond` is the last position on the server before."""
        while (event := _next(reader)) is not None:
            self._door.waiting.check()
            place = place_of(reader.log_file, reader.log_pos)
            if beyond:
                self._base, beyond = (beyond >> 32) + 1 - place.number, 0
            if isinstance(event, QueryEvent):
                is_end = self._take_statement(event, place)
            elif isinstance(event, XidEvent):
                is_end = True
            else:
                self._take_rows(event, reader, place)
                is_end = False
            if is_end:
                if place >= end:
                    return
                if self._door.waiting.monotonic() >= self._state_due:
                    self._checkpoint(place)

    def _take_statement(self, event: QueryEvent, place: Place) -> bool:
        """Look at a statement; say whether it ends a transaction."""
        query = _NOTE.sub("", event.query, count=1)
        schema = event.schema.decode() if isinstance(event.schema, bytes) else str(event.schema)
        emptied = _EMPTIES.match(query)
        if emptied:
            named = emptied["sq"] or emptied["s"] or schema, emptied["tq"] or emptied["t"]
            for stream in self._found(*(one.replace("``", "`") for one in named)):
                if self._is_new(stream, place):
                    self._flush()
                    stream.truncate()
        written = _WRITES.match(query)
        if written:
            self._refuse_statement(schema, written["rest"], place)
        if _RENAMES.match(query):
            self._refuse_names(query, place)
        self._shapes.clear()
        return not _WITHIN.match(query)

    def _refuse_names(self, query: str, place: Place) -> None:
        """Another table may come under a name that is followed: what it holds is in no log."""
        for stream in list(self._streams):
            name = re.escape(stream.table.name.replace("`", "``"))
            taken = rf"\b(?:to|as|rename)\s+(?:\S+?\s*\.\s*)?`?{name}`?(?![\w$`])"
            if re.search(taken, query, re.IGNORECASE) and self._is_new(stream, place):
                message = f"The log of {stream.table.full_name!r} has it under another name before."
                self._give_up(stream, message, "Run again: it is copied anew.")

    def _refuse_statement(self, schema: str, rest: str, place: Place) -> None:
        """A session may log statements instead of rows: nobody can tell what they changed."""
        for stream in list(self._streams):
            is_named = re.search(rf"(?<![\w$]){re.escape(stream.table.name)}(?![\w$])", rest)
            if is_named and stream.table.schema in (schema, *re.findall(r"[\w$]+", rest)):
                if not self._is_new(stream, place):
                    continue
                message = f"The log holds a statement on {stream.table.full_name!r}, not its rows."
                self._give_up(stream, message, "Let all sessions write with binlog_format = ROW.")

    def _take_rows(self, event: Any, reader: BinLogStreamReader, place: Place) -> None:
        stream = next(iter(self._found(event.schema, event.table)), None)
        if stream is None or not self._is_new(stream, place):
            return
        logged = reader.table_map[event.table_id]
        try:
            shape = self._shape(event.table_id, logged, stream)
        except UnknownTypeError as error:
            message = f"The log of {stream.table.full_name!r} cannot be read: {error}."
            self._give_up(stream, message, "Read it as FULL_TABLE or INCREMENTAL.")
            return
        if shape is None or not _is_whole(event, len(logged.columns)):
            message = f"The log of {stream.table.full_name!r} lacks names or values of columns."
            self._give_up(stream, message, "Keep binlog_row_metadata and binlog_row_image at FULL.")
            return
        if self._writing is not stream:
            self._flush()
            self._writing = stream
        self._add(stream, event, shape, lsn_of(self._base, place))
        if len(self._rows) >= _MOST_ROWS:
            self._flush()

    def _add(self, stream: FollowedTable, event: Any, shape: RowShape, lsn: int) -> None:
        size = event.event_size - event.packet.read_bytes
        images = shape.images(event.packet.read(size), 0)
        keys, add = stream.keys, self._rows.append
        if isinstance(event, WriteRowsEvent):
            for record, _ in images:
                add({**record, DELETED_AT: None, LSN: lsn})
            return
        moment = datetime.fromtimestamp(event.timestamp, UTC).isoformat()
        for old, _ in images:
            key = {name: old[name] for name in keys}
            if isinstance(event, DeleteRowsEvent):
                add({**key, DELETED_AT: moment, LSN: lsn})
                continue
            new, _ = next(images)
            if any(new[name] != value for name, value in key.items()):
                add({**key, DELETED_AT: moment, LSN: lsn})
            add({**new, DELETED_AT: None, LSN: lsn})

    def _shape(self, table_id: int, logged: Any, stream: FollowedTable) -> RowShape | None:
        known = self._shapes.get(table_id)
        if known is not None and known[0] is logged:
            return known[1]
        if not all(column.name for column in logged.columns):
            return None
        table = stream.table
        shape = make_shape(
            logged.columns,
            table,
            self._database.rules,
            self._server.character_sets(table.schema, table.name),
            {column.name: stream.wants(column.name) for column in logged.columns},
        )
        if not {column.name for column in shape.table.columns}.issuperset(stream.keys):
            return None
        self._flush()
        stream.show_columns(shape.table)
        self._shapes[table_id] = logged, shape
        return shape

    def _found(self, schema: str, name: str) -> list[FollowedTable]:
        return [
            one for one in self._streams if (one.table.schema, one.table.name) == (schema, name)
        ]

    def _is_new(self, stream: FollowedTable, place: Place) -> bool:
        return lsn_of(self._base, place) > int(stream.entry[POSITION])

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows and self._writing is not None:
            self._writing.write_rows(rows)

    def _checkpoint(self, place: Place, gtid: str | None = None) -> None:
        """Everything up to the last transaction leaves, then the STATE that says so."""
        self._flush()
        lsn = lsn_of(self._base, place)
        for stream in self._streams:
            if not self._is_new(stream, place) and gtid is None:
                continue
            before = stream.entry["log"]
            known = place_of(before["gtid_file"], before["gtid_offset"])
            stream.entry[POSITION] = max(lsn, int(stream.entry[POSITION]))
            stream.entry["log"] = (
                self._log(place, gtid, place)
                if gtid is not None
                else self._log(place, before["gtid"], known)
            )
        self._door.write_state()
        self._state_due = self._door.waiting.monotonic() + _STATE_SECONDS

    # -- what cannot be followed ------------------------------------------------------------

    def _give_up(self, stream: FollowedTable, message: str, next_step: str) -> None:
        """Go on without a stream, whose next run starts with the whole table."""
        self._flush()
        stream.entry.clear()
        self._streams.remove(stream)
        self._pass_by(stream, StreamUnavailableError(message, next_step=next_step))

    def _pass_by(self, stream: FollowedTable, error: ConnectorError) -> None:
        error.stream = error.stream or stream.name
        self._door.pass_by(stream.name, error)


def _connect(**options: Any) -> Any:
    """Connect for the package that reads the log, which still says `db`."""
    database = options.pop("db", None)
    return pymysql.connect(**options, database=database)


def _next(reader: BinLogStreamReader) -> Any:
    """Return the next event; None where the log ends."""
    try:
        return reader.fetchone()
    except (ValueError, IndexError, struct.error) as error:
        place = f"{reader.log_file}:{reader.log_pos}"
        message = f"The log cannot be understood behind {place}: {error}."
        raise InternalError(
            message, next_step="Reset the state of the streams, or report it."
        ) from error


def _is_whole(event: Any, count: int) -> bool:
    """Say whether the event holds every column, before and after."""
    full = (1 << count) - 1
    bitmaps = [event.columns_present_bitmap, getattr(event, "columns_present_bitmap2", None)]
    return all(
        int.from_bytes(bitmap, "little") & full == full for bitmap in bitmaps if bitmap is not None
    )
