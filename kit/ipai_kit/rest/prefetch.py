# SPDX-License-Identifier: Apache-2.0
"""Fetches ahead in parallel what is taken in order."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from ipai_kit.exceptions import InternalError, StreamUnavailableError, TryAgainLaterError
from ipai_kit.waiting import Waiting

__all__ = ["PASSED_OVER", "Fetcher", "Key", "ParallelFetcher", "Ticket"]

# What stops one slice but not the others.
PASSED_OVER = (StreamUnavailableError, TryAgainLaterError, InternalError)

Key = tuple[int, ...]

_TICK = 0.1
_LAST: Key = (1 << 62,)


class Sized(Protocol):
    """A result that occupies memory until it is taken."""

    size: int


R = TypeVar("R", bound=Sized)


class _State(Enum):
    NEW = auto()
    RUNNING = auto()
    READY = auto()
    GONE = auto()  # taken or given up


class Ticket(Generic[R]):
    """A result to come. Keys order tickets as their results will be taken."""

    __slots__ = ("error", "job", "key", "result", "state")

    def __init__(self, key: Key, job: Callable[[], R]) -> None:
        self.key = key
        self.job = job
        self.result: R | None = None
        self.error: BaseException | None = None
        self.state = _State.NEW

    def __lt__(self, other: Ticket[R]) -> bool:
        return self.key < other.key

    def run(self) -> None:
        """Run the job and keep its result or error for the one who takes it."""
        try:
            self.result = self.job()
        except BaseException as error:  # noqa: BLE001 - raised again where it is taken
            self.error = error

    def outcome(self) -> R:
        """Return the result or raise the error, and let go of both."""
        result, error, self.state = self.result, self.error, _State.GONE
        self.result = self.error = None
        if error is not None:
            raise error
        if result is None:
            message = f"The result of {self.key!r} was taken before."
            raise RuntimeError(message)
        return result


class Fetcher(Generic[R]):
    """Runs each job when its result is taken, in the caller's thread.

    This is the serial run, whose order the parallel one must equal.
    """

    def __init__(self, waiting: Waiting | None = None) -> None:
        self._waiting = waiting or Waiting()
        self._halted: Exception | None = None

    def submit(self, key: Key, job: Callable[[], R]) -> Ticket[R]:
        """Announce a job; its result will be taken after those of all smaller keys."""
        return Ticket(key, job)

    def take(self, ticket: Ticket[R]) -> R:
        """Return the result of a job, or raise its error."""
        self._waiting.check()
        if self._halted:
            raise self._halted
        ticket.run()
        return ticket.outcome()

    def halt(self, error: Exception) -> None:
        """Begin no further job; results that are ready can still be taken."""
        self._halted = error

    def close(self) -> None:
        """Forget everything that was not taken."""


class ParallelFetcher(Fetcher[R]):
    """Runs jobs in threads, smallest key first; a job may submit further jobs.

    How far it runs ahead is bounded by the number and the bytes of results not yet taken. The job
    that is waited for is never held up by that bound nor by busy threads: a thread of its own runs
    it when no other has begun it. Keys must be taken in ascending order; what lies below the last
    one taken is given up. Who takes only waits, so that a signal ends the wait at once.
    """

    def __init__(
        self,
        threads: int,
        *,
        max_results: int = 4096,
        max_bytes: int = 64 * 1024 * 1024,
        waiting: Waiting | None = None,
    ) -> None:
        super().__init__(waiting)
        self._max_results = max_results
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._todo = threading.Condition(self._lock)
        self._done = threading.Condition(self._lock)
        self._hurry = threading.Condition(self._lock)
        self._urgent: Ticket[R] | None = None
        self._new: list[Ticket[R]] = []
        self._ready: list[Ticket[R]] = []
        self._running = 0
        self._bytes = 0
        self._floor: Key = ()
        self._fatal: Key = _LAST
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True)
            for number in range(threads)
        ]
        self._threads.append(
            threading.Thread(target=self._work_urgently, name="fetch-urgent", daemon=True)
        )
        for thread in self._threads:
            thread.start()

    def submit(self, key: Key, job: Callable[[], R]) -> Ticket[R]:
        """Announce a job; a thread runs it as soon as the bound allows."""
        ticket = Ticket(key, job)
        with self._lock:
            heapq.heappush(self._new, ticket)
            self._todo.notify()
        return ticket

    def take(self, ticket: Ticket[R]) -> R:
        """Return the result of a job, or raise its error; has it run now if nobody has begun it."""
        self._waiting.check()
        with self._lock:
            self._give_up_below(ticket.key)
            if ticket.state is _State.NEW:
                self._run_urgently(ticket)
            while ticket.state is _State.RUNNING:
                self._done.wait(_TICK)
                self._waiting.check()
            if ticket.state is _State.READY:
                self._release(heapq.heappop(self._ready))
        return ticket.outcome()

    def _run_urgently(self, ticket: Ticket[R]) -> None:
        if self._halted:
            raise self._halted
        ticket.state = _State.RUNNING
        self._urgent = ticket
        self._hurry.notify()

    def close(self) -> None:
        """Let the threads end; those in the middle of a request are left to finish it."""
        with self._lock:
            self._closed = True
            self._new.clear()
            self._todo.notify_all()
            self._hurry.notify_all()
        for thread in self._threads:
            thread.join(_TICK)

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            ticket.run()
            self._finish(ticket)

    def _work_urgently(self) -> None:
        while True:
            with self._lock:
                while self._urgent is None and not self._closed:
                    self._hurry.wait()
                ticket, self._urgent = self._urgent, None
            if ticket is None:
                return
            ticket.run()
            with self._lock:
                ticket.state = _State.GONE  # never lies ready: somebody waits for it
                self._done.notify()

    def _next(self) -> Ticket[R] | None:
        with self._lock:
            while not self._closed:
                while self._new and self._new[0].state is not _State.NEW:
                    heapq.heappop(self._new)
                if self._may_start():
                    ticket = heapq.heappop(self._new)
                    ticket.state = _State.RUNNING
                    self._running += 1
                    if self._may_start():
                        self._todo.notify()
                    return ticket
                self._todo.wait()
        return None

    def _may_start(self) -> bool:
        if not self._new or self._halted or self._new[0].key > self._fatal:
            return False
        return (
            self._running + len(self._ready) < self._max_results and self._bytes < self._max_bytes
        )

    def _finish(self, ticket: Ticket[R]) -> None:
        with self._lock:
            self._running -= 1
            if ticket.error and not isinstance(ticket.error, PASSED_OVER):
                self._fatal = min(self._fatal, ticket.key)  # nothing behind it will be taken
            if ticket.key < self._floor or self._closed:
                ticket.state = _State.GONE
            else:
                ticket.state = _State.READY
                self._bytes += ticket.result.size if ticket.result is not None else 0
                heapq.heappush(self._ready, ticket)
            self._done.notify()

    def _give_up_below(self, floor: Key) -> None:
        """Drop what will not be taken any more: the rest of a skipped or finished slice."""
        self._floor = floor
        for heap in (self._new, self._ready):
            while heap and heap[0].key < floor:
                dropped = heapq.heappop(heap)
                if dropped.state is _State.READY:
                    self._release(dropped)
                if dropped.state is not _State.RUNNING:
                    dropped.state = _State.GONE

    def _release(self, ticket: Ticket[R]) -> None:
        self._bytes -= ticket.result.size if ticket.result is not None else 0
        self._todo.notify()
