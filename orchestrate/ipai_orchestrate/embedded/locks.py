# SPDX-License-Identifier: Apache-2.0
"""File locks that the kernel frees when their process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ipai_orchestrate.exceptions import DatabaseUnavailableError


class FileLock:
    """One flock on one open file; two locks in one process exclude each other like two processes.

    The descriptor is closed on exec: a child process keeps the lock alive only when it is given
    the descriptor on purpose.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_lock(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free now."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    @property
    def descriptor(self) -> int:
        """The open file that carries the lock; a process that inherits it keeps the lock held."""
        if self._descriptor is None:
            message = f"Lock {str(self.path)!r} is not held."
            raise ValueError(message)
        return self._descriptor

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def wait(self, timeout: float, *, shared: bool = False) -> None:
        """Take the lock; wait for others up to the timeout."""
        deadline = time.monotonic() + timeout
        while not self.try_lock(shared=shared):
            if time.monotonic() > deadline:
                message = (
                    f"Another process has held {str(self.path)!r} for over {timeout:.0f} seconds. "
                    f"Find it with `fuser {self.path}` and end it, then try again."
                )
                raise DatabaseUnavailableError(message)
            time.sleep(0.02)


@contextmanager
def exclusive(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock alone for the block."""
    lock = FileLock(path)
    lock.wait(timeout)
    try:
        yield
    finally:
        lock.release()
