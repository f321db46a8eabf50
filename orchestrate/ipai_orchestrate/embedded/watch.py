# SPDX-License-Identifier: Apache-2.0
"""Waits until the last user of a server is gone, and stops it if that one could not.

A user that is killed leaves the server running: nobody else would notice. This script sleeps in a
kernel lock and costs nothing meanwhile. It runs on its own, with the standard library alone, to
stay small; only the stopping loads the rest of the package.
"""

import fcntl
import os
import sys

_STOP = "import sys; from ipai_orchestrate.embedded import stop_if_unused as s; s(sys.argv[1])"


def watch(home: str) -> None:  # pragma: no cover - runs without site packages
    """Stop the server of a home once nobody uses it; return at once if that is watched already."""
    if not _lock(os.path.join(home, "watch.lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):  # noqa: PTH118
        return
    present = _lock(os.path.join(home, "present.lock"), fcntl.LOCK_EX)  # noqa: PTH118
    os.close(present)
    os.execv(sys.executable, [sys.executable, "-c", _STOP, home])  # noqa: S606 - no shell is meant


def _lock(path: str, operation: int) -> int:
    """Return the descriptor of the locked file, 0 if it is taken; closed when this process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return 0
    return descriptor


if __name__ == "__main__":
    watch(sys.argv[1])
