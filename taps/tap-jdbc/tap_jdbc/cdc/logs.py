# SPDX-License-Identifier: Apache-2.0
"""A run over all log-based streams of one database: whole tables first where needed, then the log.

STATE is what an earlier run has stored; so the slot moves up to it when a run starts, and never
beyond. Within the run a copy of the slot is read, which moves on page by page and ends with the
session. Every stream's bookmark holds the position from which its changes are still to come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ipai_kit.exceptions import (
    ConnectorError,
    StoppedError,
    StreamUnavailableError,
    TargetClosedError,
    TryAgainLaterError,
)
from ipai_kit.sql.database import Table
from ipai_kit.sql.postgres import PostgresDatabase
from ipai_kit.waiting import Waiting
from tap_jdbc.cdc.changes import ChangeSink, StreamChanges
from tap_jdbc.cdc.exceptions import SlotLostError
from tap_jdbc.cdc.lookup import Lookup
from tap_jdbc.cdc.messages import Relation
from tap_jdbc.cdc.publication import Publication, unreadable
from tap_jdbc.cdc.reader import ChangeReader
from tap_jdbc.cdc.session import LogSession
from tap_jdbc.cdc.shape import LSN, Shape, make_shape
from tap_jdbc.cdc.slot import Slot, SlotKeeper, check_server

__all__ = ["FollowedStream", "LogRun", "LogSettings", "RunDoor"]

_STATE_SECONDS: Final = 5.0
POSITION: Final = "replication_key_value"


@dataclass(frozen=True)
class LogSettings:
    """What the configuration says."""

    slot: str = "ipai_cdc"
    publication: str = ""
    page_changes: int = 100_000

    @property
    def publication_name(self) -> str:
        """The publication's name; the slot's where none is given."""
        return self.publication or self.slot


class FollowedStream(ChangeSink, Protocol):
    """A stream whose changes come from the log."""

    name: str
    table: Table
    keys: Sequence[str]
    entry: dict[str, Any]
    """The bookmark, to be changed."""

    def wants(self, column: str) -> bool:
        """Whether a column is selected; one that the catalog does not know is."""

    def announce(self, shape: Shape | None) -> None:
        """Write SCHEMA, if it is not what was written last."""

    def start(self, position: int) -> None:
        """Begin with the whole table; what commits from this position on comes by the log."""

    def copy_table(self) -> None:
        """Write the whole table, or what a former run left of it."""

    def resume(self) -> None:
        """Tell the target which generation the records belong to."""


class RunDoor(Protocol):
    """What the streams of a run share."""

    @property
    def waiting(self) -> Waiting:
        """The run's clock, and its stop."""

    def write_state(self, *, now: bool = False) -> None:
        """Write STATE, if some time has passed since the last."""

    def pass_by(self, stream: str, error: ConnectorError) -> None:
        """Go on without a stream."""

    def note(self, name: str, **fields: Any) -> None:
        """Write an event."""


