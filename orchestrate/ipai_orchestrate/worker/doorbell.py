# SPDX-License-Identifier: Apache-2.0
"""Lets a worker sleep until there may be something to do: a hint of the queue, or one of its own.

A hint may be lost, and a transaction pooler passes on none: whoever waits here also looks again
after a while.
"""

import os
import selectors
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg

from ipai_orchestrate.exceptions import OrchestrateError
from ipai_orchestrate.pipeline.database import Connection, Database

CHANNEL = "ipai_connector_jobs"
SLICE_SECONDS = 0.5
RECONNECT_SECONDS = 5.0


class Doorbell:
    """Rung by the queue's notifications and by the threads of this process."""

    def __init__(self, database: Database, sources: Collection[str] | None = None) -> None:
        self._database = database
        self._sources = sources
        self._ear, self._button = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._button, False)
        self._listening: Connection | None = None
        self._listen_again = 0.0

    def __enter__(self) -> Self:
        """Start to listen; without a database the ringing of this process is heard all the same."""
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop to listen."""
        self._hang_up()
        os.close(self._ear)
        os.close(self._button)

    def ring(self) -> None:
        """Wake the sleeper; any thread may."""
        with suppress(BlockingIOError):  # full: it has been rung often enough
            os.write(self._button, b"!")

    def wait(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Sleep that long, or until it is rung or `is_over`; True when it was rung.

        Signals do not interrupt the sleep in Python, hence the slices.
        """
        deadline = time.monotonic() + seconds
        self._listen()
        while not is_over() and (left := deadline - time.monotonic()) > 0:
            if self._heard(min(left, SLICE_SECONDS)):
                return True
        return False

    def _heard(self, seconds: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._ear, selectors.EVENT_READ)
            if self._listening is not None:
                selector.register(self._listening, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select(seconds)}
        rung = self._ear in ready and bool(os.read(self._ear, 4096))
        return (bool(ready - {self._ear}) and self._concerns_us()) or rung

    def _concerns_us(self) -> bool:
        if self._listening is None:
            return False
        try:
            heard = {one.payload for one in self._listening.notifies(timeout=0)}
        except psycopg.Error:
            self._hang_up()
            return True
        return self._sources is None or "" in heard or bool(heard.intersection(self._sources))

    def _listen(self) -> None:
        if self._listening is not None or time.monotonic() < self._listen_again:
            return
        try:
            self._listening = self._database.connect()
            self._listening.execute(f"listen {CHANNEL}")
        except (psycopg.Error, OrchestrateError):
            self._hang_up()

    def _hang_up(self) -> None:
        self._listen_again = time.monotonic() + RECONNECT_SECONDS
        if self._listening is not None:
            with suppress(psycopg.Error):
                self._listening.close()
            self._listening = None
