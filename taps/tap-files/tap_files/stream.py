# SPDX-License-Identifier: Apache-2.0
"""One stream of rows: all files of a pattern, each read from where the last run stopped.

STATE moves with what has been written. A run that is killed in the middle of a file goes on behind
the last row that the target has committed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import msgspec
from singer_sdk.singerlib import SchemaMessage

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    TryAgainLaterError,
)
from ipai_kit.local import LocalStream
from ipai_kit.singer.writer import FastWriter
from tap_files.exceptions import FileChangedError, UnreadableFileError
from tap_files.listing import SourceFile, list_files
from tap_files.patterns import Pattern
from tap_files.progress import FileProgress, is_young_enough
from tap_files.reading import read_rows
from tap_files.rows import DELETED_AT, FILE, LINE, MODIFIED, PLACE_SCHEMA, Rejected, Row

if TYPE_CHECKING:
    from tap_files.tap import TapFiles

__all__ = ["FileStream"]

_CHUNK = 1000
_OF_ONE_FILE = (
    ConfigurationError,
    CredentialsError,
    InternalError,
    TryAgainLaterError,
    UnreadableFileError,
)
_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(float_hook=Decimal).decode

REJECTED_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        FILE: PLACE_SCHEMA[FILE],
        LINE: PLACE_SCHEMA[LINE],
        MODIFIED: PLACE_SCHEMA[MODIFIED],
        "reason": {"type": "string", "description": "Why the row could not be read."},
        "raw": {"type": "string", "description": "The row as it stands in the file."},
        "raw_encoding": {"type": "string", "enum": ["text", "base64"]},
    },
}


@dataclass
class _Batch:
    """Rows of one file that are written together."""

    file: SourceFile
    rows: list[Row] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    rejected: int = 0
    last_line: int = 0


class FileStream(LocalStream):
    """The rows of the files that fit one pattern."""

    def __init__(self, tap: TapFiles, pattern: Pattern, schema: dict[str, Any]) -> None:
        self.pattern = pattern
        super().__init__(tap, schema=schema, name=pattern.name)
        self.primary_keys = list(pattern.key_properties or (FILE, LINE))
        self._names_rejected = False
        self._begun: set[str] = set()
        self._state_due = 0.0

    @property
    def files_tap(self) -> TapFiles:
        """The tap that runs this stream."""
        return cast("TapFiles", self._tap)

    @property
    def emit_activate_version_messages(self) -> bool:
        """Never: unchanged files are not read again, their rows are not gone."""
        return False

    def get_records(self, context: Mapping[str, Any] | None) -> Iterable[dict[str, Any]]:
        """Yield one record after the other, for whatever looks into records."""
        del context
        for batch in self._batches(1):
            place = batch.file.place()
            for line, content in batch.rows:
                values = content if isinstance(content, dict) else _decode(content)
                yield {**values, **place, LINE: line}
            yield from self._tombstones(batch)

    def _emit(self, context: Mapping[str, Any] | None) -> None:
        del context
        writer = cast("FastWriter", self.tap.message_writer)
        tails: dict[str, bytes] = {}
        for batch in self._batches(_CHUNK):
            self.tap.waiting.check()
            self._write_state_now_and_then()
            now = datetime.now(UTC).isoformat()
            tail = tails.get(batch.file.name)
            if tail is None:
                tails = {batch.file.name: (tail := _tail(batch.file))}
            records = [_record(content, tail % line) for line, content in batch.rows]
            writer.write_raw_records(self.name, records, now)
            writer.write_dict_records(self.name, self._tombstones(batch), now)
            self.state_manager.is_flushed = False
            self.tap.progress.records[self.name] += len(records)
            self.tap.progress.report(self.name)
        self.tap.progress.report(self.name, now=True)

    # -- reading ----------------------------------------------------------------------------

    def _batches(self, size: int) -> Iterator[_Batch]:
        """Yield what has to be written; what STATE says moves when the next one is asked for."""
        entries = self.stream_state.setdefault("files", {})
        whole, listed = True, set()
        try:
            for one in list_files(self.pattern, self.files_tap.store(self.pattern.path)):
                if isinstance(one, ConnectorError):
                    whole = False
                    self.files_tap.note_failure(self.name, one)
                    continue
                listed.add(one.name)
                if is_young_enough(one, self.config.get("start_date")):
                    yield from self._read_or_note(one, entries, size)
        except _OF_ONE_FILE as error:
            whole = False
            self.files_tap.note_failure(self.name, error)
        if whole:
            yield from self._forget(entries, listed)

    def _read_or_note(
        self, file: SourceFile, entries: dict[str, Any], size: int
    ) -> Iterator[_Batch]:
        """Read one file; what is wrong with it keeps no other from being read."""
        entry = entries.setdefault(file.name, {})
        try:
            yield from self._read(file, FileProgress(entry), size)
            entry.pop("error", None)
        except _OF_ONE_FILE as error:
            entry["error"] = error.message
            line = int(entry.get("line", 0))
            self.files_tap.note_failure(self.name, error, file=file.name, line=line)

    def _read(self, file: SourceFile, progress: FileProgress, size: int) -> Iterator[_Batch]:
        anew = bool(self.config.get("full_refresh")) and file.name not in self._begun
        self._begun.add(file.name)
        skip = progress.start(file, self.pattern, anew=anew)
        if skip is None:
            return
        batch = _Batch(file)
        damage: list[ConnectorError] = []
        longest = int(self.config["max_value_bytes"])
        rows = read_rows(file, self.pattern, self.schema["properties"], longest=longest, skip=skip)
        for row in _until_damage(rows, damage):
            if isinstance(row, Rejected):
                self._reject(file, row)
                batch.rejected += 1
            else:
                if self.pattern.keyed_by_place and progress.replaces:
                    batch.stale += progress.stale_lines(batch.last_line, row[0])
                batch.rows.append(row)
                batch.last_line = row[0]
            if len(batch.rows) + batch.rejected >= size:
                yield batch
                _advance(progress, batch)
                batch = _Batch(file)
        yield batch
        _advance(progress, batch)
        if damage:
            raise damage[0]
        self._check_unchanged(file, progress)
        if self.pattern.keyed_by_place and (stale := list(progress.stale_lines(0))):
            yield _Batch(file, stale=stale)
        progress.finish()

    def _check_unchanged(self, file: SourceFile, progress: FileProgress) -> None:
        if not self.pattern.append_only and file.now().version != file.version:
            progress.forget_version()
            message = f"{file.name!r} changed while it was read."
            raise FileChangedError(message, next_step="Run again when it is complete.")

    def _forget(self, entries: dict[str, Any], listed: set[str]) -> Iterator[_Batch]:
        """Drop the entries of files that are gone, and their rows where that is wanted."""
        gone = [name for name in entries if name not in listed]
        if gone and not listed:
            self.tap.progress.note("all_files_gone", stream=self.name, kept=len(gone))
            return  # rather an empty mount than the end of everything
        for name in gone:
            first, last = entries[name].get("first", 1), entries[name].get("line", 0)
            if self.pattern.deleted_files == "delete" and last:
                yield _Batch(SourceFile(None, name, name), stale=list(range(first, last + 1)))
            del entries[name]

    # -- writing ----------------------------------------------------------------------------

    def _tombstones(self, batch: _Batch) -> list[dict[str, Any]]:
        now = datetime.now(UTC).isoformat()
        return [{FILE: batch.file.name, LINE: line, DELETED_AT: now} for line in batch.stale]

    def _reject(self, file: SourceFile, row: Rejected) -> None:
        """Hand a row that cannot be read to the stream that our targets bury."""
        if self.ABORT_AT_RECORD_COUNT is not None:
            return
        name = self.pattern.rejected_stream
        if not self._names_rejected:
            marks = {**self.tap.annotation, "rejects": self.name}
            schema = {**REJECTED_SCHEMA, "x-ipai": marks}
            self.tap.write_message(SchemaMessage(name, schema, [FILE, LINE]))
            self._names_rejected = True
        record = {
            FILE: file.name,
            LINE: row.line,
            MODIFIED: file.modified_text,
            "reason": f"{file.name}: {row.reason}",
            **row.content(),
        }
        writer = cast("FastWriter", self.tap.message_writer)
        writer.write_dict_records(name, [record], datetime.now(UTC).isoformat())
        self.state_manager.is_flushed = False
        self.tap.progress.records[name] += 1

    def _write_state_now_and_then(self) -> None:
        moment = time.monotonic()
        if moment < self._state_due:
            return
        begun = time.thread_time()
        self._write_state_message()
        # A large STATE is written less often, so that it never costs more than a few per cent;
        # waiting for a slow target is no cost.
        cost = time.thread_time() - begun
        self._state_due = moment + max(self.tap.state_interval, 50 * cost)


def _until_damage(
    rows: Iterator[Row | Rejected], damage: list[ConnectorError]
) -> Iterator[Row | Rejected]:
    """Yield rows; what ends them early is kept until those before it are written."""
    try:
        yield from rows
    except _OF_ONE_FILE as error:
        damage.append(error)


def _advance(progress: FileProgress, batch: _Batch) -> None:
    first = batch.rows[0][0] if batch.rows else 0
    progress.advance(first, batch.last_line, len(batch.rows), batch.rejected)


def _tail(file: SourceFile) -> bytes:
    """Return what stands at the end of each record of a file; `%d` is the line."""
    place: bytes = _encode(file.place())
    return place[1:-1].replace(b"%", b"%%") + b',"%s":%%d}' % LINE.encode()


def _record(content: dict[str, Any] | bytes, tail: bytes) -> bytes:
    body = (_encode(content) if isinstance(content, dict) else content)[:-1].rstrip()
    return body + tail if body == b"{" else body + b"," + tail
