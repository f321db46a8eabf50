# SPDX-License-Identifier: Apache-2.0
"""A thread that commits one batch while the next one is being read."""

import threading
from collections.abc import Callable

from ipai_kit.landing.batch import FlushBatch, StreamReport
from ipai_kit.landing.store import Store

Committed = Callable[[FlushBatch, list[StreamReport]], None]


class FlushWriter:
    """Holds at most one batch: memory stays within two, the one written and the one read."""

    def __init__(self, store: Store, committed: Committed, wake: Callable[[], None]) -> None:
        self._store = store
        self._committed = committed
        self._wake = wake
        self._changed = threading.Condition()
        self._batch: FlushBatch | None = None
        self._is_closing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="flush-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: FlushBatch) -> None:
        """Hand over a batch as soon as the one before it is committed."""
        with self._changed:
            self._changed.wait_for(lambda: self._batch is None)
            self._raise_error()
            self._batch = batch
            self._changed.notify_all()

    @property
    def has_failed(self) -> bool:
        """Whether an error ended the writer."""
        return self._error is not None

    def check(self) -> None:
        """Raise the error that ended the writer, if one did."""
        with self._changed:
            self._raise_error()

    def wait(self) -> None:
        """Wait until everything handed over is committed."""
        with self._changed:
            self._changed.wait_for(lambda: self._batch is None)
            self._raise_error()

    def close(self) -> None:
        """Wait for the last batch and end the thread; an error of it has been raised before."""
        with self._changed:
            self._changed.wait_for(lambda: self._batch is None)
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batch is not None or self._is_closing)
                batch = self._batch
            if batch is None:
                return
            try:
                self._committed(batch, self._store.commit(batch))
            except BaseException as error:  # noqa: BLE001 - carried over to the reading thread
                self._error = error
                self._wake()
            batch = None  # or its rows would stay until the next one comes
            with self._changed:
                self._batch = None
                self._changed.notify_all()
