# SPDX-License-Identifier: Apache-2.0
"""The one place that waits and that knows the time; tests replace it by a fake clock."""

from __future__ import annotations

import time

from ipai_kit.exceptions import StoppedError

__all__ = ["Waiting"]

_TICK = 0.1


class Waiting:
    """Sleeps in short steps, so that a signal ends every wait.

    The signal handler only sets a flag: anything more could meet a lock that the interrupted
    thread holds.
    """

    def __init__(self) -> None:
        self._signal: int | None = None

    def interrupt(self, signum: int) -> bool:
        """Ask everyone to stop; False when this was asked before."""
        first = self._signal is None
        self._signal = signum
        return first

    def check(self) -> None:
        """Raise when a stop was asked for."""
        if self._signal is not None:
            raise StoppedError(self._signal)

    def sleep(self, seconds: float) -> None:
        """Wait, or raise as soon as a stop is asked for."""
        until = self.monotonic() + seconds
        self.check()
        while (left := until - self.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            self.check()

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()
