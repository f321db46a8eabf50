# SPDX-License-Identifier: Apache-2.0
"""The limits an API sets: a quota per window, bursts, requests at the same time."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ipai_kit.sandbox.replies import Reply

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Headers for the reply, and the reply itself when the request goes too far."""

    headers: Mapping[str, str] = field(default_factory=dict)
    rejection: Reply | None = None


class Limit(Protocol):
    """Something that counts requests per caller."""

    def admit(self, caller: str) -> Verdict:
        """Count a request, or refuse it."""

    def release(self, caller: str, *, refund: bool) -> Mapping[str, str]:
        """The request has ended; ``refund`` when it does not count (a 304). Gives new headers."""

    def reset(self) -> None:
        """Forget everything counted."""


GITHUB_HEADERS: Mapping[str, str] = {
    "limit": "x-ratelimit-limit",
    "remaining": "x-ratelimit-remaining",
    "used": "x-ratelimit-used",
    "reset": "x-ratelimit-reset",
}


class WindowQuota:
    """So many requests per window, with headers that tell how many are left.

    ``header_names`` maps limit, remaining, used, reset (epoch seconds) and reset_after (seconds) to
    the vendor's names; an absent one is not sent.
    """

    def __init__(
        self,
        limit: int = 5000,
        window_seconds: float = 3600,
        *,
        status: int = 429,
        header_names: Mapping[str, str] = GITHUB_HEADERS,
        extra_headers: Mapping[str, str] | None = None,
        retry_after: bool = True,
        body: Any = None,
        clock: Clock = time.time,
    ) -> None:
        self.limit = limit
        self.window_seconds = window_seconds
        self._status = status
        self._names = header_names
        self._extra = dict(extra_headers or {})
        self._retry_after = retry_after
        self._body = {"message": "API rate limit exceeded"} if body is None else body
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def admit(self, caller: str) -> Verdict:
        """Count the request in the caller's window; the first one opens it."""
        now = self._clock()
        end, used = self._windows.get(caller, (0.0, 0))
        if now >= end:
            end, used = math.ceil(now + self.window_seconds), 0
        refused = used >= self.limit
        self._windows[caller] = (end, used if refused else used + 1)
        headers = self._headers(end, used if refused else used + 1, now)
        if not refused:
            return Verdict(headers)
        if self._retry_after:
            headers["retry-after"] = str(max(1, math.ceil(end - now)))
        return Verdict(headers, Reply(self._body, self._status, headers))

    def release(self, caller: str, *, refund: bool) -> Mapping[str, str]:
        """Give the request back when it does not count."""
        if not refund or caller not in self._windows:
            return {}
        end, used = self._windows[caller]
        self._windows[caller] = (end, max(0, used - 1))
        return self._headers(end, max(0, used - 1), self._clock())

    def reset(self) -> None:
        """Open new windows."""
        self._windows.clear()

    def remaining(self, caller: str) -> int:
        """Requests left in the caller's window."""
        end, used = self._windows.get(caller, (0.0, 0))
        return self.limit - used if self._clock() < end else self.limit

    def _headers(self, end: float, used: int, now: float) -> dict[str, str]:
        values = {
            "limit": self.limit,
            "remaining": self.limit - used,
            "used": used,
            "reset": int(end),
            "reset_after": max(0, int(end - now)),
        }
        named = {
            self._names[key]: str(value) for key, value in values.items() if key in self._names
        }
        return {**named, **self._extra}


class BurstLimit:
    """At most so many requests in any stretch of time: the secondary limit of many APIs."""

    def __init__(
        self,
        requests: int,
        seconds: float = 1.0,
        *,
        status: int = 429,
        retry_after_seconds: int | None = 1,
        body: Any = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._requests = requests
        self._seconds = seconds
        headers = {} if retry_after_seconds is None else {"retry-after": str(retry_after_seconds)}
        message = {"message": "You have exceeded a secondary rate limit. Please wait."}
        self._rejection = Verdict(headers, Reply(body or message, status, headers))
        self._clock = clock
        self._arrivals: dict[str, deque[float]] = {}

    def admit(self, caller: str) -> Verdict:
        """Refuse the request that would be one too many in the stretch."""
        now = self._clock()
        arrivals = self._arrivals.setdefault(caller, deque())
        while arrivals and arrivals[0] <= now - self._seconds:
            arrivals.popleft()
        if len(arrivals) >= self._requests:
            return self._rejection
        arrivals.append(now)
        return Verdict()

    def release(self, caller: str, *, refund: bool) -> Mapping[str, str]:  # noqa: ARG002
        """A burst is counted at its start: nothing to give back."""
        return {}

    def reset(self) -> None:
        """Forget the arrivals."""
        self._arrivals.clear()


class ConcurrencyLimit:
    """At most so many requests of one caller at the same time."""

    def __init__(
        self, maximum: int, *, status: int = 429, retry_after_seconds: int = 1, body: Any = None
    ) -> None:
        self._maximum = maximum
        headers = {"retry-after": str(retry_after_seconds)}
        message = {"message": "Too many requests at the same time."}
        self._rejection = Verdict(headers, Reply(body or message, status, headers))
        self._running: dict[str, int] = {}

    def admit(self, caller: str) -> Verdict:
        """Count the request as running, or refuse it."""
        running = self._running.get(caller, 0)
        if running >= self._maximum:
            return self._rejection
        self._running[caller] = running + 1
        return Verdict()

    def release(self, caller: str, *, refund: bool) -> Mapping[str, str]:  # noqa: ARG002
        """The request is no longer running."""
        self._running[caller] = max(0, self._running.get(caller, 0) - 1)
        return {}

    def reset(self) -> None:
        """Forget what is running."""
        self._running.clear()
