# SPDX-License-Identifier: Apache-2.0
"""One stream for each model: what changed since the last run, everything now and then, deletions.

STATE of a stream: `replication_key_value`, the moment up to which all changes are known; `full_at`,
when everything was read; `ids`, what the target may have, and `ids_at`, when that was compared with
the source; `of`, a digest of the settings and members that records were made with; while everything
is being read also `reading`: the id reached, the moment and the digest it began with; while records
that were missed are being read `missed`, their ids: the target may have them or not.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ipai_kit.exceptions import (
    ConfigurationError,
    InternalError,
    StreamUnavailableError,
    TryAgainLaterError,
)
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
_CLOCKS_DIFFER = timedelta(days=1)  # a bookmark further ahead was taken from a wrong clock
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
        except (ConfigurationError, InternalError, TryAgainLaterError) as error:
            if self.ABORT_AT_RECORD_COUNT or self._concerns_all(error):
                raise
            self.tap.run.pass_by(self.name, error)
        else:
            cast("TapOdoo", self.tap).is_busy = False
        finally:
            self._keep_ids()  # STATE may already say how far the reading came

    def _concerns_all(self, error: Exception) -> bool:
        """A wrong address does; a slow model does not, yet a server that fails twice in a row."""
        if isinstance(error, TryAgainLaterError):
            tap = cast("TapOdoo", self.tap)
            was_busy, tap.is_busy = tap.is_busy, True
            return was_busy or error.for_all
        return isinstance(error, ConfigurationError) and bool(error.url or not error.stream)

    def _write_state_message(self) -> None:
        """Let STATE know what the target has, whenever it is written."""
        self._keep_ids()
        super()._write_state_message()

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
        """Yield what is new, what is gone, what was missed; STATE follows a block taken."""
        whole = self._reads_everything()
        self._bookmark.setdefault("of", self._digest)
        for block in self._everything() if whole else self._changes():
            if not whole and (new := [one for one in block.ids if one not in self._known]):
                self._announce(sorted(new))
            yield block
            self._note(block, whole=whole)
        self._finish(whole=whole)
        if whole or _is_due(self._bookmark.get("ids_at"), self._deletes_interval):
            yield from self._compared(whole=whole)

    def _reads_everything(self) -> bool:
        mark, config = self._bookmark, self.config
        if config.get("full_refresh") or self.replication_method != "INCREMENTAL":
            return True
        if "reading" in mark or "replication_key_value" not in mark:
            return True
        if mark.get("of", self._digest) != self._digest:
            return True
        if mark["replication_key_value"] > _exact_now(ahead=_CLOCKS_DIFFER):
            return True
        return _is_due(mark.get("full_at"), timedelta(days=config["full_refresh_days"]))

    def _everything(self) -> Iterator[Block]:
        mark = self._bookmark
        is_other = mark.get("reading", {}).get("of", self._digest) != self._digest
        if "reading" not in mark or is_other or self.config.get("full_refresh"):
            began = {"after": 0, "from": self._source.high_water(self.shape), "at": _now()}
            mark["reading"] = {**began, "of": self._digest}
            self._announce(one for ids in self._source.ids(self.shape, self._start) for one in ids)
        position = Position(after_id=mark["reading"]["after"], not_before=self._start)
        yield from self._source.read(self.shape, position)

    @cached_property
    def _digest(self) -> str:
        """What records are made of: after it has changed, those delivered before are others."""
        config, members = self.config, self.schema["properties"]
        chosen = sorted(name for name in members if self.mask["properties", name])
        scope = [config.get(name) for name in ("company_ids", "company_id", "language")]
        return f"{zlib.crc32(json.dumps([scope, chosen]).encode()):08x}"

    @property
    def _start(self) -> str | None:
        return self.config.get("start_date") if self.replication_key else None

    def _changes(self) -> Iterator[Block]:
        known = min(self._bookmark["replication_key_value"], _exact_now())
        since = datetime.fromisoformat(known) - timedelta(minutes=self.config["lookback_minutes"])
        yield from self._source.read(self.shape, Position(since=since.isoformat()))

    def _announce(self, ids: Iterable[int]) -> None:
        """Tell STATE ids before their records leave.

        A run that is killed may have landed them: if they are gone by the next, that must be told.
        """
        before = len(self._known)
        self._known = self._known.merged(IdRanges.of(ids))
        if len(self._known) > before:
            self._tell_state()

    def _tell_state(self) -> None:
        if not self.ABORT_AT_RECORD_COUNT:
            self.state_manager.is_flushed = False
            self._write_state_message()

    def _note(self, block: Block, *, whole: bool) -> None:
        if whole:
            self._delivered.extend(block.ids)  # some may have appeared after the announcement
            self._bookmark["reading"]["after"] = block.ids[-1]
        elif block.latest:
            self._advance(block.latest)
        self.state_manager.is_flushed = False
        if time.monotonic() >= self._state_due:
            self._write_state_message()
            self._state_due = time.monotonic() + self.tap.state_interval

    def _advance(self, moment: str) -> None:
        """Never beyond now: a record from a wrong clock would hide all changes until then."""
        mark = self._bookmark
        mark["replication_key"] = self.replication_key
        latest = max(mark.get("replication_key_value", ""), moment)
        mark["replication_key_value"] = min(latest, _exact_now())

    @cached_property
    def _known(self) -> IdRanges:
        """The ids of STATE, which takes long to read when it has many gaps."""
        return IdRanges.parse(self._bookmark.get("ids", ""))

    def _keep_ids(self) -> IdRanges:
        """Put into STATE which ids the target has."""
        if self._delivered:
            self._known = self._known.union(self._delivered)
            self._delivered.clear()
        self._bookmark["ids"] = self._known.text
        return self._known

    def _finish(self, *, whole: bool) -> None:
        """After everything was read, what changed since its beginning is still to come."""
        mark = self._bookmark
        if whole:
            began = mark.pop("reading")
            mark["full_at"], mark["of"] = began["at"], self._digest
            if self.replication_key and began["from"]:
                self._advance(began["from"])

    # -- comparing ids ----------------------------------------------------------------------

    @property
    def _deletes_interval(self) -> timedelta:
        return timedelta(hours=self.config["deletes_interval_hours"])

    def _compared(self, *, whole: bool) -> Iterator[Block]:
        """Yield what the target has and the source no longer, then what it never got."""
        mark, moment = self._bookmark, _now()
        known = self._keep_ids()
        now = IdRanges.of(one for ids in self._source.ids(self.shape) for one in ids)
        landed = known.merged(IdRanges.parse(mark.get("missed", "")))
        for ids in _chunks(landed.without(now)):
            yield Block(ids, rows=[{"id": one, _DELETED: moment} for one in ids])
        # What appeared meanwhile was not delivered yet: it must not count as known.
        self._known = known.overlap(now)
        mark.pop("missed", None)
        if not whole:
            yield from self._missed(now, known)
        mark["ids_at"] = moment
        self.state_manager.is_flushed = False

    def _missed(self, now: IdRanges, known: IdRanges) -> Iterator[Block]:
        """Yield records whose moment of change lay behind the bookmark when they appeared."""
        start = self._start
        if start is not None:
            now = IdRanges.of(one for ids in self._source.ids(self.shape, start) for one in ids)
        missed = IdRanges.of(now.without(known))
        if missed:  # not yet among the known ids, or a run that is killed would never read them
            self._bookmark["missed"] = missed.text
            self._tell_state()
        for ids in _chunks(iter(missed)):
            for block in self._source.read(self.shape, Position(after_id=0, among=ids)):
                yield block
                self._delivered.extend(block.ids)
        self._bookmark.pop("missed", None)


def _chunks(ids: Iterator[int]) -> Iterator[list[int]]:
    while chunk := list(islice(ids, _CHUNK)):
        yield chunk


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _exact_now(ahead: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + ahead).isoformat(timespec="microseconds")


def _is_due(last: str | None, interval: timedelta) -> bool:
    return last is None or datetime.now(UTC) - datetime.fromisoformat(last) >= interval
