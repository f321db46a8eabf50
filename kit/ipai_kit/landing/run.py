# SPDX-License-Identifier: Apache-2.0
"""A run: waits for input, time or a signal, and keeps STATE behind the rows it speaks of."""

import contextlib
import time
from pathlib import Path

from ipai_kit.exceptions import ConnectorError, StoppedError
from ipai_kit.landing.batch import FlushBatch, StreamReport
from ipai_kit.landing.events import EventLog, hand_on_state
from ipai_kit.landing.flush_writer import FlushWriter
from ipai_kit.landing.intake import Intake
from ipai_kit.landing.program import Landing
from ipai_kit.landing.stop_signal import StopSignal
from ipai_kit.singer.reader import (
    LARGE_LINE_BYTES,
    ByteSource,
    LineBlocks,
    MessageDecoder,
)
from ipai_kit.singer.record_runs import split_runs


class TargetRun:
    """Reads Singer messages and lands them."""

    def __init__(self, landing: Landing, events: EventLog, stop: StopSignal) -> None:
        self._stop = stop
        self._events = events
        self._store = landing.make_store(events, stop.requested)
        self._store.open()
        self._writer = FlushWriter(self._store, self._committed, stop.wake)
        self.intake = Intake(
            landing.settings, self._writer.submit, events, between_blocks=self._check
        )
        self._quarantined = 0
        self._read_files: list[Path] = []
        self._deletes_files = landing.settings.delete_batch_files
        self._last_state: bytes | None = None

    def read(self, source: ByteSource) -> None:
        """Take everything from a source; commits what came before an error, then raises it."""
        try:
            self._read_all(source)
        except ConnectorError:
            if not self._writer.has_failed:
                self.intake.stop()
                self._writer.wait()
            raise

    def finish(self) -> None:
        """Commit the rest at the clean end of the input."""
        self.intake.finish(is_complete=True)
        self._writer.wait()
        self._store.finish()
        self.intake.check_limit(self._quarantined)
        self.intake.check_keys()

    def close(self) -> None:
        """End the writer and hang up."""
        self.intake.drift.tell_totals(is_end=True)
        self._writer.close()
        self._store.close()

    def _read_all(self, source: ByteSource) -> None:
        lines, decoder = LineBlocks(), MessageDecoder()
        while True:
            self._check()
            if source.wait(self._seconds_left()):
                chunk = source.read()
                if not chunk:
                    self._check()  # who stops us may have stopped the tap: that is no clean end
                    break
                block = lines.feed(chunk)
                if lines.is_large:
                    self._commit_all()
                if block is not None:
                    self._take(block, decoder)
                    if len(block) > LARGE_LINE_BYTES:
                        del block
                        self._commit_all()
            if self._seconds_left() == 0:
                self.intake.flush()
        if rest := lines.rest():
            self.intake.take(decoder.decode(rest, is_cut_off=True))

    def _take(self, block: bytes, decoder: MessageDecoder) -> None:
        """Take whole lines; those that are records of one shape without decoding each message."""
        for part in split_runs(block):
            if isinstance(part, bytes):
                self.intake.take(decoder.decode(part))
            elif self.intake.take_run(part):
                decoder.line_count += len(part.records)
            else:
                self.intake.take(decoder.decode(part.text))

    def _commit_all(self) -> None:
        """Neither read a large line while others are landed nor others while it is: it adds up."""
        if self.intake.deadline is not None:
            self.intake.flush()
        self._writer.wait()

    def _check(self) -> None:
        """See whether the run must end: an error of the writer, too many dead letters, a signal."""
        self._writer.check()
        self.intake.check_limit(self._quarantined)
        if self._stop.signum is not None:
            raise StoppedError(self._stop.signum)

    def _seconds_left(self) -> float | None:
        """Until what was read must be committed; None when nothing waits."""
        deadline = self.intake.deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def _committed(self, batch: FlushBatch, reports: list[StreamReport]) -> None:
        """Called by the writer after each commit: only now may the STATE leave."""
        self._quarantined += len(batch.quarantined)
        self._events.quarantined(batch.quarantined)
        self._read_files = [] if batch.drops_open else self._read_files + batch.read_files
        if batch.is_open:
            return
        for report in reports:
            if report.received or report.retired:
                self._events.flushed(report)
        if batch.state is not None and batch.state != self._last_state:
            hand_on_state(batch.state)
            self._last_state = batch.state
        files, self._read_files = self._read_files, []
        if self._deletes_files:
            for path in files:
                with contextlib.suppress(OSError):  # it is loaded: whether it goes is no matter
                    path.unlink()
