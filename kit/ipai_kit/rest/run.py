# SPDX-License-Identifier: Apache-2.0
"""One run of a REST tap: takes pages in order, writes records, keeps bookmarks true.

A bookmark moves only when its slice is complete together with everything below it, and a STATE
message leaves only after every record that its bookmarks speak of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.singerlib import StateMessage
from singer_sdk.singerlib.messages import ActivateVersionMessage

from ipai_kit.exceptions import StreamUnavailableError
from ipai_kit.rest.bookmarks import Bookmarks
from ipai_kit.rest.cursors import Cursor
from ipai_kit.rest.extraction import Extraction, Slice
from ipai_kit.rest.pages import Page, Row
from ipai_kit.rest.progress import Progress
from ipai_kit.singer.writer import FastWriter

if TYPE_CHECKING:
    from ipai_kit.rest.streams import RestStream

__all__ = ["Run"]

_encoder = msgspec.json.Encoder(decimal_format="number")


class Run:
    """The emitting side; everything here happens in one thread."""

    def __init__(
        self,
        extraction: Extraction,
        writer: FastWriter,
        state: dict[str, Any],
        *,
        config: Mapping[str, Any],
        progress: Progress,
        started_at: datetime | None = None,
        state_interval: float = 5.0,
    ) -> None:
        self._extraction = extraction
        self._writer = writer
        self._bookmarks = Bookmarks(state)
        self._config = config
        self.progress = progress
        self._started_at = started_at or datetime.now(UTC)
        self._state_interval = state_interval
        self._state_due = 0.0
        self._last_state: bytes | None = None
        self._incomplete: set[str] = set()

    # -- where to start ---------------------------------------------------------------------

    def start_of(
        self, stream: RestStream, holder: RestStream, context: Mapping[str, Any], cursor: Cursor
    ) -> Any:
        """Return where a stream starts in a partition, measured in the holder's cursor."""
        begin = self._config.get("start_date") if cursor.kind != "plain" else None
        if begin and cursor.kind == "date":
            begin = str(begin)[:10]
        if self._config.get("full_refresh"):
            return begin
        bookmark = self._bookmarks.find(stream.name, holder.state_context(context))
        if bookmark.get("replication_key") != _key_name(stream, holder):
            return begin
        lookback = max(stream.lookback, holder.lookback)
        return cursor.later(cursor.back(bookmark.get("replication_key_value"), lookback), begin)

    def known_etag(self, stream: RestStream, context: Mapping[str, Any]) -> str | None:
        """Return the ETag of an unchanged answer that may be left out, if that loses nothing."""
        if self._config.get("full_refresh") or stream.reader.children or self._versioned(stream):
            return None
        return self._bookmarks.find(stream.name, stream.state_context(context)).get("etag")

    # -- emitting ---------------------------------------------------------------------------

    def emit_tree(self, root: RestStream, context: Mapping[str, Any] | None) -> None:
        """Emit a root stream with all streams below it."""
        below = [one for one in _descendants(root) if one.selected]
        for stream in below:
            stream._write_schema_message()
        contexts = [dict(context)] if context else (root.partitions or [{}])
        self.progress.partitions_total[root.name] = len(contexts)
        pieces = [
            self._extraction.open(root.own_slice(one, (number,)))
            for number, one in enumerate(contexts)
        ]
        for piece in pieces:
            self._emit(piece)
        for stream in [root, *below]:
            self._activate_version(stream)
            if stream.selected:
                self.progress.report(stream.name, now=True)
        self.write_state(now=True)

    def _emit(self, piece: Slice) -> None:
        stream = piece.stream
        piece.holder.reached.add(stream.name)
        pages = 0
        page: Page | None = None
        try:
            for page in self._extraction.pages(piece):
                pages += 1
                if not self._emit_page(piece, page):
                    self._incomplete.add(stream.name)
                    return
        except StreamUnavailableError as error:
            self._report_skip(piece, error)
            return
        self.progress.partitions_done[stream.name] += 1
        self._complete(piece, page if pages == 1 else None)

    def _emit_page(self, piece: Slice, page: Page) -> bool:
        """Emit a page and all below it; False when the record limit of a dry run is reached."""
        stream = piece.stream
        rows, whole = self._within_limit(stream, page.rows)
        self._write(piece, page, rows)
        for child in page.children:
            if child.key[-2] < len(rows):
                self._emit(child)
        if not piece.owner:
            for row in rows:
                piece.latest = stream.reader.cursor.later(piece.latest, row.cursor)
        if whole and stream.sort == "ascending" and not stream.reader.children:
            self._save_bookmarks(piece)
        self.write_state()
        return whole

    def _within_limit(self, stream: RestStream, rows: Any) -> tuple[Any, bool]:
        limit = stream.ABORT_AT_RECORD_COUNT
        if limit is None:
            return rows, True
        room = limit - self.progress.records[stream.name]
        return rows[: max(room, 0)], len(rows) < room

    def _write(self, piece: Slice, page: Page, rows: list[Row]) -> None:
        stream = piece.stream
        if not piece.emits:
            return
        if piece.start != piece.fetch_start:
            before = stream.reader.cursor.before
            rows = [row for row in rows if not before(row.cursor, piece.start)]
        records = [row.record for row in rows]
        version = self._version(stream)
        if stream.reader.as_dicts:
            stream._stream_version = version
            for record in records:
                stream._write_record_message(record)
        else:
            values = stream.context_values(piece.context)
            extra = _encoder.encode(values)[1:-1] if values else b""
            self._writer.write_raw_records(
                stream.name, records, page.extracted_at, version=version, extra=extra
            )
        self.progress.records[stream.name] += len(records)
        self.progress.report(stream.name)

    def records(self, stream: RestStream, context: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield one slice's records as dicts, without bookmarks and children."""
        piece = self._extraction.open(Slice(stream, context, (0,)))
        extra = stream.context_values(context)
        for page in self._extraction.pages(piece):
            for row in page.rows:
                known = isinstance(row.record, dict)
                yield row.record if known else {**msgspec.json.decode(row.record), **extra}

    # -- completing -------------------------------------------------------------------------

    def _complete(self, piece: Slice, only_page: Page | None) -> None:
        stream = piece.stream
        if piece.owner:
            return
        if stream.incremental:
            self._save_bookmarks(piece)
        elif only_page and only_page.etag and not stream.reader.children:
            entry = self._bookmarks.entry(stream.name, stream.state_context(piece.context))
            entry["etag"] = only_page.etag
        else:
            self._bookmarks.entry(stream.name, {})
        self.write_state()

    def _save_bookmarks(self, piece: Slice) -> None:
        """Move the bookmark of this slice and of the streams that its cursor drives."""
        holder, cursor = piece.stream, piece.stream.reader.cursor
        if not holder.incremental or piece.owner:
            return
        latest = cursor.no_later_than(piece.latest, self._started_at)
        for stream in [holder, *holder.driven_descendants()]:
            if not stream.selected:
                continue
            found = self._bookmarks.find(stream.name, holder.state_context(piece.context))
            if latest is None and not found:
                continue
            entry = self._bookmarks.entry(stream.name, holder.state_context(piece.context))
            if stream.name in piece.refused:
                entry["refused"] = True
                continue
            if entry.pop("refused", False):
                continue  # readable again: the next run reads from the old bookmark on
            entry["replication_key"] = _key_name(stream, holder)
            entry["replication_key_value"] = cursor.later(
                entry.get("replication_key_value"), latest
            )

    def _report_skip(self, piece: Slice, error: StreamUnavailableError) -> None:
        stream = piece.stream
        self._incomplete.add(stream.name)
        if not error.lasting:
            piece.holder.refused.add(stream.name)
        self.progress.skipped(
            stream.name, error.message, url=error.url, status=error.status, next=error.next_step
        )

    def write_state(self, *, now: bool = False) -> None:
        """Write STATE when it changed and some time has passed since the last."""
        moment = time.monotonic()
        if not now and moment < self._state_due:
            return
        state = _encoder.encode(self._bookmarks.state)
        if state == self._last_state:
            return
        self._last_state = state
        self._writer.write_message(StateMessage(value=self._bookmarks.state))
        cost = time.monotonic() - moment
        self._state_due = moment + max(self._state_interval, 50 * cost)

    # -- versions ---------------------------------------------------------------------------

    def _versioned(self, stream: RestStream) -> bool:
        """Whether this run reads the stream whole, so that what it does not see is gone."""
        if not self._config.get("emit_activate_version_messages"):
            return False
        if stream.incremental or stream.driven:
            return bool(self._config.get("full_refresh")) and not self._config.get("start_date")
        return True

    def _version(self, stream: RestStream) -> int | None:
        return int(self._started_at.timestamp() * 1000) if self._versioned(stream) else None

    def _activate_version(self, stream: RestStream) -> None:
        version = self._version(stream)
        if version is None or not stream.selected or stream.name in self._incomplete:
            return
        for one in stream.stream_maps:
            self._writer.write_message(ActivateVersionMessage(one.stream_alias, version))


def _key_name(stream: RestStream, holder: RestStream) -> str:
    key = str(holder.replication_key)
    return key if stream is holder else f"{holder.name}.{key}"


def _descendants(stream: RestStream) -> list[RestStream]:
    found = []
    for child in stream.rest_children:
        found += [child, *_descendants(child)]
    return found
