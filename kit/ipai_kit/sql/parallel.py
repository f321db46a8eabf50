# SPDX-License-Identifier: Apache-2.0
"""Several chunks of a table at the same time, emitted in order.

Each worker has a connection and a small queue of its own: memory is bounded by the queues, and the
order by who is asked first. The ends of the chunks are found beforehand through the key's index.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ipai_kit.sql.database import Block, Database, Position, Selection
from ipai_kit.sql.reading import Reading

__all__ = ["read_parallel"]

_BLOCKS_AHEAD = 16
_TICK_SECONDS = 0.2
_JOIN_SECONDS = 5.0

_Item = tuple[Block, Position] | BaseException | None


@dataclass
class _Chunk:
    """Rows between two keys, and what was read of them."""

    selection: Selection
    items: queue.Queue[_Item] = field(default_factory=lambda: queue.Queue(_BLOCKS_AHEAD))


class _Pool:
    """Threads that read chunks; they stop when asked."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._stop = threading.Event()
        self._waiting: queue.Queue[_Chunk] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._work, args=(reading.database.another(),), daemon=True)
            for _ in range(reading.options.parallel)
        ]
        for thread in self._threads:
            thread.start()

    def begin(self, chunk: _Chunk) -> None:
        """Have a chunk read by the next free worker."""
        self._waiting.put(chunk)

    def close(self) -> None:
        """End the workers; one that waits for the server alone ends with the process."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def _work(self, database: Database) -> None:
        while not self._stop.is_set():
            try:
                chunk = self._waiting.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue
            self._read(database, chunk)
        database.close()

    def _read(self, database: Database, chunk: _Chunk) -> None:
        try:
            for found in self._reading.ordered(chunk.selection, database.read):
                if not self._put(chunk, found):
                    return
            self._put(chunk, None)
        except BaseException as error:  # noqa: BLE001 - the emitting thread raises it again
            self._put(chunk, error)

    def _put(self, chunk: _Chunk, item: _Item) -> bool:
        while not self._stop.is_set():
            try:
                chunk.items.put(item, timeout=_TICK_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def read_parallel(
    reading: Reading, after: Position | None, until: Position
) -> Iterator[tuple[Block, Position]]:
    """Yield the blocks between two keys in the order of the key."""
    ends = _chunk_ends(reading, after, until)
    pool, under_way = _Pool(reading), deque[_Chunk]()
    try:
        while True:
            while len(under_way) <= reading.options.parallel and (chunk := next(ends, None)):
                pool.begin(chunk)
                under_way.append(chunk)
            if not under_way:
                return
            yield from _items(reading, under_way.popleft())
    finally:
        pool.close()


def _items(reading: Reading, chunk: _Chunk) -> Iterator[tuple[Block, Position]]:
    while True:
        try:
            item = chunk.items.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            reading.pause(0)
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item


def _chunk_ends(reading: Reading, after: Position | None, until: Position) -> Iterator[_Chunk]:
    """Yield the chunks; the key at every `chunk_rows`-th row is looked up in the index."""
    while True:
        rest = reading.selection(order=reading.key, after=after, until=until)
        end = reading.database.position(rest, skip=reading.options.chunk_rows - 1)
        last = end is None or end == until
        yield _Chunk(
            reading.selection(order=reading.key, after=after, until=until if last else end)
        )
        if last:
            return
        after = end
