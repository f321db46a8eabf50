# SPDX-License-Identifier: Apache-2.0
"""Counts what a stand-in was asked: totals, per route, and the busiest second."""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

_SECOND = 1.0


class Statistics:
    """Request counts; the peak is over any stretch of one second, not over clock seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Start counting at zero; requests in flight stay in flight."""
        self.requests = 0
        self.in_flight = 0
        self.peak_per_second = 0
        self.peak_concurrency = 0
        self.bytes_sent = 0
        self.routes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.route_statuses: Counter[tuple[str, int]] = Counter()
        self.faults: Counter[str] = Counter()
        self._recent: deque[float] = deque()
        self._first = 0.0
        self._last = 0.0

    def arrived(self, route: str) -> None:
        """A request has come in."""
        now = self._clock()
        recent = self._recent
        recent.append(now)
        while recent[0] <= now - _SECOND:
            recent.popleft()
        self.requests += 1
        self.in_flight += 1
        self.routes[route] += 1
        self.peak_per_second = max(self.peak_per_second, len(recent))
        self.peak_concurrency = max(self.peak_concurrency, self.in_flight)
        self._first = self._first or now
        self._last = now

    def answered(self, route: str, status: int, size: int) -> None:
        """A request has its reply; status 0 stands for a connection without one."""
        self.in_flight = max(0, self.in_flight - 1)
        self.statuses[status] += 1
        self.route_statuses[route, status] += 1
        self.bytes_sent += size

    def report(self) -> dict[str, Any]:
        """Everything counted, as the control endpoint shows it."""
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "peak_requests_per_second": self.peak_per_second,
            "peak_concurrency": self.peak_concurrency,
            "bytes_sent": self.bytes_sent,
            "seconds": round(self._last - self._first, 3),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "faults": dict(self.faults),
            "routes": {
                route: {"requests": count, "statuses": self._statuses_of(route)}
                for route, count in sorted(self.routes.items())
            },
        }

    def _statuses_of(self, route: str) -> dict[str, int]:
        return {
            str(status): count
            for (name, status), count in sorted(self.route_statuses.items())
            if name == route
        }
