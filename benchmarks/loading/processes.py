# SPDX-License-Identifier: Apache-2.0
"""Run a contender's processes and add up what they used: the whole tree, also what it orphaned."""

import contextlib
import ctypes
import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from loading.environments import cache_home

_PR_SET_CHILD_SUBREAPER = 36
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_COMPLAINT = re.compile(r"error|exception|can't|cannot|fatal|failed", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Usage:
    """What a tree of processes used, and how it failed if it did."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    problem: str = ""


def run(
    pipeline: Sequence[Sequence[str]],
    stdin: Path | None = None,
    more: Mapping[str, str] | None = None,
    patience: float = 900.0,
) -> Usage:
    """Run commands joined by kernel pipes until all have ended, or kill them after `patience`."""
    with contextlib.suppress(OSError, AttributeError):  # orphans come to us and are counted
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        processes = _start(pipeline, stdin, errors.fileno(), environment_of(more or {}))
        watch = _Watch(processes[0].pid, patience)
        watch.start()
        try:
            cpu, peak = _reap(processes)
        except BaseException:  # who stops the benchmark stops its contender
            _kill(processes[0].pid)
            raise
        wall = time.monotonic() - started
        watch.end()
        problem = f"stopped after {patience:.0f} s" if watch.out_of_patience else ""
        if any(process.returncode for process in processes):
            errors.seek(0)
            problem = problem or _last_complaint(errors.read().decode(errors="replace"))
    return Usage(cpu, wall, max(peak, watch.peak_mb), problem)


def environment_of(more: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what would slow Python down; everybody's bytecode is kept outside."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONPATH" or not name.startswith("PYTHON")
    }
    return {**kept, "PYTHONPYCACHEPREFIX": str(cache_home() / "bytecode"), **more}


def _start(
    pipeline: Sequence[Sequence[str]], stdin: Path | None, errors: int, environment: dict[str, str]
) -> list[subprocess.Popen[bytes]]:
    processes: list[subprocess.Popen[bytes]] = []
    source = (stdin or Path(os.devnull)).open("rb")
    reading = source.fileno()
    for place, arguments in enumerate(pipeline, 1):
        last = place == len(pipeline)
        process = subprocess.Popen(
            arguments,
            stdin=reading,
            stdout=subprocess.DEVNULL if last else subprocess.PIPE,
            stderr=errors,
            env=environment,
            process_group=processes[0].pid if processes else 0,
        )
        if processes and (pipe := processes[-1].stdout):
            pipe.close()  # the reader's end is the next command's now
        processes.append(process)
        reading = process.stdout.fileno() if process.stdout else -1
    source.close()
    return processes


def _reap(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[float, float]:
    """Wait for all that is in their group; CPU seconds of all and MB of the largest."""
    group, ours = processes[0].pid, {process.pid: process for process in processes}
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, peak = 0.0, 0.0
    while True:
        try:
            pid, status, usage = os.wait4(-group, 0)
        except ChildProcessError:
            return cpu, peak
        if pid in ours:
            ours[pid].returncode = os.waitstatus_to_exitcode(status)
        cpu += usage.ru_utime + usage.ru_stime
        if usage.ru_maxrss > own_peak:  # below, it may be ours: it survives the start of a child
            peak = max(peak, usage.ru_maxrss / 1024)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class _Watch(threading.Thread):
    """Samples the memory of a process group and ends it when patience does."""

    def __init__(self, group: int, patience: float) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self.out_of_patience = False
        self._group, self._until = group, time.monotonic() + patience
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        waits = chain(repeat(0.01, 20), repeat(0.1))
        while not self._ended.wait(next(waits)):
            self.peak_mb = max(self.peak_mb, self._memory())
            if time.monotonic() > self._until:
                self.out_of_patience = True
                _kill(self._group)

    def _memory(self) -> float:
        return _PAGE_MB * sum(
            int(fields[21]) for _, fields in all_processes() if int(fields[2]) == self._group
        )


def all_processes() -> Iterator[tuple[int, list[str]]]:
    """Every process and the fields of its `stat` after the name; some end while we look."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a glob fails when a process ends meanwhile
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                text = Path("/proc", entry, "stat").read_text()
                yield int(entry), text.rpartition(")")[2].split()


def _last_complaint(text: str) -> str:
    """The last line that says what is wrong, else the last line."""
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]
    complaints = [line for line in lines if _COMPLAINT.search(line)]
    return (complaints or lines or ["ended without a word"])[-1][:300]
