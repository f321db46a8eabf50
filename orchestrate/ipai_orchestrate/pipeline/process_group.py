# SPDX-License-Identifier: Apache-2.0
"""A connector with everything it starts: one process group that cannot outlive the runner.

Two guards, because each has a gap: the kernel kills the connector when the runner's thread ends
(but not what the connector started), and a keeper, which leads the group, kills all of it when its
lifeline to the runner breaks. A runner that finds a keeper dead ends the run itself.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ipai_orchestrate.pipeline.usage import Meter, Usage

BECOME = str(Path(__file__).parents[1] / "become.py")
KEEPER = ["/bin/sh", "-c", "read -r _; kill -KILL 0", "ipai-keeper"]
PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Launch:
    """What one connector is started with; `descriptors` are the sealed files it may read."""

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    descriptors: Sequence[int] = ()


def bound_to_us(command: Sequence[str]) -> list[str]:
    """The command in a form that the kernel ends together with the thread that starts it."""
    return [sys.executable, "-I", "-S", BECOME, str(os.getpid()), *command]


class ProcessGroup:
    """A running connector; leaving the block leaves nothing of it behind."""

    def __init__(
        self, launch: Launch, *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
    ) -> None:
        """Start the keeper first: while it lives, the group's number belongs to nobody else."""
        self._keeper = subprocess.Popen(
            KEEPER,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            process_group=0,
        )
        try:
            self._leader = self._start(launch, stdin, stdout)
        except BaseException:
            self._reap(self._keeper)
            raise
        self._meter = Meter(self._leader.pid)

    def _start(self, launch: Launch, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            bound_to_us(launch.command),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=dict(launch.environment),
            cwd=launch.directory,
            pass_fds=launch.descriptors,
            process_group=self._keeper.pid,
        )

    def __enter__(self) -> Self:
        """Nothing more to do: the connector runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill whatever is left, grandchildren included, and reap the own children."""
        self.kill()
        if self._leader.returncode is None:
            self._signal(signal.SIGKILL)
            self._leader.returncode = self._meter.reap(wait=True)
        self._reap(self._leader)
        self._reap(self._keeper)

    @property
    def output(self) -> IO[bytes] | None:
        """Its standard output, unless that goes straight to another process."""
        return self._leader.stdout

    @property
    def log(self) -> IO[bytes] | None:
        """Its standard error."""
        return self._leader.stderr

    @property
    def exit_code(self) -> int | None:
        """None while the connector runs; below zero, the signal that killed it."""
        if self._leader.returncode is None:  # not by Popen.poll, which keeps no usage
            self._leader.returncode = self._meter.reap()
        return self._leader.returncode

    @property
    def usage(self) -> Usage:
        """What it took of the machine, once it has ended."""
        return self._meter.usage or Usage()

    @property
    def is_kept(self) -> bool:
        """Whether the keeper lives, so that the group will end with the runner."""
        return self._keeper.poll() is None

    def terminate(self) -> None:
        """Ask the connector to end."""
        if self.exit_code is None:
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        """Send to the connector alone; its number is its own until it is reaped."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leader.pid, number)

    def kill(self) -> None:
        """End the connector, everything it started, and the keeper, at once."""
        if self._keeper.returncode is not None and self._leader.returncode is not None:
            return  # both reaped: the number may be another group's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._keeper.pid, signal.SIGKILL)

    @staticmethod
    def _reap(child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                stream.close()


def connector_pipe() -> tuple[int, int]:
    """Make the kernel pipe between tap and target, as roomy as the system allows."""
    read_end, write_end = os.pipe()
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # the user's pipe quota may be used up
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read_end, write_end
