# SPDX-License-Identifier: Apache-2.0
"""One run of a REST tap: takes pages in order, writes records, keeps bookmarks true.

A bookmark moves only when its slice is complete together with everything below it, and a STATE
message leaves only after every record that its bookmarks speak of.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.singerlib import StateMessage
from singer_sdk.singerlib.messages import ActivateVersionMessage

from ipai_kit.exceptions import (
    ConnectorError,
    InternalError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.rest.bookmarks import Bookmarks
from ipai_kit.rest.extraction import Extraction, Slice
from ipai_kit.rest.keeping import Keeper
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
        state_interval: float,
        isolate: bool = False,
    ) -> None:
        started_at = datetime.now(UTC)
        self._extraction = extraction
        self._writer = writer
        self._state = state
        self.keeper = Keeper(Bookmarks(state), config, started_at)
        self.progress = progress
        self._version = int(started_at.timestamp() * 1000)
        self._state_interval = state_interval
        self._state_due = 0.0
        self._last_state = b""
        self._isolate = isolate
        self._failure: ConnectorError | None = None
        self._broken: set[str] = set()
        self._unsorted: set[str] = set()
        self._incomplete: set[str] = set()
        self._opened: dict[str, list[Slice]] = {}
        self._roots = 0

    # -- opening ----------------------------------------------------------------------------

    def open_ahead(self, roots: Iterable[RestStream]) -> None:
        """Schedule the first pages of these roots, which will be emitted in this order."""
        for root in roots:
            self._opened[root.name] = self._open(root, _contexts(root))

    def _open(self, root: RestStream, contexts: Sequence[Mapping[str, Any]]) -> list[Slice]:
        self._roots += 1
        self.progress.partitions_total[root.name] = len(contexts)
        return [
            self._extraction.open(root.own_slice(context, (self._roots, number)))
            for number, context in enumerate(contexts)
        ]

    # -- emitting ---------------------------------------------------------------------------

    def emit_tree(self, root: RestStream, context: Mapping[str, Any] | None) -> None:
        """Emit a root stream with all streams below it."""
        below = [one for one in root.rest_descendants() if one.selected]
        for stream in below:
            stream.write_schema()
        pieces = self._opened.pop(root.name, None)
        if pieces is None or context:
            pieces = self._open(root, [context] if context else _contexts(root))
        for piece in pieces:
            self._emit(piece)
        for stream in [root, *below]:
            if stream.selected:
                self._activate_version(stream)
                self.keeper.mention(stream)
                self.progress.report(stream.name, now=True)
        self.write_state(now=True)
        self._writer.flush()

    def _emit(self, piece: Slice) -> None:
        """Emit one slice and all below it; remember it when it is complete."""
        stream, pages = piece.stream, 0
        if piece.cut_off:
            return
        if stream.name in self._broken:
            piece.holder.behind |= piece.names_below()
            return
        try:
            for page in self._extraction.pages(piece):
                pages += 1
                if not self._emit_page(piece, page):
                    self._note_incomplete(stream)
                    return
        except StreamUnavailableError as error:
            self._leave_out(piece, error)
            return
        except (TryAgainLaterError, InternalError) as error:
            self._pass_over(piece, error)
            return
        piece.holder.reached.add(stream.name)
        self.progress.partitions_done[stream.name] += 1
        if not piece.owner:
            self.keeper.save(piece, page if pages == 1 else None)
            self.write_state()

    def _emit_page(self, piece: Slice, page: Page) -> bool:
        """Emit a page and all below it; False when the record limit of a dry run is reached."""
        stream = piece.stream
        rows, whole = self._within_limit(stream, page.rows)
        if not piece.owner:
            self.keeper.note(piece, rows)
        if piece.emits:
            self._write(piece, page, self.keeper.unseen(piece, rows))
        for child in page.children:
            if child.key[-2] < len(rows):
                self._emit(child)
        if whole and stream.sort == "ascending" and not (piece.owner or stream.reader.children):
            self._save_on_the_way(piece)
        return whole

    def _save_on_the_way(self, piece: Slice) -> None:
        """Keep what an ascending list has reached: what follows is not older."""
        if piece.ordered:
            self.keeper.save(piece)
            self.write_state()
        elif piece.stream.name not in self._unsorted:
            self._unsorted.add(piece.stream.name)
            self.progress.note("not_ascending", stream=piece.stream.name)

    def _within_limit(self, stream: RestStream, rows: Sequence[Row]) -> tuple[Sequence[Row], bool]:
        limit = stream.ABORT_AT_RECORD_COUNT
        if limit is None:
            return rows, True
        room = limit - self.progress.records[stream.name]
        return rows[: max(room, 0)], len(rows) < room

    def _write(self, piece: Slice, page: Page, rows: Sequence[Row]) -> None:
        stream = piece.stream
        records = [row.record for row in rows]
        version = self._version if self.keeper.versioned(stream) else None
        if stream.reader.mapped:
            stream.write_records(records, version)
        elif stream.reader.as_dicts:
            self._writer.write_dict_records(
                stream.name, records, page.extracted_at, version=version
            )
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
        extra = stream.context_values(context)
        for page in self._extraction.pages(self._extraction.open(Slice(stream, context, (0,)))):
            for row in page.rows:
                known = isinstance(row.record, dict)
                yield row.record if known else {**msgspec.json.decode(row.record), **extra}

    # -- closing ----------------------------------------------------------------------------

    def _leave_out(self, piece: Slice, error: StreamUnavailableError) -> None:
        self._note_incomplete(piece.stream)
        if not error.lasting:
            piece.refuse()
            piece.holder.left_out |= piece.names_below()
        self.progress.skipped(
            piece.stream.name,
            error.message,
            url=error.url,
            status=error.status,
            next_step=error.next_step,
        )

    def _pass_over(self, piece: Slice, error: TryAgainLaterError | InternalError) -> None:
        """Go on with the other slices; the run still ends with this error."""
        if not self._isolate:
            raise error
        self._note_incomplete(piece.stream)
        piece.holder.behind |= piece.names_below()
        if isinstance(error, InternalError):
            self._broken.add(piece.stream.name)  # it would ask wrongly everywhere
        elif error.for_all:
            self._extraction.halt(error)
        if error is not self._failure:
            self.progress.failed(piece.stream.name, error)
        self._failure = self._failure or error

    def pass_by(self, stream: str, error: ConnectorError) -> None:
        """Go on without a stream that is not one of REST; the run still ends with its error."""
        if isinstance(error, StreamUnavailableError):
            self.progress.skipped(stream, error.message, url=error.url, next_step=error.next_step)
            return
        if not self._isolate or (isinstance(error, TryAgainLaterError) and error.for_all):
            raise error
        self.progress.failed(stream, error)
        self._failure = self._failure or error

    def finish(self) -> None:
        """Raise what a slice failed with."""
        if self._failure:
            raise self._failure

    def _note_incomplete(self, stream: RestStream) -> None:
        self._incomplete.update(one.name for one in [stream, *stream.rest_descendants()])

    def _activate_version(self, stream: RestStream) -> None:
        """Tell the target that what this run did not see is gone, if it saw everything."""
        if not self.keeper.versioned(stream) or stream.name in self._incomplete:
            return
        for one in stream.stream_maps:
            self._writer.write_message(ActivateVersionMessage(one.stream_alias, self._version))

    def write_state(self, *, now: bool = False) -> None:
        """Write STATE when it changed and some time has passed since the last."""
        moment = time.monotonic()
        if not self._state or (not now and moment < self._state_due):
            return
        state = _encoder.encode(self._state)
        if state == self._last_state:
            return
        self._last_state = state
        self._writer.write_message(StateMessage(value=self._state))
        # A large STATE is written less often, so that it never costs more than a few per cent.
        cost = time.monotonic() - moment
        self._state_due = moment + max(self._state_interval, 50 * cost)


def _contexts(root: RestStream) -> Sequence[Mapping[str, Any]]:
    """Return what a root reads; an empty list of partitions means nothing at all."""
    found = root.partitions
    return [{}] if found is None else found
