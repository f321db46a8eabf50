# SPDX-License-Identifier: Apache-2.0
"""One JSON line per event on standard error; STATE on standard output, one line per commit."""

import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from ipai_kit.landing.batch import Quarantined, StreamReport
from ipai_kit.landing.exceptions import StateReaderGoneError
from ipai_kit.singer.output import standard_output, write_whole

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class EventLog:
    """Writes events under the name of a target."""

    logger: str

    def emit(self, event: str, *, level: str = "info", **fields: Any) -> None:
        """Write an event; names and counts only, never a value of a record."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"ts": moment, "level": level, "event": event, "logger": self.logger, **fields}
        with contextlib.suppress(OSError):  # a run goes on when nobody reads its log
            sys.stderr.write(_encode(line).decode() + "\n")
            sys.stderr.flush()

    def quarantined(self, records: Sequence[Quarantined]) -> None:
        """Warn of records that the store refused, once per stream and reason."""
        for refused, count in Counter(records).items():
            self.emit(
                "dead_letter",
                level="warning",
                stream=refused.stream,
                reason=refused.reason,
                error=refused.error,
                records=count,
            )

    def flushed(self, report: StreamReport) -> None:
        """What a commit did to a stream; the runner counts rows by these lines."""
        fields: dict[str, Any] = {"retired": report.retired} if report.retired else {}
        self.emit(
            "flushed",
            stream=report.stream,
            received=report.received,
            inserted=report.inserted,
            updated=report.updated,
            unchanged=report.unchanged,
            dead=report.dead,
            bytes=report.size,
            seconds=round(report.seconds, 4),
            **fields,
        )


def hand_on_state(state: bytes) -> None:
    """Print a STATE value as it was delivered; its rows are committed."""
    try:
        write_whole(standard_output(), state + b"\n")
    except BrokenPipeError as error:
        message = "The reader of STATE on standard output is gone."
        step = "The rows are committed; the next run repeats them without effect."
        raise StateReaderGoneError(message, next_step=step) from error
