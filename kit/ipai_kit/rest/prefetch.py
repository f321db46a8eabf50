# SPDX-License-Identifier: Apache-2.0
"""Fetches ahead in parallel what is taken in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ipai_kit.waiting import Waiting

__all__ = ["Fetcher", "Key", "Ticket"]

Key = tuple[int, ...]


class Sized(Protocol):
    """A result that occupies memory until it is taken."""

    size: int


R = TypeVar("R", bound=Sized)


class Ticket(Generic[R]):
    """A result to come. Keys order tickets as their results will be taken."""

    __slots__ = ("error", "job", "key", "result", "state")

    def __init__(self, key: Key, job: Callable[[], R]) -> None:
        self.key = key
        self.job: Callable[[], R] | None = job
        self.result: R | None = None
        self.error: BaseException | None = None
        self.state = "new"

    def __lt__(self, other: Ticket[R]) -> bool:
        return self.key < other.key


class Fetcher(Generic[R]):
    """Runs jobs in the order of their keys; a job may submit further jobs.

    Without threads every job runs when it is taken, in the caller's thread: the serial run that
    the parallel one must equal.
    """

    def __init__(self, waiting: Waiting | None = None) -> None:
        self._waiting = waiting or Waiting()

    def submit(self, key: Key, job: Callable[[], R]) -> Ticket[R]:
        """Announce a job; its result will be taken after those of all smaller keys."""
        return Ticket(key, job)

    def take(self, ticket: Ticket[R]) -> R:
        """Return the result of a job, or raise its error."""
        self._waiting.check()
        job, ticket.job = ticket.job, None
        if job is None:
            message = f"The result of {ticket.key!r} was taken twice."
            raise RuntimeError(message)
        return job()

    def close(self) -> None:
        """Forget everything that was not taken."""
