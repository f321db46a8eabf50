# SPDX-License-Identifier: Apache-2.0
"""What a run tells about itself: JSON lines on standard error, at most one a second per stream."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["Progress", "write_event"]

_INTERVAL = 1.0


def write_event(event: dict[str, Any]) -> None:
    """Write one JSON line to standard error."""
    sys.stderr.write(msgspec.json.encode(event).decode() + "\n")
    sys.stderr.flush()


class Progress:
    """Counts records and partitions per stream and reports them now and then."""

    def __init__(
        self,
        write: Callable[[dict[str, Any]], None] = write_event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._clock = clock
        self._reported: dict[str, float] = {}
        self.records: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.partitions_done: Counter[str] = Counter()
        self.partitions_total: dict[str, int] = {}
        self.quota_remaining: int | None = None

    def report(self, stream: str, *, now: bool = False) -> None:
        """Write the stream's line when a second has passed since the last, or `now`."""
        moment = self._clock()
        if not now and moment - self._reported.get(stream, -_INTERVAL) < _INTERVAL:
            return
        self._reported[stream] = moment
        self._write(
            {
                "event": "progress",
                "stream": stream,
                "records": self.records[stream],
                "requests": self.requests[stream],
                "quota_remaining": self.quota_remaining,
                "partitions_done": self.partitions_done[stream],
                "partitions_total": self.partitions_total.get(stream),
            }
        )

    def skipped(self, stream: str, reason: str, **where: Any) -> None:
        """Tell that a stream or partition was left out."""
        self._write({"event": "stream_skipped", "stream": stream, "reason": reason, **where})
