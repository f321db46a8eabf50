# SPDX-License-Identifier: Apache-2.0
"""One tap piped into one target by the kernel, from their start until neither of them is left.

The runner reads only the target's STATE and both logs. However the transfer ends, what the target
says is read to the end: the STATE of rows already committed must not be lost.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from ipai_orchestrate.pipeline.line_reader import LONGEST_LOG_LINE, LineReader, OnLine
from ipai_orchestrate.pipeline.process_group import Launch, ProcessGroup, connector_pipe
from ipai_orchestrate.pipeline.usage import Usage

Wish = Literal["go_on", "stop", "kill"]

TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Patience:
    """How long each connector may take to obey before the next, harsher step."""

    tap_seconds: float = 10.0
    drain_seconds: float = 120.0
    target_seconds: float = 10.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Listeners:
    """Who hears which lines, and who says whether the transfer may go on."""

    on_state: OnLine
    on_tap_log: OnLine
    on_target_log: OnLine
    wish: Callable[[], Wish]


@dataclass(frozen=True)
class Ending:
    """How both connectors ended; a code below zero is the signal that killed the process."""

    tap_code: int
    target_code: int
    stopped: bool
    usage: Mapping[str, Usage] = field(default_factory=dict)


class Transfer:
    """Watches and, if need be, ends the two connectors of one run."""

    def __init__(self, tap: ProcessGroup, target: ProcessGroup, patience: Patience) -> None:
        self._tap = tap
        self._target = target
        self._patience = patience
        self._deadlines: dict[int, float] = {}
        self._stopped = False

    def watch(self, reader: LineReader, wish: Callable[[], Wish]) -> Ending:
        """Return when both have ended and everything they said has been read."""
        while reader.read(TICK_SECONDS) or not self._has_ended():
            self._obey(wish())
            for connector in (self._tap, self._target):
                if connector.exit_code is not None:
                    connector.kill()  # what it left behind would keep the pipes open
        usage = {"tap": self._tap.usage, "target": self._target.usage}
        return Ending(self._tap.exit_code or 0, self._target.exit_code or 0, self._stopped, usage)

    def _has_ended(self) -> bool:
        return self._tap.exit_code is not None and self._target.exit_code is not None

    def _obey(self, wish: Wish) -> None:
        if wish == "kill" or self._has_lost_a_keeper():
            self._stopped = True
            self._tap.kill()
            self._target.kill()
        elif wish == "stop":
            self._stopped = True
            self._wind_down()
        elif self._target.exit_code is not None:
            self._end(self._tap, self._patience.tap_seconds)  # nobody reads it any more

    def _has_lost_a_keeper(self) -> bool:
        running = [c for c in (self._tap, self._target) if c.exit_code is None]
        return any(not connector.is_kept for connector in running)

    def _wind_down(self) -> None:
        """Stop the tap first: the target then sees its end of input, commits and says its STATE."""
        self._end(self._tap, self._patience.tap_seconds)
        if self._tap.exit_code is not None and self._is_overdue(0, self._patience.drain_seconds):
            self._end(self._target, self._patience.target_seconds)

    def _end(self, connector: ProcessGroup, patience: float) -> None:
        if connector.exit_code is not None:
            return
        if id(connector) not in self._deadlines:
            connector.terminate()
        if self._is_overdue(id(connector), patience):
            connector.kill()

    def _is_overdue(self, key: int, patience: float) -> bool:
        """Tell whether `patience` seconds have passed since this was first asked."""
        now = time.monotonic()
        return now >= self._deadlines.setdefault(key, now + patience)


def transfer(
    tap: Launch, target: Launch, listeners: Listeners, patience: Patience = PATIENCE
) -> Ending:
    """Run both to their ends, whatever these are; nothing of them is left afterwards."""
    with ExitStack() as stack:
        pipe_ends = connector_pipe()
        try:
            loader = stack.enter_context(ProcessGroup(target, stdin=pipe_ends[0]))
            extractor = stack.enter_context(ProcessGroup(tap, stdout=pipe_ends[1]))
        finally:  # a copy kept here would hide either end's death from the other
            os.close(pipe_ends[0])
            os.close(pipe_ends[1])
        reader = stack.enter_context(LineReader())
        reader.watch(loader.output, listeners.on_state)
        reader.watch(loader.log, listeners.on_target_log, LONGEST_LOG_LINE)
        reader.watch(extractor.log, listeners.on_tap_log, LONGEST_LOG_LINE)
        return Transfer(extractor, loader, patience).watch(reader, listeners.wish)
