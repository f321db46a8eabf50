# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGINT ask the run to commit what it read; asking again aborts it."""

import contextlib
import os
import signal
import threading
from types import FrameType


class StopSignal:
    """Remembers a signal and interrupts a wait for input."""

    def __init__(self) -> None:
        self.wake_descriptor, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self.signum: int | None = None
        self.requested = threading.Event()

    def install(self) -> None:
        """Take over SIGTERM and SIGINT."""
        signal.signal(signal.SIGTERM, self.handle)
        signal.signal(signal.SIGINT, self.handle)

    def handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Only set a flag: the run ends at its next step."""
        if self.signum is not None:
            os._exit(128 + signum)  # the server rolls the open transaction back
        self.signum = signum
        self.requested.set()
        self.wake()

    def wake(self) -> None:
        """Interrupt the wait for input; safe from signal handlers and threads."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: the run is over
            os.write(self._wake_writer, b"!")

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.wake_descriptor)
        os.close(self._wake_writer)
