# SPDX-License-Identifier: Apache-2.0
"""The server's main process, as its lock files name it: alive, dead, or a number reused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass(frozen=True)
class Postmaster:
    """A process number read from a lock file."""

    pid: int

    @classmethod
    def read(cls, lock_file: Path) -> Postmaster | None:
        """Return the process a lock file names; None when there is no readable number."""
        try:
            first = lock_file.read_text(errors="replace").split("\n", 1)[0].strip()
        except FileNotFoundError:
            return None
        return cls(abs(int(first))) if first.lstrip("-").isdigit() else None

    def serves(self, data: Path) -> bool:
        """Whether the process lives, is no zombie, and was started on this data directory.

        The command line decides: unlike /proc/<pid>/exe it is readable for other users too.
        """
        return os.fsencode(str(data)) in _arguments(self.pid)

    def signal_stop(self, mode: str) -> None:
        """Ask the server to shut down."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, _STOP_SIGNALS[mode])


def read_postmaster(data: Path) -> Postmaster | None:
    """Return the process named by the data directory's lock file."""
    return Postmaster.read(data / "postmaster.pid")


def _arguments(pid: int) -> list[bytes]:
    """Return the arguments of a living process; none for no process, and for zombies."""
    if sys.platform != "linux":
        return _arguments_by_ps(pid)
    process = Path("/proc") / str(pid)
    try:
        # The name in parentheses may itself hold spaces and parentheses: read from the right.
        state = (process / "stat").read_bytes().rpartition(b")")[2].split()[0]
        return [] if state in (b"Z", b"X") else (process / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _arguments_by_ps(pid: int) -> list[bytes]:
    answer = subprocess.run(
        ["ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, check=False
    )
    words = answer.stdout.split()
    return [] if not words or words[0].startswith(b"Z") else words[1:]
