# SPDX-License-Identifier: Apache-2.0
"""A lake that commits batches: one commit per table and flush, tried again while the store is away.

A flush is known by an id of its own and by the version that it gives its application id (instance
and stream): an attempt whose answer was lost is looked up before it is repeated.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]

from ipai_kit.landing.batch import FlushBatch, StreamBatch, StreamReport
from ipai_kit.landing.place import BronzePlace, bronze_place
from target_bronze_lake.bronze_table import BronzeTable, TableFlush
from target_bronze_lake.compaction import compact
from target_bronze_lake.dead_letters import PATH, DeadLetterTable, LetterFlush
from target_bronze_lake.faults import STORE_ERRORS
from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.persistence import Result, persist
from target_bronze_lake.replay import WINDOW_ROWS
from target_bronze_lake.row_format import BRONZE, DEAD_LETTERS
from target_bronze_lake.settings import Settings
from target_bronze_lake.storage import Storage, open_storage, require_conditional_puts
from target_bronze_lake.vacuum import vacuum

_LAST_SECONDS: Final = 10.0


@dataclass
class Lake:
    """The tables of a run."""

    settings: Settings
    notify: Callable[..., None]
    stopping: threading.Event = field(default_factory=threading.Event)
    tables: dict[BronzePlace, BronzeTable] = field(default_factory=dict)
    _storage: Storage | None = None
    _letters: DeadLetterTable | None = None

    def open(self) -> None:
        """Reach the store, so that wrong settings show before anything is read."""
        # the default allocator asks for huge pages, which the kernel clears whole for every flush
        pa.set_memory_pool(pa.system_memory_pool())
        self._persist(self._reach)

    def commit(self, batch: FlushBatch) -> list[StreamReport]:
        """Commit a batch table by table; a table that has it already is left alone."""
        reports = [self._commit_stream(batch, stream) for stream in batch.streams.values()]
        if batch.dead_letters:
            self._bury(batch)
        return reports

    def finish(self) -> None:
        """Compact what this run made of small files; everything is committed: a courtesy."""
        pa.default_memory_pool().release_unused()
        for bronze in self.tables.values():
            try:
                self._tidy(bronze.table)
            except STORE_ERRORS as error:
                self.notify("not_optimized", level="warning", error=type(error).__name__)

    def close(self) -> None:
        """Nothing is kept open."""

    def _commit_stream(self, batch: FlushBatch, stream: StreamBatch) -> StreamReport:
        started = time.monotonic()
        table = self._table(stream)
        flush = TableFlush(batch, stream)
        self._persist(lambda: table.land(flush), has_rows=True)
        self._limit_windows()
        return StreamReport(
            stream=stream.plan.stream,
            received=stream.received,
            inserted=flush.landed,
            updated=0,
            dead=stream.dead,
            retired=flush.retired,
            size=stream.size,
            seconds=time.monotonic() - started,
        )

    def _limit_windows(self) -> None:
        """Forget what the streams before committed last: taps read one stream after the other."""
        windows = [table.window for table in self.tables.values() if table.window is not None]
        held = sum(window.held for window in windows)
        for window in windows[:-1]:
            if held > WINDOW_ROWS:
                held -= window.held
                window.forget()

    def _tidy(self, table: LakeTable) -> None:
        if not self.settings.optimize_after:
            return
        done = compact(
            table, self.settings.target_file_bytes, at_least=self.settings.optimize_after
        )
        if done.replaced:
            removed = vacuum(table, self.settings.retention_hours).removed
            self.notify("optimized", **asdict(done), removed=removed)

    def _table(self, stream: StreamBatch) -> BronzeTable:
        place = bronze_place(stream.plan)
        if place not in self.tables:
            path = f"{place.schema}/{place.table}"
            table = LakeTable.at(self._reach(), path, BRONZE, self.settings.format)
            self.tables[place] = BronzeTable(table, self.settings, stream.plan)
        return self.tables[place]

    def _bury(self, batch: FlushBatch) -> None:
        if self._letters is None:
            table = LakeTable.at(self._reach(), PATH, DEAD_LETTERS, self.settings.format)
            self._letters = DeadLetterTable(table, self.settings.instance_id, self.settings.run_id)
        letters, flush = self._letters, LetterFlush(batch.dead_letters)
        self._persist(lambda: letters.bury(flush), has_rows=True)

    def _reach(self) -> Storage:
        if self._storage is None:
            storage = open_storage(self.settings)
            if storage.folder is None:
                require_conditional_puts(storage)
            self._storage = storage
        return self._storage

    def _persist(self, work: Callable[[], Result], *, has_rows: bool = False) -> Result:
        """Do some work until it succeeds, its error is final, or the time for retries is over."""
        return persist(
            work, self.settings, self.notify, lambda: self._last_moment(has_rows=has_rows)
        )

    def _last_moment(self, *, has_rows: bool) -> float:
        """A stopped run tries a little longer to commit what it holds, but not for long."""
        if not self.stopping.is_set():
            return math.inf
        return time.monotonic() + (_LAST_SECONDS if has_rows else 0)
