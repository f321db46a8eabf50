# SPDX-License-Identifier: Apache-2.0
"""Several tokens, each with a budget of its own: the one with most left signs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from requests import PreparedRequest

from ipai_kit.exceptions import ConfigurationError

__all__ = ["TokenPool"]


@dataclass
class _Budget:
    token: str = field(repr=False)
    remaining: int | None = None
    resets_at: float = 0.0
    used: int = 0

    def left(self, now: float) -> float:
        """Return what is left; unknown and newly reset budgets count as full."""
        if self.remaining is None or now >= self.resets_at:
            return float("inf")
        return float(self.remaining)


class TokenPool:
    """Signs each request with the token that has the most left."""

    def __init__(self, tokens: Sequence[str], *, now: Callable[[], float] = time.time) -> None:
        if not tokens:
            message = "There is no token in the pool."
            raise ConfigurationError(message, next_step="Configure at least one.")
        self._budgets = [_Budget(token) for token in dict.fromkeys(tokens)]
        self._now = now
        self._lock = threading.Lock()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the token with the most left; equal ones take turns."""
        with self._lock:
            now = self._now()
            best = max(self._budgets, key=lambda one: (one.left(now), -one.used))
            best.used += 1
            if best.remaining:
                best.remaining -= 1
            request.headers["Authorization"] = f"Bearer {best.token}"
        return request

    def renew(self, request: PreparedRequest) -> bool:
        """Put a refused token away; the others go on."""
        with self._lock:
            refused = self._of(request)
            if refused is not None and len(self._budgets) > 1:
                self._budgets.remove(refused)
                return True
            return refused is None  # put away by another thread: try with the rest

    def note(
        self, request: PreparedRequest, remaining: int | None, reset_in: float | None
    ) -> tuple[int | None, float | None]:
        """Note what one token has left; return what the pool has left, and until when."""
        with self._lock:
            now, one = self._now(), self._of(request)
            if one is not None and remaining is not None:
                one.remaining = remaining
                one.resets_at = now + reset_in if reset_in is not None else one.resets_at
            left = [budget.left(now) for budget in self._budgets]
            if float("inf") in left:
                return None, None
            soonest = min(budget.resets_at for budget in self._budgets) - now
            return int(sum(left)), soonest

    def exhausted(self, request: PreparedRequest, wait: float) -> float:
        """Note that a token is spent; return how long until any other can sign."""
        with self._lock:
            now, one = self._now(), self._of(request)
            if one is not None:
                one.remaining, one.resets_at = 0, now + wait
            if any(budget.left(now) > 0 for budget in self._budgets):
                return 0.0
            return min(budget.resets_at for budget in self._budgets) - now

    def _of(self, request: PreparedRequest) -> _Budget | None:
        token = str(request.headers.get("Authorization", "")).partition(" ")[2]
        return next((one for one in self._budgets if one.token == token), None)
