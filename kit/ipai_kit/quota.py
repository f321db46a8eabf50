# SPDX-License-Identifier: Apache-2.0
"""What a run may ask of a source: one limiter for all threads of the process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ipai_kit.exceptions import TryAgainLaterError
from ipai_kit.waiting import Waiting

__all__ = ["Limits", "Quota"]

# A request counts against its second from the moment the server can last have seen it: when its
# reply came, or half a second after it was let go. So the rate holds at the server, not only here.
_LATEST_ARRIVAL = 0.5
_RATE_WINDOW = 1.0
_TICK = 0.1
_NEW_WINDOW = 5.0  # a reset that moved this far belongs to the next window


@dataclass(frozen=True)
class Limits:
    """The budget of a run. `share` is what an outside quota (other workers) leaves to us."""

    requests_per_second: float = 5.0
    concurrency: int = 4
    requests_per_run: int | None = None
    max_wait_seconds: float = 900.0
    share: float = 1.0

    def window(self) -> tuple[int, float]:
        """Return how many requests may start within how many seconds."""
        rate = self.requests_per_second * self.share
        return (int(rate), _RATE_WINDOW) if rate >= 1 else (1, _RATE_WINDOW / rate)

    def total(self) -> int | None:
        """Return how many requests this run may make."""
        return None if self.requests_per_run is None else int(self.requests_per_run * self.share)


@dataclass
class _Slot:
    """One request that was let go."""

    started: float
    ended: float | None = None

    def arrived_by(self) -> float:
        latest = self.started + _LATEST_ARRIVAL
        return latest if self.ended is None else min(self.ended, latest)


class Quota:
    """Lets requests go: never faster than the rate, never more at once, never into a limit."""

    def __init__(self, limits: Limits, waiting: Waiting | None = None) -> None:
        self._limits = limits
        self._waiting = waiting or Waiting()
        self._lock = threading.Lock()
        self._recent: deque[_Slot] = deque()
        self._places = threading.BoundedSemaphore(limits.concurrency)
        self._paused_until: dict[str, float] = {}
        self._remaining: dict[str, int] = {}
        self._resets_at: dict[str, float] = {}
        self.requests = 0

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._limits

    def remaining(self, bucket: str = "default") -> int | None:
        """Return what the source says is left, if it says so."""
        return self._remaining.get(bucket)

    def resets_in(self, bucket: str = "default") -> float | None:
        """Return the seconds until the source's window ends, if it says so and has not ended."""
        left = self._resets_at.get(bucket, 0.0) - self._waiting.monotonic()
        return left if left > 0 else None

    def lower(self, *, share: float | None = None, requests_per_run: int | None = None) -> None:
        """Take a smaller share, as an outside quota asks; never a larger one."""
        with self._lock:
            now = self._limits
            total = now.requests_per_run
            if requests_per_run is not None:
                total = requests_per_run if total is None else min(total, requests_per_run)
            smaller = now.share if share is None else min(share, now.share)
            self._limits = replace(now, share=smaller, requests_per_run=total)

    @contextmanager
    def slot(self, bucket: str = "default") -> Iterator[None]:
        """Hold a place for one request; waits until one is free."""
        while not self._places.acquire(timeout=_TICK):
            self._waiting.check()
        try:
            slot = self._enter(bucket)
            try:
                yield
            finally:
                slot.ended = self._waiting.monotonic()
        finally:
            self._places.release()

    def _enter(self, bucket: str) -> _Slot:
        while True:
            with self._lock:
                wait = self._wait_needed(bucket)
                if wait <= 0:
                    return self._let_go(bucket)
            self._waiting.sleep(wait)

    def _wait_needed(self, bucket: str) -> float:
        self._refuse_over_budget()
        now = self._waiting.monotonic()
        until = max(self._paused_until.get(bucket, 0), self._paused_until.get("*", 0))
        if self._remaining.get(bucket) == 0:
            until = max(until, self._resets_at.get(bucket, 0))
        if (pause := until - now) > 0:
            self._refuse_long_wait(pause)
            return pause
        count, seconds = self._limits.window()
        while self._recent and self._recent[0].arrived_by() + seconds <= now:
            self._recent.popleft()
        if len(self._recent) < count:
            return 0.0
        return max(self._recent[-count].arrived_by() + seconds - now, 0.001)

    def _let_go(self, bucket: str) -> _Slot:
        slot = _Slot(self._waiting.monotonic())
        self._recent.append(slot)
        self.requests += 1
        if bucket in self._remaining:
            self._remaining[bucket] = max(self._remaining[bucket] - 1, 0)
        return slot

    def _refuse_over_budget(self) -> None:
        total = self._limits.total()
        if total is not None and self.requests >= total:
            message = f"The run has used its budget of {total!r} requests."
            raise TryAgainLaterError(
                message,
                retry_at=datetime.fromtimestamp(self._waiting.now(), UTC),
                for_all=True,
                next_step="Run again to continue, or raise 'requests_per_run'.",
            )

    def _refuse_long_wait(self, seconds: float) -> None:
        if seconds > self._limits.max_wait_seconds:
            retry_at = datetime.fromtimestamp(self._waiting.now() + seconds, UTC)
            message = f"The source's quota is spent until {retry_at.isoformat(timespec='seconds')}."
            raise TryAgainLaterError(
                message,
                retry_at=retry_at,
                for_all=True,
                next_step="Run again after that, or ask for less.",
            )

    def pause(self, seconds: float, bucket: str = "*") -> None:
        """Stop every thread (or one bucket) for that long."""
        with self._lock:
            until = self._waiting.monotonic() + seconds
            self._paused_until[bucket] = max(self._paused_until.get(bucket, 0.0), until)

    def observe(self, remaining: int | None, reset_in: float | None, bucket: str) -> None:
        """Take note of what the source says is left, and stop before it runs out."""
        if remaining is None:
            return
        now = self._waiting.monotonic()
        with self._lock:
            known, resets_at = self._remaining.get(bucket), self._resets_at.get(bucket, now)
            renewed = resets_at <= now or (reset_in or 0) > resets_at - now + _NEW_WINDOW
            # Replies overtake each other: within one window the smaller figure is the newer one.
            if known is None or renewed or remaining < known:
                self._remaining[bucket] = remaining
            if reset_in is not None:
                self._resets_at[bucket] = now + reset_in
