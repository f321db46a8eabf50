# SPDX-License-Identifier: Apache-2.0
"""Fills batches from messages; decides when a batch is full and which STATE may follow it."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, repeat
from operator import itemgetter
from typing import Any

import msgspec

from ipai_kit.bronze import (
    NO_HASH,
    RecordRejectedError,
    RejectionReason,
    Row,
    StreamPlan,
    emitted_micros,
    holds_nul,
    is_decodable_name,
    new_record_hash,
    parse_emitted,
    plan_stream,
)
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.batch import DeadLetter, FlushBatch, StreamBatch
from ipai_kit.landing.batch_files import find_files, take_apart
from ipai_kit.landing.commit_order import CommitOrder
from ipai_kit.landing.drift import Drift
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.exceptions import (
    DeadLetterLimitError,
    InvalidRecordError,
    MissingKeyError,
    RecordBeforeSchemaError,
)
from ipai_kit.landing.generation import Generation
from ipai_kit.landing.place import BronzePlace, bronze_place
from ipai_kit.landing.record_check import RecordChecks, StreamChecks
from ipai_kit.landing.rejected_rows import BURYING, rejecting_stream
from ipai_kit.landing.settings import LandingSettings
from ipai_kit.landing.tombstones import newest
from ipai_kit.singer.reader import NUL_ESCAPE, DecodedBlock, InputError, Message, RejectedMessage
from ipai_kit.singer.record_runs import RecordRun


@dataclass
class StreamProgress:
    """What a run knows about a stream beyond the current batch."""

    plan: StreamPlan
    schema: bytes
    checks: StreamChecks
    generation: Generation
    received: int = 0
    keyless: int = 0


class Intake:
    """Takes decoded messages in order."""

    def __init__(
        self,
        settings: LandingSettings,
        submit: Callable[[FlushBatch], None],
        events: EventLog,
        between_blocks: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self.drift = Drift(events)
        self._events = events
        self._checks = RecordChecks(settings, events, self.drift)
        self._between_blocks = between_blocks or self.check_limit
        self.counts: Counter[str] = Counter()
        self.dead = 0
        self.deadline: float | None = None
        self._submit = submit
        self._batch = FlushBatch()
        self._streams: dict[str, StreamProgress] = {}
        self._places: dict[BronzePlace, str] = {}
        self._rows = 0
        self._size = 0
        self._read_at = 0
        self._order = CommitOrder() if settings.commits_state else None
        self._warned: set[str] = set()

    def take(self, block: DecodedBlock) -> None:
        """Take the messages of a block; flushes as often as a batch is full."""
        self._read_at = emitted_micros(datetime.now(UTC))
        self._take_messages(block)
        if block.fault is not None:
            raise block.fault

    def take_run(self, run: RecordRun) -> bool:
        """Take records whose messages are of one shape; False if they must be decoded instead."""
        progress = self._streams.get(run.stream)
        if progress is None:
            return False
        if self.settings.refuses_nul and NUL_ESCAPE in run.block:
            return False
        columns = progress.checks.take_apart(run.block, run.records)
        if columns is None:
            return False
        self._read_at = emitted_micros(datetime.now(UTC))
        if len(run.times) == 1:
            rows = columns.rows(repeat(self._emitted(run.times[0], run.stream)))
        else:
            moments = {time: self._emitted(time, run.stream) for time in dict.fromkeys(run.times)}
            rows = columns.rows(map(moments.__getitem__, run.times))
        self._take_rows(progress, rows, run.version)
        return True

    def flush(self, *, whole: bool = False) -> None:
        """Hand the batch over, with the latest STATE before this point.

        What no STATE covers yet may stay behind where that matters, unless all is to go.
        """
        if self._order is None:
            batches, self._batch = [self._batch], FlushBatch()
        else:
            is_full = min(self._room()) <= 0
            batches, self._batch = self._order.divide(self._batch, is_full=is_full, whole=whole)
        self._rows = sum(stream.received for stream in self._batch.streams.values())
        self._size = sum(stream.size for stream in self._batch.streams.values())
        self.deadline = None
        self._hand_over(batches)

    def stop(self) -> None:
        """Hand over what may be committed of an input that ends before its end."""
        if self._order is None:
            self.flush()
        else:
            self._hand_over(self._order.cut(self._batch))

    def _hand_over(self, batches: Sequence[FlushBatch]) -> None:
        for batch in batches:
            self._look_for_news(batch)
            if batch.holds_anything or batch.closes or batch.drops_open:
                self._submit(batch)

    def finish(self, *, is_complete: bool) -> None:
        """Flush the rest; a complete input also ends the generations it opened."""
        if is_complete:
            for progress in self._streams.values():
                version = progress.generation.complete_at_end()
                if version is not None:
                    self._stream_batch(progress).complete_version = version
        self._settle()
        self.flush()

    def check_limit(self, quarantined: int = 0) -> None:
        """Stop when more records could not be landed than allowed."""
        dead = self.dead + quarantined
        if dead > self.settings.dead_letter_limit:
            limit = self.settings.dead_letter_limit
            message = f"{dead} records could not be landed, 'dead_letter_limit' is {limit}."
            step = "They are kept among the dead letters with their reasons."
            raise DeadLetterLimitError(message, next_step=step)

    def check_keys(self) -> None:
        """Stop when nothing of a stream could be landed for want of its key."""
        for name, progress in self._streams.items():
            if progress.received and progress.received == progress.keyless:
                wanted = ", ".join(repr(key) for key in progress.plan.key_properties)
                message = (
                    f"None of the {progress.received} records has the key properties {wanted}."
                )
                raise MissingKeyError(message, stream=name, next_step="Correct the tap's catalog.")

    def _take_messages(self, block: DecodedBlock) -> None:
        """The hot loop: everything a record costs here is written out and kept in locals."""
        keeps_all = self.settings.keeps_every_version
        may_hold_nul = self.settings.refuses_nul and block.may_hold_nul
        last_time, emitted = None, self._read_at
        rows_left, bytes_left = self._room()
        name, counted, taken, size = None, None, 0, 0
        try:
            for position, message in enumerate(block.messages):
                if message.type != "RECORD":
                    self._count(counted, taken, size)
                    name, counted, taken, size = None, None, 0, 0
                    self._take_other(message, block.lines[position])
                    rows_left, bytes_left = self._room()
                    continue
                if message.stream != name:
                    self._count(counted, taken, size)
                    counted, taken, size = None, 0, 0
                    progress, stream = self._enter(message, block.lines[position])
                    counted = progress
                    name, extract = message.stream, progress.checks.extract
                    check = progress.checks.after_extract
                    rows, versions = stream.rows, stream.versions
                record = message.record
                length = len(record)
                taken += 1
                size += length
                rows_left -= 1
                bytes_left -= length
                try:
                    key, cursor = extract(record)
                    if message.version is not None:
                        progress.generation.take(stream, int(message.version), key)
                    if may_hold_nul and holds_nul(record):
                        raise _nul_character()
                    if check is not None:
                        check(record)
                except RecordRejectedError as error:
                    taken -= not record  # that ends the input and is nobody's record
                    self._reject(progress, stream, record, error, block.lines[position])
                else:
                    if message.time_extracted != last_time:
                        last_time = message.time_extracted
                        emitted = self._emitted(last_time, name)
                    if keeps_all:
                        versions.append((key, record, emitted, cursor, NO_HASH))
                    else:
                        digest = new_record_hash()
                        digest.update(record)
                        row = (key, record, emitted, cursor, digest.digest())
                        old = rows.setdefault(key, row)
                        if old is not row:
                            rows[key] = newest(progress.plan, old, row)
                if rows_left <= 0 or bytes_left <= 0:
                    self._count(counted, taken, size)
                    name, counted, taken, size = None, None, 0, 0
                    self.flush()
                    rows_left, bytes_left = self._room()
        finally:
            self._count(counted, taken, size)

    def _enter(self, message: Message, line: int) -> tuple[StreamProgress, StreamBatch]:
        """Find the stream of the records that follow."""
        progress = self._streams.get(message.stream)
        if progress is None:
            raise self._too_early(message, line)
        return progress, self._stream_batch(progress)

    def _look_for_news(self, batch: FlushBatch) -> None:
        """Search the first rows of each stream for what its SCHEMA does not know; tell of drift."""
        for name, stream in batch.streams.items():
            sample = self._streams[name].checks.sample
            if sample is not None:
                sample(stream.versions or stream.rows.values())
        self.drift.tell_totals()

    def _room(self) -> tuple[int, int]:
        """Rows and bytes that the batch still takes."""
        settings = self.settings
        return settings.batch_size_rows - self._rows, settings.batch_size_bytes - self._size

    def _take_other(self, message: Message, line: int) -> None:
        self.counts[message.type] += 1
        match message.type:
            case "STATE":
                self._take_state(message, line)
            case "SCHEMA":
                self._take_schema(message, line)
            case "ACTIVATE_VERSION":
                self._activate_version(message, line)
            case "BATCH":
                self._take_batch(message, line)
            case "REJECTED" if isinstance(message, RejectedMessage):
                self._take_rejected(message, line)
            case unknown:
                text = f"Line {line} of the input has the unknown message type {unknown!r}."
                stream = message.stream or None
                raise InputError(text, stream=stream, next_step="Use a tap that speaks Singer.")
        self._flush_if_full()

    def _take_state(self, message: Message, line: int) -> None:
        if not message.value:
            text = f"Line {line} of the input is a STATE without a value."
            raise InputError(text, next_step="Look at the tap.")
        self._batch.state = _text(message.value, "STATE", message.stream, line)
        self._settle()
        for progress in self._streams.values():
            progress.generation.state_passed()

    def _settle(self) -> None:
        """Note that what came so far may be committed."""
        if self._order is not None:
            self._order.settle(self._batch)
            self._batch = FlushBatch()

    def _take_schema(self, message: Message, line: int) -> None:
        given = _text(message.schema, "SCHEMA", message.stream, line)
        schema = msgspec.json.decode(given) if given else None
        is_usable = isinstance(schema, dict) and isinstance(schema.get("properties"), dict)
        if not message.stream or schema is None or not is_usable:
            text = f"Line {line} of the input is a SCHEMA without a stream or without properties."
            raise InputError(text, stream=message.stream, next_step="Look at the tap.")
        plan = plan_stream(
            message.stream,
            schema,
            key_properties=message.key_properties,
            bookmark_properties=message.bookmark_properties,
            source=self.settings.source,
            domain=self.settings.domain,
        )
        for name in (*plan.key_properties, plan.cursor_property or ""):
            if not is_decodable_name(name):
                text = f"Line {line} of the input has a SCHEMA with the key or cursor {name!r}."
                step = "Its name may hold no quote, backslash or control character."
                raise InputError(text, stream=message.stream, next_step=step)
        self._adopt(plan, given, schema)

    def _adopt(self, plan: StreamPlan, given: bytes, schema: dict[str, Any]) -> None:
        """Start a stream, or go on with it under a new plan after what came under the old one."""
        rejecting = self._streams.get(rejecting_stream(schema) or "")
        if rejecting is not None:  # its rows count as rows of that stream, and have no table
            self._streams[plan.stream] = StreamProgress(
                rejecting.plan, given, BURYING, Generation()
            )
            return
        owner = self._places.setdefault(bronze_place(plan), plan.stream)
        if owner != plan.stream:
            table = bronze_place(plan).table
            text = f"Streams {owner!r} and {plan.stream!r} would share table {table!r}."
            raise ConfigurationError(text, next_step="Rename one of them in the tap's catalog.")
        progress = self._streams.get(plan.stream)
        if progress is None:
            checks = self._checks.compile(plan, schema)
            progress = StreamProgress(plan, given, checks, Generation())
            self._streams[plan.stream] = progress
        elif progress.plan != plan or progress.schema != given:
            if not progress.plan.lands_like(plan):
                self.flush(whole=True)
            for one in self._streams.values():
                one.plan = plan if one.plan.stream == plan.stream else one.plan
            progress.schema = given
            progress.checks = self._checks.compile(plan, schema)
        self._stream_batch(progress)

    def _activate_version(self, message: Message, line: int) -> None:
        progress = self._streams.get(message.stream)
        if progress is None or message.version is None:
            text = f"Line {line} of the input activates a version without a SCHEMA or a version."
            raise InputError(text, stream=message.stream, next_step="Look at the tap.")
        version = int(message.version)
        if progress.generation.activate(version):
            self._stream_batch(progress).complete_version = version
            self.flush(whole=True)

    def _take_batch(self, message: Message, line: int) -> None:
        """Take the records of files; what ends a run is looked for after every block."""
        progress = self._streams.get(message.stream)
        if progress is None:
            raise self._too_early(message, line)
        for file in find_files(message, line):
            self._read_at = file.emitted
            for block in take_apart(file, progress.checks.take_apart, message, line):
                if isinstance(block, DecodedBlock):
                    self._take_messages(block)
                else:
                    self._take_rows(progress, block, message.version)
                if self.deadline is not None and time.monotonic() >= self.deadline:
                    self.flush()
                self._between_blocks()
            self._batch.read_files.append(file.path)

    def _take_rows(
        self, progress: StreamProgress, rows: Sequence[Row], version: float | None
    ) -> None:
        """Take records of one stream whose rows are ready."""
        while rows:
            taken, size = self._fitting(rows)
            part, rows = (rows, ()) if taken == len(rows) else (rows[:taken], rows[taken:])
            stream = self._stream_batch(progress)
            if version is not None:
                progress.generation.take_all(stream, int(version), (row[0] for row in part))
            stream.add(part)
            self._count(progress, taken, size)
            self._flush_if_full()

    def _fitting(self, rows: Sequence[Row]) -> tuple[int, int]:
        """How many rows the batch takes before it is full, and their bytes."""
        most, bytes_left = self._room()
        taken = min(len(rows), max(1, most))
        lengths = list(map(len, map(itemgetter(1), rows[:taken])))
        if sum(lengths) < bytes_left:
            return taken, sum(lengths)
        totals = list(accumulate(lengths))
        taken = min(taken, bisect_left(totals, bytes_left) + 1)
        return taken, totals[taken - 1]

    def _take_rejected(self, message: RejectedMessage, line: int) -> None:
        progress = self._streams.get(message.stream)
        if progress is None:
            raise self._too_early(message, line)
        stream = self._stream_batch(progress)
        error = RecordRejectedError(message.reason, message.error)
        self._reject(progress, stream, message.record, error, line)
        self._count(progress, 1, len(message.record))

    def _too_early(self, message: Message, line: int) -> RecordBeforeSchemaError:
        """Keep a record that came before its SCHEMA, and say so."""
        kind = "RECORD" if isinstance(message, RejectedMessage) else message.type
        text = f"Line {line} of the input has a {kind} before the SCHEMA of its stream."
        if not message.stream:
            text = f"Line {line} of the input has a {kind} without a stream."
        source = self.settings.source or "singer"
        if message.record:
            reason = RejectionReason.RECORD_BEFORE_SCHEMA
            letter = DeadLetter(source, message.stream, reason, text, bytes(message.record))
            self._batch.dead_letters.append(letter)
        return RecordBeforeSchemaError(text, stream=message.stream, next_step="Look at the tap.")

    def _reject(
        self,
        progress: StreamProgress,
        stream: StreamBatch,
        record: bytes,
        error: RecordRejectedError,
        line: int,
    ) -> None:
        if not record:
            text = f"Line {line} of the input is a RECORD without a record."
            raise InputError(text, stream=progress.plan.stream, next_step="Look at the tap.")
        self.dead += 1
        progress.keyless += error.reason == RejectionReason.MISSING_KEY
        self._batch.bury(stream, error.reason, error.error, record)
        self._warn_once(f"{progress.plan.stream}:{error.reason}", progress.plan.stream, line, error)
        if error.reason == RejectionReason.INVALID and self.settings.on_invalid == "fail":
            text = f"Line {line} of the input is not what its SCHEMA says: {error.error}."
            step = "Correct the tap, or set 'on_invalid' to 'land' or 'dead_letter'."
            raise InvalidRecordError(text, stream=progress.plan.stream, next_step=step)

    def _warn_once(self, topic: str, stream: str, line: int, error: RecordRejectedError) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            self._events.emit(
                "dead_letter",
                level="warning",
                stream=stream,
                line=line,
                reason=error.reason,
                error=error.error,
            )

    def _count(self, progress: StreamProgress | None, taken: int, size: int) -> None:
        """Add what was taken of a stream to every count."""
        if progress is None or not taken:
            return
        stream = self._stream_batch(progress)
        self.counts["RECORD"] += taken
        progress.received += taken
        stream.received += taken
        stream.size += size
        self._rows += taken
        self._size += size
        self._start_clock()

    def _flush_if_full(self) -> None:
        if min(self._room()) <= 0 or (self._order is not None and self._order.is_awaited):
            self.flush()
        else:
            self._start_clock()

    def _start_clock(self) -> None:
        if self.deadline is None:
            self.deadline = time.monotonic() + self.settings.flush_seconds

    def _stream_batch(self, progress: StreamProgress) -> StreamBatch:
        name = progress.plan.stream
        stream = self._batch.streams.get(name)
        if stream is None:
            stream = StreamBatch(progress.plan, self.settings.keeps_every_version)
            self._batch.streams[name] = stream
        elif stream.plan is not progress.plan:
            stream.plan = progress.plan
        return stream

    def _emitted(self, time_extracted: str | None, stream: str | None) -> int:
        if time_extracted is None:
            return self._read_at
        try:
            return parse_emitted(time_extracted)
        except ValueError:
            if "time_extracted" not in self._warned:
                self._warned.add("time_extracted")
                taken = "the time of reading"
                self._events.emit(
                    "unreadable_time_extracted", level="warning", stream=stream, taken=taken
                )
            return self._read_at


def _text(value: msgspec.Raw, kind: str, stream: str, line: int) -> bytes:
    """What a message holds undecoded, if it is text."""
    try:
        bytes(value).decode()
    except UnicodeDecodeError as error:
        text = f"Line {line} of the input has a {kind} that is not valid UTF-8."
        raise InputError(text, stream=stream, next_step="Look at the tap.") from error
    return bytes(value)


def _nul_character() -> RecordRejectedError:
    error = "A text holds a NUL character, which the store cannot hold."
    return RecordRejectedError(RejectionReason.NUL_CHARACTER, error)
