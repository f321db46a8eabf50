# SPDX-License-Identifier: Apache-2.0
"""The table of a stream: a flush becomes files by day, tombstones included, and one commit."""

import time
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]

from ipai_kit.bronze import RejectionReason, Row, StreamPlan
from ipai_kit.landing.batch import FlushBatch, StreamBatch
from ipai_kit.landing.tombstones import is_tombstone
from target_bronze_lake.data_file import DataFile, day_name
from target_bronze_lake.lake_table import Attempt, LakeTable
from target_bronze_lake.replay import ReplayWindow
from target_bronze_lake.row_format import LakeRows, Origin, is_storable, record_batch
from target_bronze_lake.settings import Settings

_NOT_UTF8: Final = "The record is not valid UTF-8."


@dataclass
class TableFlush:
    """What a flush brings to the table of one stream, and what became of it."""

    batch: FlushBatch
    stream: StreamBatch
    attempt: Attempt = field(default_factory=Attempt)
    rows: LakeRows | None = None
    files: list[DataFile] | None = None
    tombstones: list[DataFile] = field(default_factory=list)
    refused: set[bytes] = field(default_factory=set)
    retired: int = 0
    loaded_at: int = 0

    @property
    def landed(self) -> int:
        """Rows that were not there yet."""
        return len(self.rows.rows) if self.rows else 0


