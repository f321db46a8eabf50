# SPDX-License-Identifier: Apache-2.0
"""A Bronze table of the lake: rows of a flush become files, files become visible by one commit."""

import time
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa  # type: ignore[import-untyped]

from ipai_kit.bronze import RejectionReason, StreamPlan
from ipai_kit.landing.batch import FlushBatch, StreamBatch
from ipai_kit.landing.place import BronzePlace
from target_bronze_lake.data_file import DataFile, day_name, describe, new_path, write_parquet
from target_bronze_lake.delta_log import DeltaLog
from target_bronze_lake.row_format import (
    FILE_SCHEMA,
    MEASURED,
    LakeRows,
    Origin,
    is_storable,
    record_batch,
)
from target_bronze_lake.settings import Settings
from target_bronze_lake.storage import Storage
from target_bronze_lake.table_log import Commit, TableLog

_NOT_UTF8: Final = "The record is not valid UTF-8."


@dataclass
class TableFlush:
    """What one flush brings to one table, across all attempts to commit it."""

    batch: FlushBatch
    stream: StreamBatch
    flush_id: str = field(default_factory=lambda: uuid4().hex)
    files: list[DataFile] | None = None
    landed: int = 0
    retired: int = 0
    is_in_doubt: bool = False


@dataclass
class BronzeTable:
    """A table and what a run knows about it."""

    storage: Storage
    settings: Settings
    path: str
    plan: StreamPlan
    log: TableLog
    _is_open: bool = False
    _loaded_at: int = 0

    @classmethod
    def of(
        cls, storage: Storage, settings: Settings, place: BronzePlace, plan: StreamPlan
    ) -> "BronzeTable":
        """The table of a stream."""
        path = f"{place.schema}/{place.table}"
        log = DeltaLog(storage, path, FILE_SCHEMA, list(MEASURED))
        return cls(storage, settings, path, plan, log)

    @property
    def app_id(self) -> str:
        """Under which the flushes of this instance are counted."""
        return f"ipai:{self.settings.instance_id}:{self.plan.source}:{self.plan.stream}"

    def land(self, flush: TableFlush) -> None:
        """Commit a flush, unless an attempt before got through."""
        self._look(flush)
        if flush.is_in_doubt and self.log.holds_flush(flush.flush_id):
            return
        if flush.files is None:
            flush.files = self._write_rows(flush)
        if not flush.files:
            return
        flush.is_in_doubt = True
        version = self.log.transaction(self.app_id)
        transactions = {self.app_id: 0 if version is None else version + 1}
        self.log.commit(Commit(tuple(flush.files), transactions, flush.flush_id))

    def _look(self, flush: TableFlush) -> None:
        """See the table as it is when it is opened and after a failure; else nobody asks."""
        if not self._is_open or flush.is_in_doubt:
            self.log.refresh()
            self._is_open = True

    def _write_rows(self, flush: TableFlush) -> list[DataFile]:
        delivered = flush.stream.to_write()
        if not delivered:
            return []
        rows = LakeRows(delivered, range(len(delivered)))
        try:
            files = self._write(rows)
        except pa.ArrowInvalid:
            self._bury_unstorable(flush)
            return self._write_rows(flush)
        flush.landed = len(rows.rows)
        return files

    def _write(self, rows: LakeRows) -> list[DataFile]:
        origin = Origin(
            self.settings.instance_id,
            self.plan.source,
            self.plan.stream,
            self.settings.run_id,
            self._next_moment(),
        )
        files: list[DataFile] = []
        try:
            for day, part in rows.by_day():
                files.append(self._write_file(day_name(day), part, origin))
        except BaseException:
            self.discard(files)
            raise
        return files

    def _write_file(self, day: str, rows: LakeRows, origin: Origin) -> DataFile:
        sink = pa.BufferOutputStream()
        batches = (record_batch(chunk, origin) for chunk in rows.chunks())
        metadata = write_parquet(batches, sink, FILE_SCHEMA)
        content: Any = sink.getvalue()
        path = new_path(day)
        self.storage.write(f"{self.path}/{path}", content)
        return describe(metadata, path, day, content.size)

    def discard(self, files: list[DataFile]) -> None:
        """Remove files that no commit speaks of."""
        for file in files:
            self.storage.delete(f"{self.path}/{file.path}")

    def _bury_unstorable(self, flush: TableFlush) -> None:
        """Move what a Parquet string cannot hold to the dead letters."""
        refused = [row for row in flush.stream.to_write() if not is_storable(row[1])]
        for row in refused:
            reason = RejectionReason.INVALID_ENCODING
            flush.batch.bury(flush.stream, reason, _NOT_UTF8, row[1])
            flush.stream.remove(row)
        flush.batch.quarantined += len(refused)

    def _next_moment(self) -> int:
        """A time of loading that is later than every one before it."""
        self._loaded_at = max(time.time_ns() // 1000, self._loaded_at + 1)
        return self._loaded_at
