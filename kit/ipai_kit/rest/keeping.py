# SPDX-License-Identifier: Apache-2.0
"""Where each slice starts, and what may be remembered once it is complete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ipai_kit.rest.bookmarks import Bookmarks
from ipai_kit.rest.cursors import Cursor
from ipai_kit.rest.extraction import Slice
from ipai_kit.rest.pages import Page, Row

if TYPE_CHECKING:
    from ipai_kit.rest.streams import RestStream

__all__ = ["Keeper"]

_MOST_AT_BOUNDARY = 50
_encoder = msgspec.json.Encoder(decimal_format="number")


class Keeper:
    """Reads and moves the bookmarks of a run.

    The source is asked from the bookmark on with `>=`, because records may still arrive with the
    bookmark's own timestamp. Those that came before, byte for byte, are recognised by a digest.
    """

    def __init__(
        self, bookmarks: Bookmarks, config: Mapping[str, Any], started_at: datetime
    ) -> None:
        self._bookmarks = bookmarks
        self._config = config
        self._started_at = started_at

    # -- before a slice is read -------------------------------------------------------------

    def starts(self, holder: RestStream, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return where the holder and the streams that its cursor drives begin to read."""
        streams = [one for one in [holder, *holder.driven_descendants()] if one.selected]
        starts = {one.name: self._start(one, holder, context) for one in streams}
        partition = holder.state_context(context)
        for one in streams:
            if one is not holder and self._bookmarks.find(one.name, partition).get("refused"):
                # Without permission there is nothing to catch up with: try what is new.
                starts[one.name] = starts.get(holder.name, starts[one.name])
        return starts

    def _start(self, stream: RestStream, holder: RestStream, context: Mapping[str, Any]) -> Any:
        cursor = holder.reader.cursor
        begin = self._first_date(cursor)
        bookmark = self._bookmarks.find(stream.name, holder.state_context(context))
        if self._config.get("full_refresh"):
            return begin
        if bookmark.get("replication_key") != _key_name(stream, holder):
            return begin
        lookback = max(stream.lookback, holder.lookback)
        return cursor.later(cursor.back(bookmark.get("replication_key_value"), lookback), begin)

    def _first_date(self, cursor: Cursor) -> Any:
        begin = self._config.get("start_date")
        if not begin or cursor.kind == "plain":
            return None
        return str(begin)[:10] if cursor.kind == "date" else str(begin)

    def known_at(self, stream: RestStream, context: Mapping[str, Any], start: Any) -> list[str]:
        """Return the digests of the records emitted before whose cursor is the start."""
        found = self._bookmarks.find(stream.name, stream.state_context(context))
        if start is None or found.get("replication_key_value") != start:
            return []
        known: list[str] = [] if self._config.get("full_refresh") else found.get("boundary", [])
        return known

    def etag(self, stream: RestStream, context: Mapping[str, Any]) -> str | None:
        """Return the ETag of an answer that may be left out when it has not changed.

        Not for a parent, whose children still have to be visited, and not when the run has to
        see every record to tell which are gone.
        """
        if self._config.get("full_refresh") or stream.reader.children or self.versioned(stream):
            return None
        return self._bookmarks.find(stream.name, stream.state_context(context)).get("etag")

    def versioned(self, stream: RestStream) -> bool:
        """Whether this run reads the stream whole, so that what it does not see is gone."""
        if not self._config.get("emit_activate_version_messages"):
            return False
        if stream.incremental or stream.driven:
            return bool(self._config.get("full_refresh")) and not self._config.get("start_date")
        return True

    # -- while it is read -------------------------------------------------------------------

    def unseen(self, piece: Slice, rows: Iterable[Row]) -> list[Row]:
        """Leave out what is not wanted: before the stream's own start, or emitted last time."""
        reader = piece.stream.reader
        if piece.start != piece.fetch_start:
            rows = [row for row in rows if not reader.cursor.before(row.cursor, piece.start)]
        if piece.known:
            rows = [
                row for row in rows if row.cursor != piece.start or _digest(row) not in piece.known
            ]
        return list(rows)

    def note(self, piece: Slice, rows: Iterable[Row]) -> None:
        """Remember the latest cursor, and which records stand at it."""
        order = piece.stream.reader.cursor.order
        latest = None if piece.latest is None else order(piece.latest)
        at_latest: list[Row] = []
        for row in rows:
            if row.cursor is None:
                continue
            place = order(row.cursor)
            if latest is None or place > latest:
                latest, piece.latest, piece.boundary, at_latest = place, row.cursor, [], [row]
            elif place == latest:
                at_latest.append(row)
            else:
                piece.ordered = False
        if piece.boundary is not None:
            piece.boundary += [_digest(row) for row in at_latest]
            if len(piece.boundary) > _MOST_AT_BOUNDARY:
                piece.boundary = None

    # -- when it is complete ----------------------------------------------------------------

    def save(self, piece: Slice, only_page: Page | None = None) -> None:
        """Move the bookmarks of a slice and of the streams that its cursor drives."""
        holder = piece.stream
        if holder.incremental:
            partition = holder.state_context(piece.context)
            latest = holder.reader.cursor.no_later_than(piece.latest, self._started_at)
            for stream in [holder, *holder.driven_descendants()]:
                if stream.selected:
                    self._move(stream, piece, partition, latest)
            if holder.selected and latest is not None:
                self._keep_boundary(piece, partition)
        elif only_page and only_page.etag and not holder.reader.children:
            entry = self._bookmarks.entry(holder.name, holder.state_context(piece.context))
            entry["etag"] = only_page.etag

    def mention(self, stream: RestStream) -> None:
        """Let STATE name a stream that has nothing to remember."""
        self._bookmarks.entry(stream.name, {})

    def _move(
        self, stream: RestStream, piece: Slice, partition: Mapping[str, Any], latest: Any
    ) -> None:
        if latest is None and not self._bookmarks.find(stream.name, partition):
            return
        if stream.name in piece.behind:
            return
        entry = self._bookmarks.entry(stream.name, partition)
        if stream.name in piece.left_out:
            entry["refused"] = True
            return
        if entry.get("refused"):
            if stream.name in piece.reached:
                del entry["refused"]  # readable again: the next run catches up
            return
        cursor, holder = piece.stream.reader.cursor, piece.stream
        entry["replication_key"] = _key_name(stream, holder)
        entry["replication_key_value"] = cursor.later(entry.get("replication_key_value"), latest)

    def _keep_boundary(self, piece: Slice, partition: Mapping[str, Any]) -> None:
        entry = self._bookmarks.entry(piece.stream.name, partition)
        bookmark = entry.get("replication_key_value")
        if bookmark == piece.latest and piece.boundary and not piece.stream.lookback:
            entry["boundary"] = piece.boundary
        elif not piece.stream.reader.cursor.before(piece.latest, bookmark):
            entry.pop("boundary", None)


def _digest(row: Row) -> str:
    record = row.record
    data = bytes(record) if isinstance(record, msgspec.Raw) else _encoder.encode(record)
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _key_name(stream: RestStream, holder: RestStream) -> str:
    """Name the key whose value a bookmark holds; a driven stream's is its holder's."""
    key = str(holder.replication_key)
    return key if stream is holder else f"{holder.name}.{key}"
