# SPDX-License-Identifier: Apache-2.0
"""One private work directory per run; what a killed runner left behind shows by its free lock."""

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOCK = "runner.lock"
UNBORN = ".new-"
UNBORN_SECONDS = 600


@dataclass(frozen=True)
class AbandonedRun:
    """A run whose runner is gone; with its lease it is closed at once instead of at its expiry."""

    run_id: str
    lease_token: str


@contextmanager
def work_directory(root: Path, run_id: str, lease_token: str) -> Iterator[Path]:
    """Make the run's directory, hold its lock, and remove it at the end whatever happens."""
    unborn, path = root / f"{UNBORN}{run_id}", root / run_id
    unborn.mkdir(mode=0o700, parents=True)
    with (unborn / LOCK).open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        json.dump({"run_id": run_id, "lease_token": lease_token}, lock)
        lock.flush()
        unborn.rename(path)  # only now visible to a sweep, which finds it locked
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def abandoned_runs(root: Path) -> Iterator[list[AbandonedRun]]:
    """Yield the runs whose runner died, and remove their directories when the block succeeds."""
    with _dead_directories(root) as dead:
        yield [run for directory in dead if (run := _read(directory))]
        for directory in dead:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _dead_directories(root: Path) -> Iterator[list[Path]]:
    locks: list[IO[str]] = []
    try:
        yield [path for path in sorted(root.glob("*")) if _is_dead(path, locks)]
    finally:
        for lock in locks:
            lock.close()


def _is_dead(directory: Path, locks: list[IO[str]]) -> bool:
    """Nobody holds its lock: the kernel frees the locks of killed processes."""
    if directory.name.startswith(UNBORN):
        return _age(directory) > UNBORN_SECONDS
    try:
        lock = (directory / LOCK).open("r+", encoding="utf-8")
    except FileNotFoundError:
        return False  # just being removed by its owner
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    locks.append(lock)
    return True


def _age(directory: Path) -> float:
    try:
        return time.time() - directory.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(directory: Path) -> AbandonedRun | None:
    """None for checks and dry runs, which hold no lease."""
    try:
        found = AbandonedRun(**json.loads((directory / LOCK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.lease_token else None
