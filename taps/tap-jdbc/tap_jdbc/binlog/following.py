# SPDX-License-Identifier: Apache-2.0
"""A run over all log-based streams of one server: whole tables where needed, then the log.

Where the log ends is read when the run starts; the run ends there, however busy the server is. A
bookmark holds the place behind the last transaction that was delivered, the place and the server's
identity by which it is known again, and a global position for a server that takes over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pymysql
from pymysqlreplication.event import (  # type: ignore[import-untyped]
    NotImplementedEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.row_event import (  # type: ignore[import-untyped]
    DeleteRowsEvent,
    WriteRowsEvent,
)

from ipai_kit.exceptions import (
    ConnectorError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.database import Table
from ipai_kit.sql.dialects.mysql import MySQLDatabase
from tap_jdbc.binlog.cells import UnknownTypeError
from tap_jdbc.binlog.exceptions import LogLostError
from tap_jdbc.binlog.followed import FollowedTable
from tap_jdbc.binlog.reader import LogReader, StatementEvent, is_compressed, is_whole
from tap_jdbc.binlog.rows import RowShape, make_shape
from tap_jdbc.binlog.server import LogServer, Place, lsn_of, place_of
from tap_jdbc.binlog.statements import Statement
from tap_jdbc.cdc.logs import POSITION, RunDoor
from tap_jdbc.cdc.shape import DELETED_AT, LSN

__all__ = ["BinlogRun"]

_STATE_SECONDS: Final = 5.0
_MOST_ROWS: Final = 1000
_PURGED: Final = 1236
_XA_STEP: Final = "Run again: it is copied anew. Commits in one phase are followed."
_COMPRESSED_STEP: Final = (
    "Let no session set binlog_transaction_compression; then run again: it is copied anew."
)


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
        self._touched: set[str] = set()
        self._prepared: set[str] = set()
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
        place = self._server.beginning(self._door.waiting)
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

    def _open(self, place: Place, gtid: str) -> LogReader:
        start: dict[str, Any] = {"log_file": place.file, "log_pos": place.offset}
        if gtid:
            start = {"auto_position": gtid, "is_mariadb": self._server.is_mariadb}
        return LogReader(self._database, self._settings, self._streams, start)

    def _read(self, reader: LogReader, end: Place, beyond: int) -> None:
        """Take events until the end; `beyond` is the last position on the server before."""
        while (event := reader.next()) is not None:
            self._door.waiting.check()
            place = reader.place
            if beyond:
                self._base, beyond = (beyond >> 32) + 1 - place.number, 0
            if self._take(event, reader, place):
                self._touched.clear()
                if place >= end:
                    return
                if self._door.waiting.monotonic() >= self._state_due:
                    self._checkpoint(place)

    def _take(self, event: Any, reader: LogReader, place: Place) -> bool:
        """Take an event; say whether it ends a transaction."""
        if isinstance(event, StatementEvent):
            return self._take_statement(event, place)
        if isinstance(event, XidEvent):
            return True
        if isinstance(event, XAPrepareEvent):
            self._take_prepared(event)
            return True
        if not isinstance(event, NotImplementedEvent):
            self._take_rows(event, reader, place)
        elif is_compressed(event):
            self._refuse_all(place, "is compressed", _COMPRESSED_STEP)
        return False

    def _take_statement(self, event: StatementEvent, place: Place) -> bool:
        """Look at a statement; say whether it ends a transaction."""
        statement = Statement.of(event.query, event.schema)
        if statement.ends_transaction:  # what only begins one, as most do, changes no table
            self._take_change(statement, place)
        committed = statement.committed_xa
        if committed is not None and committed not in self._prepared:
            self._refuse_all(place, "has the rows of an XA transaction before", _XA_STEP)
        self._shapes.clear()
        return statement.ends_transaction

    def _take_change(self, statement: Statement, place: Place) -> None:
        self._server.forget()
        for schema, name in statement.emptied():
            for stream in self._found(schema, name):
                if self._is_new(stream, place):
                    self._flush()
                    stream.truncate()
        for stream in list(self._streams):
            reason = _reason_against(statement, stream.table)
            if reason and self._is_new(stream, place):
                self._give_up(stream, *reason)

    def _take_prepared(self, event: XAPrepareEvent) -> None:
        """Nobody knows yet whether prepared rows are going to be valid."""
        if event.one_phase:
            return
        self._prepared.add(f"{event.xid_gtrid.hex()},{event.xid_bqual.hex()}")
        for stream in [one for one in self._streams if one.name in self._touched]:
            message = f"The log of {stream.table.full_name!r} has rows of a prepared transaction."
            self._give_up(stream, message, _XA_STEP)

    def _refuse_all(self, place: Place, what: str, next_step: str) -> None:
        """Any of the tables may be concerned."""
        for stream in list(self._streams):
            if self._is_new(stream, place):
                message = f"The log of {stream.table.full_name!r} {what}."
                self._give_up(stream, message, next_step)

    def _take_rows(self, event: Any, reader: LogReader, place: Place) -> None:
        stream = next(iter(self._found(event.schema, event.table)), None)
        if stream is None or not self._is_new(stream, place):
            return
        logged = reader.table(event)
        try:
            shape = self._shape(event.table_id, logged, stream)
        except UnknownTypeError as error:
            message = f"The log of {stream.table.full_name!r} cannot be read: {error}."
            self._give_up(stream, message, "Read it as FULL_TABLE or INCREMENTAL.")
            return
        if shape is None or not is_whole(event, len(logged.columns)):
            message = f"The log of {stream.table.full_name!r} lacks names or values of columns."
            self._give_up(stream, message, "Keep binlog_row_metadata and binlog_row_image at FULL.")
            return
        self._touched.add(stream.name)
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


def _reason_against(statement: Statement, table: Table) -> tuple[str, str] | None:
    """Return why rows cannot be told after a statement, and what to do."""
    again = "Run again: it is copied anew."
    if statement.writes(table.schema, table.name):
        message = f"The log holds a statement on {table.full_name!r}, not its rows."
        return message, "Let all sessions write with binlog_format = ROW."
    if statement.gives_name(table.name):
        return f"The log of {table.full_name!r} has it under another name before.", again
    if statement.moves_parts(table.schema, table.name):
        return f"Partitions of {table.full_name!r} came or went with their rows.", again
    return None
