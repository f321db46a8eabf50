# SPDX-License-Identifier: Apache-2.0
"""How one stream's replies become rows: which lane, which rows are new, which children follow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream
from singer_sdk.mapper import SameRecordTransform

from ipai_kit.rest.calls import Reply
from ipai_kit.rest.cursors import Cursor
from ipai_kit.rest.extraction import Slice
from ipai_kit.rest.pages import Page, Probe, Row, decode_records, slice_records
from ipai_kit.rest.retry import Action, Verdict

if TYPE_CHECKING:
    from ipai_kit.rest.streams import RestStream

__all__ = ["PageReader", "is_mapped", "needs_dicts"]

# How much more memory a page takes than its body has bytes.
_RAW_FACTOR, _DICT_FACTOR = 2, 8

# Stream map expressions share one evaluator per map, which is not made for threads.
_filter_lock = threading.Lock()


def needs_dicts(stream: Stream) -> bool:
    """Say whether records must be built: something looks into them or changes them."""
    return type(stream).post_process is not Stream.post_process or is_mapped(stream)


def is_mapped(stream: Stream) -> bool:
    """Say whether singer-sdk has to select, map or flatten the records."""
    maps = stream.stream_maps
    if len(maps) != 1 or not isinstance(maps[0], SameRecordTransform) or maps[0].flattening_enabled:
        return True
    return any(breadcrumb and not chosen for breadcrumb, chosen in stream.mask.items())


class PageReader:
    """Reads the pages of one stream; made when the run starts, used by all threads."""

    def __init__(self, stream: RestStream) -> None:
        self._stream = stream
        self.as_dicts = needs_dicts(stream)
        self.mapped = is_mapped(stream)
        self.children = [c for c in stream.rest_children if c.wanted]
        fields = [path for child in self.children for path in child.context_from_parent.values()]
        properties = stream.schema.get("properties", {})
        self.key = stream.replication_key if stream.incremental else None
        self.cursor = Cursor(properties.get(self.key) if self.key else None)
        self._probe = Probe([*fields, *([self.key] if self.key else [])])

    def read(self, reply: Reply, verdict: Verdict, piece: Slice) -> Page:
        """Make a page of a reply."""
        size = len(reply.body) * (_DICT_FACTOR if self.as_dicts else _RAW_FACTOR)
        page = Page(reply.received_at.isoformat(), size=size)
        page.etag = reply.headers.get("etag")
        page.unchanged = verdict.action is Action.UNCHANGED
        if verdict.action is not Action.OK:
            return page
        rows = self._rows(reply, piece.context)
        page.delivered = len(rows)
        page.rows = self._new_rows(rows, piece, page) if piece.fetch_start is not None else rows
        return page

    def _rows(self, reply: Reply, context: Mapping[str, Any]) -> list[Row]:
        stream = self._stream
        path = stream.records_path_for(context)
        if not self.as_dicts:
            raws = slice_records(reply, path, stream.records_optional)
            return self._with_cursors(raws, self._probe.read(raws))
        records = []
        extra = stream.context_values(context)
        for record in decode_records(reply, path, stream.records_optional):
            record.update(extra)
            processed = stream.post_process(record, context)
            if processed is not None:
                records.append(processed)
        return self._with_cursors(records, records)

    def _with_cursors(self, records: Sequence[Any], probed: Sequence[Any]) -> list[Row]:
        if self.key is None:
            return [Row(one, None, seen) for one, seen in zip(records, probed, strict=True)]
        cursor = self._probe.getter(self.key, self.as_dicts)
        return [Row(one, cursor(seen), seen) for one, seen in zip(records, probed, strict=True)]

    def _new_rows(self, rows: list[Row], piece: Slice, page: Page) -> list[Row]:
        """Drop what lies before the start, where the source does not do so itself."""
        stream, start = self._stream, piece.fetch_start
        if stream.cursor_param or not self.key:
            return rows
        new = []
        for row in rows:
            if not self.cursor.before(row.cursor, start):
                new.append(row)
            elif stream.sort == "descending":
                page.last = True
                break
        return new

    def child_contexts(
        self, piece: Slice, page: Page
    ) -> Iterator[tuple[int, int, RestStream, dict[str, Any], Any]]:
        """Yield row, column, child stream, its context and the cursor that leads to it."""
        if not self.children:
            return
        for number, row in enumerate(page.rows):
            if self.as_dicts and not self._passes_filter(row.record):
                continue
            driver = piece.driver if piece.owner else row.cursor
            for column, child in enumerate(self.children):
                found = {
                    name: self._probe.value(row.probed, path)
                    for name, path in child.context_from_parent.items()
                }
                context = {**piece.context, **found}
                if None not in found.values() and child.accepts_context(context):
                    yield number, column, child, context, driver

    def _passes_filter(self, record: dict[str, Any]) -> bool:
        with _filter_lock:
            return bool(self._stream.stream_maps[0].get_filter_result(record))
