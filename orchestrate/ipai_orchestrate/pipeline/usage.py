# SPDX-License-Identifier: Apache-2.0
"""What a connector takes of the machine: processor time and memory."""

import os
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Usage:
    """Processor time of a process and what it waited for, and the most memory that it held."""

    user_seconds: float = 0.0
    system_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass
class Meter:
    """Measures one child of ours; `reap` must be the only one to wait for it."""

    pid: int
    usage: Usage | None = None
    _peak: int = 0
    _look_due: float = field(default=0.0, repr=False)

    def reap(self, *, wait: bool = False) -> int | None:
        """The child's exit code, once it has ended; below zero, the signal that killed it."""
        self._look()
        found, status, used = os.wait4(self.pid, 0 if wait else os.WNOHANG)
        if not found:
            return None
        self.usage = Usage(used.ru_utime, used.ru_stime, self._peak or _most_memory(used))
        return os.waitstatus_to_exitcode(status)

    def _look(self) -> None:
        """Keep the peak so far; what wait4 tells counts the memory of us, who started it, too."""
        now = time.monotonic()
        if sys.platform == "linux" and now >= self._look_due:
            self._look_due = now + LOOK_SECONDS
            with suppress(OSError), Path(f"/proc/{self.pid}/status").open("rb") as status:
                for line in status:
                    if line.startswith(b"VmHWM:"):
                        self._peak = int(line.split()[1]) * 1024


def _most_memory(used: resource.struct_rusage) -> int:
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