class LogRun:
    """One run; everything happens in one thread."""

    def __init__(
        self,
        connect: Callable[[], LogSession],
        database: PostgresDatabase,
        settings: LogSettings,
        streams: Sequence[FollowedStream],
        door: RunDoor,
    ) -> None:
        self._connect = connect
        self._lookup = Lookup(database)
        self._settings = settings
        self._streams = list(streams)
        self._door = door
        self._open: list[StreamChanges] = []
        self._reached = 0
        self._state_due = 0.0

    def run(self) -> None:
        """Deliver everything up to now; a slot that is lost is replaced once."""
        session = self._connect()
        try:
            self._server = check_server(session)
            self._session = session
            self._slot = SlotKeeper(session, self._settings.slot)
            self._publication = Publication(session, self._settings.publication_name)
            self._slot.lock(self._door.waiting)
            try:
                self._deliver()
            except SlotLostError as error:
                self._door.note("slot_lost", slot=self._slot.name, reason=error.message)
                self._slot.drop_copy()
                if self._slot.find() is not None:
                    self._slot.drop()
                self._deliver()
            self._slot.release()
        finally:
            session.close()

    def _deliver(self) -> None:
        self._streams = [one for one in self._streams if self._is_followed(one)]
        if not self._streams:
            return
        members = self._publication.ensure({_oid(one): one.table for one in self._streams})
        slot = self._find_slot()
        fresh = [one for one in self._streams if not self._continues(one, slot, members)]
        kept = [one.entry[POSITION] for one in self._streams if one not in fresh]
        if slot is not None and kept:
            self._slot.advance(self._slot.name, max(min(kept), slot.confirmed))
        if slot is None:
            self._slot.create(self._door.waiting)
        self._start(fresh, members)
        self._copy_tables()
        self._drain()

    def _is_followed(self, stream: FollowedStream) -> bool:
        name = self._settings.publication_name
        error = unreadable(stream.table, stream.keys, self._session, name)
        if error is not None:
            self._pass_by(stream, error)
        return error is None

    def _find_slot(self) -> Slot | None:
        slot = self._slot.find()
        if slot is not None and slot.loss:
            self._door.note("slot_lost", slot=self._slot.name, reason=slot.loss)
            self._slot.drop()
            return None
        return slot

    def _continues(
        self, stream: FollowedStream, slot: Slot | None, members: dict[int, int]
    ) -> bool:
        """Say whether the log still holds all that the stream has not delivered."""
        entry = stream.entry
        position = entry.get(POSITION)
        if not isinstance(position, int) or entry.get("replication_key") != LSN:
            return False
        about = self._identity(stream, members)
        reason = ""
        if slot is None:
            reason = "the slot is new"
        elif position < slot.confirmed:
            reason = "the slot has moved beyond STATE"
        elif position > self._session.value("position"):
            reason = "STATE is ahead of the server"
        elif any(entry.get(name) != value for name, value in about.items()):
            reason = "the table was not published all the time, or the server is another one"
        if reason:
            self._door.note("snapshot_anew", stream=stream.name, reason=reason)
        return not reason

    def _identity(self, stream: FollowedStream, members: dict[int, int]) -> dict[str, Any]:
        return {"system": self._server.system, "membership": members.get(_oid(stream))}

    def _start(self, fresh: Sequence[FollowedStream], members: dict[int, int]) -> None:
        """Mark where the changes of new streams begin, before anything of them is read."""
        if not fresh:
            return
        position = int(self._session.value("position"))
        self._publication.await_writers([_oid(one) for one in fresh], self._door.waiting)
        for stream in fresh:
            stream.start(position)
            stream.entry.update(self._identity(stream, members))

    def _copy_tables(self) -> None:
        for stream in list(self._streams):
            stream.announce(None)
            if "snapshot" not in stream.entry:
                stream.resume()
                continue
            try:
                stream.copy_table()
            except (SlotLostError, StoppedError, TargetClosedError):
                raise
            except ConnectorError as error:
                if not isinstance(error, TryAgainLaterError):
                    stream.entry.clear()  # its position would hold the log back for ever
                self._pass_by(stream, error)
                self._streams.remove(stream)
            self._door.write_state()

    def _pass_by(self, stream: FollowedStream, error: ConnectorError) -> None:
        error.stream = error.stream or stream.name
        self._door.pass_by(stream.name, error)

    # -- the log ----------------------------------------------------------------------------

    def _drain(self) -> None:
        """Read the log up to where it is now."""
        if not self._streams:
            return
        until = int(self._session.value("position"))
        copy = self._slot.copy()
        self._reached = min(one.entry[POSITION] for one in self._streams)
        found = self._slot.find()
        if found is not None and self._reached > found.confirmed:
            self._slot.advance(copy, self._reached)
        reader = ChangeReader(self._open_table, self._note_commit, self._relieve)
        page = self._settings.page_changes
        while True:
            count = self._read_page(reader, copy, until)
            self._checkpoint()
            if count < page:
                break
        self._reached = max(self._reached, until)
        self._checkpoint()

    def _read_page(self, reader: ChangeReader, copy: str, until: int) -> int:
        self._open.clear()
        count = 0

        def counted(rows: Any) -> Any:
            nonlocal count
            for row in rows:
                count += 1
                yield row

        settings = self._settings
        messages = self._session.messages(
            copy, settings.publication_name, settings.page_changes, until
        )
        reader.read(counted(messages))
        return count

    def _open_table(self, relation: Relation) -> StreamChanges | None:
        stream = next((one for one in self._streams if _oid(one) == relation.oid), None)
        if stream is None:
            return None
        missing = [key for key in stream.keys if key not in {c.name for c in relation.columns}]
        if missing:
            self._streams.remove(stream)
            stream.entry.clear()
            message = f"The key of {stream.table.full_name!r} has changed; it is {missing} now."
            error = StreamUnavailableError(message, next_step="The next run copies it anew.")
            self._pass_by(stream, error)
            return None
        logged = len(relation.columns)
        relation = self._lookup.with_generated(relation)
        types = self._lookup.types(relation)
        hidden = self._lookup.hidden(relation)

        def wants(column: str) -> bool:
            return column not in hidden and stream.wants(column)

        shape = make_shape(relation, types, stream.keys, wants, self._lookup.translate)
        stream.announce(shape)
        changes = StreamChanges(shape, stream, self._lookup.fill_in, logged)
        self._open.append(changes)
        return changes

    def _relieve(self) -> None:
        for changes in self._open:
            changes.flush()
        self._door.waiting.check()

    def _note_commit(self, end: int) -> None:
        self._reached = max(self._reached, end)
        if self._door.waiting.monotonic() >= self._state_due:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Everything up to the last commit leaves, then the STATE that says so."""
        self._relieve()
        for stream in self._streams:
            if stream.entry[POSITION] < self._reached:
                stream.entry[POSITION] = self._reached
        self._door.write_state()
        self._state_due = self._door.waiting.monotonic() + _STATE_SECONDS


def _oid(stream: FollowedStream) -> int:
    return int(stream.table.native_id or 0)
