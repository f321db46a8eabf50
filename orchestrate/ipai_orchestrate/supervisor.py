# SPDX-License-Identifier: Apache-2.0
"""Keeps several services running as one: starts them, starts them again, ends them together.

A service that ends is started again after a while that grows; one that says its configuration is
wrong ends everything, since no restart would help. All of them end with the supervisor, however it
ends.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from ipai_orchestrate.pipeline.process_group import bound_to_us
from ipai_orchestrate.pipeline.stop import Stop

CONFIGURATION = 78
TICK_SECONDS = 0.2


@dataclass(frozen=True)
class Service:
    """One program to keep running."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Backoff:
    """How long a service stays down: doubled each time, until it has lasted a while."""

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    lasted_seconds: float = 60.0

    def after(self, failures: int) -> float:
        """The wait after so many ends in a row."""
        return min(self.first_seconds * float(1 << min(failures - 1, 20)), self.longest_seconds)


class Child:
    """A service as a process, or the wait for its next start."""

    def __init__(
        self, service: Service, backoff: Backoff, on_line: Callable[[str, str], None]
    ) -> None:
        self.service = service
        self.exit_code: int | None = None
        self._backoff = backoff
        self._on_line = on_line
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._failures = 0
        self._started = self.restart_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None

    def start(self) -> None:
        """Start its process, in a group of its own: the terminal's Ctrl-C is ours to pass on."""
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            bound_to_us(self.service.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,))
        self._reader.start()

    def has_ended(self) -> bool:
        """True once per end; the next start is due after the backoff."""
        if self._process is None or (code := self._process.poll()) is None:
            return False
        self._forget()
        now = time.monotonic()
        lasted = now - self._started >= self._backoff.lasted_seconds
        self._failures = 1 if lasted else self._failures + 1
        self.exit_code, self.restart_at = code, now + self._backoff.after(self._failures)
        return True

    def signal(self, signum: int) -> None:
        """Pass on a signal."""
        if self._process is not None:
            self._process.send_signal(signum)

    def _read(self, stream: IO[str] | None) -> None:
        for line in stream or ():
            self._on_line(self.service.name, line.rstrip("\n"))

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.join(5.0)  # something it left behind may hold the pipe open
        if self._process is not None and self._process.stderr is not None:
            self._process.stderr.close()
        self._process = None


class Supervisor:
    """Runs services until told to end."""

    def __init__(
        self,
        services: Sequence[Service],
        stop: Stop,
        on_line: Callable[[str, str], None],
        backoff: Backoff | None = None,
    ) -> None:
        self.children = [Child(one, backoff or Backoff(), on_line) for one in services]
        self._stop = stop
        self._say = on_line

    def run(self, on_tick: Callable[[], None] = lambda: None) -> int:
        """Keep them running; return the exit code for all of them."""
        code = 0
        try:
            while not self._stop.signum:
                if broken := self._tend():
                    code = broken.exit_code or 0
                    self._say(broken.service.name, "ended: its configuration does not fit")
                    break
                on_tick()
                time.sleep(TICK_SECONDS)
        finally:
            self._end(on_tick)
        return code

    def _tend(self) -> Child | None:
        """Start what is due; return a service that no restart would help."""
        now = time.monotonic()
        for child in self.children:
            if child.has_ended():
                if child.exit_code == CONFIGURATION:
                    return child
                wait = child.restart_at - now
                self._say(
                    child.service.name,
                    f"ended with exit code {child.exit_code}; starts again in {wait:.0f} s",
                )
            elif not child.is_running and now >= child.restart_at:
                child.start()
        return None

    def _end(self, on_tick: Callable[[], None]) -> None:
        """Pass on each signal we were given, the first one for sure; the fourth kills."""
        passed_on = 0
        while running := [one for one in self.children if one.is_running and not one.has_ended()]:
            while passed_on < max(self._stop.times, 1):
                passed_on += 1
                for child in running:
                    child.signal(signal.SIGTERM if passed_on < 4 else signal.SIGKILL)
            on_tick()
            time.sleep(TICK_SECONDS)
