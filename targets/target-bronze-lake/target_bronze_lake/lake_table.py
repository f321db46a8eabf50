# SPDX-License-Identifier: Apache-2.0
"""A table of the lake: files that are written first and become visible by one commit."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from target_bronze_lake.data_file import LARGE_BYTES, DataFile, ParquetContent, describe, new_path
from target_bronze_lake.delta_log import DeltaLog
from target_bronze_lake.faults import STORE_ERRORS
from target_bronze_lake.manifest_log import ManifestLog
from target_bronze_lake.row_format import TableShape
from target_bronze_lake.settings import DELTA
from target_bronze_lake.storage import Storage
from target_bronze_lake.table_log import Commit, TableLog

_READ_ROWS: Final = 8_192
_BUFFER_BYTES: Final = 1 << 20


@dataclass
class Attempt:
    """One flush on its way into one table, across all attempts to commit it."""

    flush_id: str = field(default_factory=lambda: uuid4().hex)
    is_in_doubt: bool = False
    """Whether a commit was tried and its answer may have been lost."""


@dataclass
class LakeTable:
    """A table by its path below the lake's URL."""

    storage: Storage
    path: str
    shape: TableShape
    log: TableLog
    _is_open: bool = False

    @classmethod
    def at(cls, storage: Storage, path: str, shape: TableShape, form: str) -> "LakeTable":
        """The table of a path in one of the two forms."""
        kind = DeltaLog if form == DELTA else ManifestLog
        return cls(storage, path, shape, kind(storage, path, shape))

    def open(self) -> bool:
        """See the table, once; whether this was the first look."""
        if self._is_open:
            return False
        self.log.refresh()
        self._is_open = True
        return True

    def has_committed(self, attempt: Attempt) -> bool:
        """Whether an attempt before this one got through."""
        if not attempt.is_in_doubt:
            return False
        self.log.refresh()
        return self.log.holds_flush(attempt.flush_id)

    def commit(
        self,
        attempt: Attempt,
        app_id: str,
        files: Sequence[DataFile],
        versions: dict[str, int] | None = None,
    ) -> None:
        """Make files visible, counted under an application id."""
        attempt.is_in_doubt = True
        reached = self.log.transaction(app_id)
        transactions = {app_id: 0 if reached is None else reached + 1, **(versions or {})}
        self.log.commit(Commit(tuple(files), transactions, attempt.flush_id))

    def write(self, day: str, batches: Iterable[pa.RecordBatch]) -> DataFile:
        """Store a file that nobody sees yet."""
        content = ParquetContent(batches, self.shape)
        path = new_path(self.shape, day)
        with contextlib.closing(content.pieces()) as pieces:
            size = self.storage.write(f"{self.path}/{path}", pieces)
        return describe(self.shape, content.metadata, path, day, size)

    def read(
        self, file: DataFile, columns: list[str], rows: int = _READ_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Some columns of a file, a part at a time."""
        with contextlib.closing(self.storage.open_file(f"{self.path}/{file.path}")) as source:
            parquet = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            for group in range(parquet.num_row_groups):
                # each thread would keep memory of its own
                if parquet.metadata.row_group(group).total_byte_size > LARGE_BYTES:
                    whole = parquet.read_row_group(group, columns=columns, use_threads=False)
                    yield from whole.to_batches()  # what decoding it took is free by now
                    del whole
                    continue
                yield from parquet.iter_batches(
                    rows, row_groups=[group], columns=columns, use_threads=False
                )

    def discard(self, files: Iterable[DataFile]) -> None:
        """Remove files that no commit speaks of; what stays is left to vacuum."""
        for file in files:
            with contextlib.suppress(*STORE_ERRORS):
                self.storage.delete(f"{self.path}/{file.path}")
