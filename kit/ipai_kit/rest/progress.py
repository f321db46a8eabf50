# SPDX-License-Identifier: Apache-2.0
"""What a run tells about itself: JSON lines on standard error, at most one a second per stream."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ipai_kit.exceptions import ConnectorError
from ipai_kit.logs import event
from ipai_kit.quota import Quota

__all__ = ["Progress"]

_INTERVAL = 1.0


class Progress:
    """Counts records and partitions per stream and reports them now and then."""

    def __init__(
        self,
        requests: Mapping[str, int],
        quota: Quota,
        write: Callable[..., None] = event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = requests
        self._quota = quota
        self._write = write
        self._clock = clock
        self._reported: dict[str, float] = {}
        self.records: Counter[str] = Counter()
        self.partitions_done: Counter[str] = Counter()
        self.partitions_total: dict[str, int] = {}

    def report(self, stream: str, *, now: bool = False) -> None:
        """Write the stream's line when a second has passed since the last, or `now`."""
        moment = self._clock()
        if not now and moment - self._reported.get(stream, -_INTERVAL) < _INTERVAL:
            return
        self._reported[stream] = moment
        resets_in = self._quota.resets_in()
        self._write(
            "progress",
            stream=stream,
            records=self.records[stream],
            requests=self._requests.get(stream, 0),
            quota_remaining=self._quota.remaining(),
            quota_resets_in=None if resets_in is None else round(resets_in, 1),
            partitions_done=self.partitions_done[stream],
            partitions_total=self.partitions_total.get(stream),
        )

    def skipped(self, stream: str, reason: str, **where: Any) -> None:
        """Tell that a stream or partition was left out."""
        known = {name: value for name, value in where.items() if value}
        self._write("stream_skipped", stream=stream, reason=reason, **known)

    def failed(self, stream: str, error: ConnectorError) -> None:
        """Tell that a slice failed while the others go on."""
        self._write(
            "stream_failed",
            stream=stream,
            error_class=type(error).__name__,
            reason=error.message,
            url=error.url,
            status=error.status,
        )

    def note(self, name: str, **fields: Any) -> None:
        """Write any other event."""
        self._write(name, **fields)
