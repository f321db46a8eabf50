# SPDX-License-Identifier: Apache-2.0
"""One stream for each model: what changed since the last run, everything now and then, deletions.

STATE of a stream: `replication_key_value`, the moment up to which all changes are known; `full_at`,
when everything was read; `ids`, what the target has, and `ids_at`, when that was compared with the
source; while everything is being read also `reading`: the id reached and the moment it began with.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ipai_kit.exceptions import InternalError, StreamUnavailableError
from ipai_kit.local import LocalStream
from tap_odoo.fields import property_of
from tap_odoo.id_ranges import IdRanges
from tap_odoo.models import Shape
from tap_odoo.source import Block, Position, Source

if TYPE_CHECKING:
    from ipai_kit.singer.writer import FastWriter
    from tap_odoo.tap import TapOdoo

__all__ = ["OdooStream"]

_DELETED = "_sdc_deleted_at"
_CHUNK = 1000
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class OdooStream(LocalStream):
    """The records of one model, archived ones included."""

    primary_keys = ("id",)

    def __init__(self, tap: TapOdoo, shape: Shape) -> None:
        self.shape = shape
        spec = tap.stream_spec(shape.stream.name)
        self.selected_by_default = spec.selected if spec else True
        self._delivered: list[int] = []  # since the ids were put into STATE
        self._state_due = time.monotonic() + tap.state_interval
        super().__init__(tap, name=shape.stream.name)
        self.replication_key = "write_date" if shape.model.has_write_date else None

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The members of a record; deletions add when they were noticed."""
        noticed = {"description": "When it was noticed that the record is gone."}
        deleted = {_DELETED: {**noticed, **property_of("datetime")}}
        return {"type": "object", "properties": {**self.shape.schema, **deleted}}

    @property
    def _source(self) -> Source:
        return cast("TapOdoo", self.tap).source

    # -- what singer-sdk asks ---------------------------------------------------------------

    def get_records(self, context: Mapping[str, Any] | None) -> Iterable[dict[str, Any]]:
        """Yield records one by one, for stream maps, selected members and dry runs."""
        del context
        for block in self._blocks():
            yield from block.rows or map(_decode, block.lines)

    def _sync_records(
        self, context: Mapping[str, Any] | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        """Leave out what cannot be read; the others go on, and a failure is told at the end."""
        try:
            yield from super()._sync_records(context, write_messages=write_messages)
        except StreamUnavailableError as error:
            where = {"url": error.url, "status": error.status, "next_step": error.next_step}
            self.tap.progress.skipped(self.name, error.message, **where)
        except InternalError as error:
            if self.ABORT_AT_RECORD_COUNT:
                raise
            self.tap.progress.failed(self.name, error)
            cast("TapOdoo", self.tap).failures.append(error)

    def _emit(self, context: Mapping[str, Any] | None) -> None:
        del context
        writer = cast("FastWriter", self.tap.message_writer)
        progress = self.tap.progress
        for block in self._blocks():
            self.tap.waiting.check()
            now, version = datetime.now(UTC).isoformat(), self._stream_version
            if block.lines:
                writer.write_raw_records(self.name, block.lines, now, version=version)
            else:
                writer.write_dict_records(self.name, block.rows, now, version=version)
            progress.records[self.name] += len(block.ids)
            progress.report(self.name)
        progress.report(self.name, now=True)

    def _increment_stream_state(
        self, latest_record: Mapping[str, Any], *, context: Mapping[str, Any] | None = None
    ) -> None:
        """Leave STATE to the reading, which knows more than a record tells."""

    def _write_starting_replication_value(self, context: Mapping[str, Any] | None) -> None:
        """Leave no markers in STATE."""

    # -- reading ----------------------------------------------------------------------------

    @property
    def _bookmark(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.stream_state)

    def _blocks(self) -> Iterator[Block]:
        """Yield what is new, then what is gone; STATE follows when a block was taken."""
        whole = self._reads_everything()
        for block in self._everything() if whole else self._changes():
            yield block
            self._note(block, whole=whole)
        self._finish(whole=whole)
        yield from self._gone()

    def _reads_everything(self) -> bool:
        mark, config = self._bookmark, self.config
        if config.get("full_refresh") or self.replication_method != "INCREMENTAL":
            return True
        if "reading" in mark or "replication_key_value" not in mark:
            return True
        return _is_due(mark.get("full_at"), timedelta(days=config["full_refresh_days"]))

    def _everything(self) -> Iterator[Block]:
        mark = self._bookmark
        if "reading" not in mark or self.config.get("full_refresh"):
            began = {"after": 0, "from": self._source.high_water(self.shape), "at": _now()}
            mark["reading"] = began
        start = self.config.get("start_date") if self.replication_key else None
        position = Position(after_id=mark["reading"]["after"], not_before=start)
        yield from self._source.read(self.shape, position)

    def _changes(self) -> Iterator[Block]:
        known = datetime.fromisoformat(self._bookmark["replication_key_value"])
        since = known - timedelta(minutes=self.config["lookback_minutes"])
        yield from self._source.read(self.shape, Position(since=since.isoformat()))

    def _note(self, block: Block, *, whole: bool) -> None:
        self._delivered.extend(block.ids)
        if whole:
            self._bookmark["reading"]["after"] = block.ids[-1]
        elif block.latest:
            self._advance(block.latest)
        self.state_manager.is_flushed = False
        if time.monotonic() >= self._state_due:
            self._keep_ids()
            self._write_state_message()
            self._state_due = time.monotonic() + self.tap.state_interval

    def _advance(self, moment: str) -> None:
        mark = self._bookmark
        mark["replication_key"] = self.replication_key
        mark["replication_key_value"] = max(mark.get("replication_key_value", ""), moment)

    def _keep_ids(self) -> IdRanges:
        """Put into STATE which ids the target has."""
        known = IdRanges.parse(self._bookmark.get("ids", "")).union(self._delivered)
        self._delivered.clear()
        self._bookmark["ids"] = known.text
        return known

    def _finish(self, *, whole: bool) -> None:
        """After everything was read, what changed since its beginning is still to come."""
        mark = self._bookmark
        if whole:
            began = mark.pop("reading")
            mark["full_at"] = began["at"]
            if self.replication_key and began["from"]:
                self._advance(began["from"])

    # -- deletions --------------------------------------------------------------------------

    def _gone(self) -> Iterator[Block]:
        """Yield what the target has and the source no longer."""
        mark, config = self._bookmark, self.config
        known = self._keep_ids()
        if not _is_due(mark.get("ids_at"), timedelta(hours=config["deletes_interval_hours"])):
            return
        now = IdRanges.of(one for ids in self._source.ids(self.shape) for one in ids)
        moment = _now()
        rows: list[dict[str, Any]] = []
        for one in known.without(now):
            rows.append({"id": one, _DELETED: moment})
            if len(rows) == _CHUNK:
                yield Block([row["id"] for row in rows], rows=rows)
                rows = []
        if rows:
            yield Block([row["id"] for row in rows], rows=rows)
        # What appeared meanwhile was not delivered yet: it must not count as known.
        mark["ids"] = known.overlap(now).text
        mark["ids_at"] = moment


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_due(last: str | None, interval: timedelta) -> bool:
    return last is None or datetime.now(UTC) - datetime.fromisoformat(last) >= interval
