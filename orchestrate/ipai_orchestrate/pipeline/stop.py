# SPDX-License-Identifier: Apache-2.0
"""The wish to end a run, given by a signal and seen by whoever performs it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Stop:
    """Asked once: wind down and keep what is done. Asked again: end at once.

    With `hand_back` the run goes on with another worker instead of ending as cancelled.
    """

    signum: int = 0
    times: int = 0
    hand_back: bool = False

    @property
    def urgent(self) -> bool:
        """Whether the wish was repeated."""
        return self.times > 1

    def request(self, signum: int, frame: FrameType | None = None) -> None:
        """Note the wish; as a signal handler it does nothing else."""
        del frame
        self.signum = self.signum or signum
        self.times += 1


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn the signals that end a program into a wish, for as long as the block runs."""
    stop = Stop()
    before = {one: signal.signal(one, stop.request) for one in SIGNALS}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