@dataclass
class BronzeTable:
    """A table and what a run knows about it."""

    table: LakeTable
    settings: Settings
    plan: StreamPlan
    window: ReplayWindow | None = None
    _loaded_at: int = 0
    _rowless: dict[int, set[bytes]] = field(default_factory=dict)
    """Keys that a generation delivered in records that could not be landed."""

    def land(self, flush: TableFlush) -> None:
        """Commit a flush, unless an attempt before got through."""
        self._open()
        if self.table.has_committed(flush.attempt):
            return
        if flush.rows is None:
            flush.rows = self._new_rows(flush)
        if flush.files is None:
            flush.loaded_at = self._next_moment()
            flush.files = self._write(flush, flush.rows)
            self._note_rowless(flush)
        versions = self._retire(flush)
        files = [*flush.files, *flush.tombstones]
        if files or versions:
            self.table.commit(flush.attempt, self._owned("ipai"), files, versions)

    def _open(self) -> None:
        if self.table.open():
            self.window = ReplayWindow(self.table, self.settings.instance_id)
            self.window.load()
            self._loaded_at = self.window.newest_load

    def _owned(self, what: str) -> str:
        """An application id of this instance and stream."""
        return f"{what}:{self.settings.instance_id}:{self.plan.source}:{self.plan.stream}"

    def _new_rows(self, flush: TableFlush) -> LakeRows:
        """The delivered rows without what a Parquet string cannot hold and what is there."""
        delivered = self._with_cursors(flush.stream.to_write())
        generations = row_generations(flush.stream, [row[0] for row in delivered])
        rows = LakeRows(delivered, range(len(delivered)), generations)
        return self.window.unknown(rows) if self.window and delivered else rows

    def _with_cursors(self, rows: list[Row]) -> list[Row]:
        """Give a tombstone without a cursor that of the row it ends: null would be older."""
        if not self.plan.marks_deletions or self.plan.cursor_property is None:
            return rows
        bare = {row[0] for row in rows if row[3] is None and is_tombstone(row[1])}
        if not bare:
            return rows
        # pyarrow.compute, which most runs do without, takes as long to load as 10,000 rows
        from target_bronze_lake.generations import newest_cursors

        cursors = newest_cursors(self.table, self.settings.instance_id, bare)
        completed = []
        for key, record, emitted, cursor, digest in rows:
            if key in bare and cursor is not None:
                cursors[key] = max(cursor, cursors.get(key, ""))
            known = cursors.get(key) if cursor is None and key in bare else cursor
            completed.append((key, record, emitted, known, digest))
        return completed

    def _write(self, flush: TableFlush, rows: LakeRows) -> list[DataFile]:
        origin = Origin(
            self.settings.instance_id,
            self.plan.source,
            self.plan.stream,
            self.settings.run_id,
            flush.loaded_at,
        )
        files: list[DataFile] = []
        try:
            for piece in self._alive_and_dead(rows, flush.loaded_at):
                for day, part in piece.by_day():
                    batches = (record_batch(chunk, origin) for chunk in part.chunks())
                    files.append(self.table.write(day_name(day), batches))
        except pa.ArrowInvalid:
            self.table.discard(files)
            flush.rows = self._storable(flush, rows)
            return self._write(flush, flush.rows)
        except BaseException:
            self.table.discard(files)
            raise
        return files

    def _alive_and_dead(self, rows: LakeRows, moment: int) -> list[LakeRows]:
        """Rows by whether they say that they were deleted."""
        if not self.plan.marks_deletions or rows.deleted_at is not None:
            return [rows]
        marks = [is_tombstone(row[1]) for row in rows.rows]
        if not any(marks):
            return [rows]
        alive = [index for index, is_dead in enumerate(marks) if not is_dead]
        dead = [index for index, is_dead in enumerate(marks) if is_dead]
        return [rows.take(alive), replace(rows.take(dead), deleted_at=moment)]

    def _storable(self, flush: TableFlush, rows: LakeRows) -> LakeRows:
        """Move what a Parquet string cannot hold to the dead letters."""
        kept = [index for index, row in enumerate(rows.rows) if is_storable(row[1])]
        refused = set(range(len(rows.rows))).difference(kept)
        for index in sorted(refused):
            reason = RejectionReason.INVALID_ENCODING
            flush.batch.quarantine(flush.stream, rows.rows[index], reason, _NOT_UTF8)
            flush.refused.add(rows.rows[index][0])
        return rows.take(kept)

    def _note_rowless(self, flush: TableFlush) -> None:
        """A record among the dead letters is not gone from its source."""
        if flush.stream.dead:
            landed = {row[0] for row in flush.stream.to_write()} - flush.refused
            for version, keys in flush.stream.generation_keys.items():
                self._rowless.setdefault(version, set()).update(keys - landed)

    def _retire(self, flush: TableFlush) -> dict[str, int]:
        """Tombstones for what a complete generation lacks, anew for each attempt."""
        version, rows = flush.stream.complete_version, flush.rows
        self.table.discard(flush.tombstones)
        flush.tombstones = []
        if version is None or rows is None:
            return {}
        self.table.log.refresh()
        active = self.table.log.transaction(self._owned("ipai-generation"))
        if active is not None and version <= active:
            return {}
        # pyarrow.compute, which most runs do without, takes as long to load as 10,000 rows
        from target_bronze_lake.generations import retired_keys, tombstone_rows

        origin = Origin(self.settings.instance_id, "", "", None, flush.loaded_at)
        arriving = [record_batch(chunk, origin) for chunk in rows.chunks()]
        delivered = flush.stream.generation_keys.get(version, set()) | self._rowless.get(
            version, set()
        )
        gone = retired_keys(self.table, self.settings.instance_id, version, arriving, delivered)
        stones = tombstone_rows(list(gone), flush.loaded_at, len(flush.stream.to_write()))
        flush.tombstones = self._write(flush, stones)
        flush.retired = len(stones.rows)
        return {self._owned("ipai-generation"): version}

    def _next_moment(self) -> int:
        """A time of loading that is later than every one in the table."""
        self._loaded_at = max(time.time_ns() // 1000, self._loaded_at + 1)
        return self._loaded_at


def row_generations(stream: StreamBatch, keys: list[bytes]) -> list[int | None] | None:
    """The newest generation that delivered each key; None when there is none at all."""
    delivered = sorted(stream.generation_keys.items())
    if not delivered:
        return None
    newest: dict[bytes, int] = {key: version for version, some in delivered for key in some}
    return [newest.get(key) for key in keys]
