# SPDX-License-Identifier: Apache-2.0
"""Being counted as a user of the server, and the watch that notices users that died."""

from __future__ import annotations

import os
import subprocess
import sys

from ipai_orchestrate.embedded import watch
from ipai_orchestrate.embedded.home import Home
from ipai_orchestrate.embedded.locks import FileLock

# The shell ends at once, so that the watch is nobody's child and leaves no zombie behind.
_DETACHED = '"$@" </dev/null >/dev/null 2>&1 &'


class Presence:
    """Two shared locks of one user.

    `users.lock` decides, under the start lock, who is the last. `present.lock` is given back after
    that: the watch sleeps on it and must not wake while a user is still leaving.
    """

    def __init__(self, home: Home) -> None:
        self._present = FileLock(home.present_lock)
        self._user = FileLock(home.users_lock)

    def enter(self, timeout: float) -> None:
        """Count this process in."""
        self._present.wait(timeout, shared=True)
        self._user.wait(timeout, shared=True)

    def leave_users(self) -> None:
        """No longer count as a user; still be seen by the watch."""
        self._user.release()

    def leave(self) -> None:
        """Be gone."""
        self._user.release()
        self._present.release()


def start_watch(home: Home) -> None:
    """Start the process that stops the server when its last user dies; one per home stays."""
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-S", "-E", watch.__file__, str(home.root)]
    subprocess.run(
        ["/bin/sh", "-c", _DETACHED, "sh", *command],
        start_new_session=True,
        cwd="/",
        env=environment,
        check=False,
    )
