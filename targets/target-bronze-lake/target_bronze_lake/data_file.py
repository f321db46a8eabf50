# SPDX-License-Identifier: Apache-2.0
"""A Parquet file of rows and what the table's log says about it."""

import contextlib
import io
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from target_bronze_lake.row_format import TableShape

_COMPRESSION_LEVEL: Final = 1
"""Level 3 takes a third more time and saves two hundredths of the space."""
LARGE_BYTES: Final = 24 << 20
"""A row group of more holds a record that is large: what it took is not needed soon again."""
_PLAIN_PAGE: Final = "1.0"
_LEAN_PAGE: Final = "2.0"
"""Pages of which Arrow makes one copy less: for large values."""
_LONGEST_BOUND: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY: Final = date(1970, 1, 1)
_TIMES: Final = frozenset({"emitted_at", "loaded_at", "deleted_at", "received_at", "replayed_at"})


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest value of a column; times in microseconds since 1970."""

    low: Any
    high: Any


@dataclass(frozen=True)
class DataFile:
    """A file of a table; `path` is relative to the table's folder."""

    path: str
    day: str
    size: int
    rows: int
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    nulls: Mapping[str, int] = field(default_factory=dict)


def day_name(day: int) -> str:
    """The day that is so many days after 1970-01-01, as it is written in paths."""
    return (_FIRST_DAY + timedelta(days=day)).isoformat()


def time_text(micros: int, *, rounded_up: bool = False) -> str:
    """A time as Delta's statistics have it: in milliseconds, which must not exclude the value."""
    whole = -(-micros // 1000) if rounded_up else micros // 1000
    moment = _EPOCH + timedelta(milliseconds=whole)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def new_path(shape: TableShape, day: str) -> str:
    """A path that no other file will ever have."""
    return f"{shape.day}={day}/part-{uuid4().hex}.zstd.parquet"


class _Pieces(io.RawIOBase):
    """What a Parquet writer has written since somebody took it away.

    The writer never meets a disk or a store: when one refuses a page, closing the writer raises
    another error in place of theirs, which says nothing about the cause.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """It can be written."""
        return True

    def write(self, data: Any) -> int:
        """Keep some bytes."""
        self._pieces.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """How much was written in all."""
        return self._size

    def take(self) -> list[bytes]:
        """What came since the last time."""
        taken, self._pieces = self._pieces, []
        return taken


@dataclass
class ParquetContent:
    """Row groups as the bytes of a Parquet file, made one by one as they are asked for."""

    batches: Iterable[pa.RecordBatch]
    shape: TableShape
    metadata: Any = None
    """The file's own metadata, once all of it was made."""

    def pieces(self) -> Generator[bytes]:
        """The bytes in their order; of one row group at a time."""
        sink = _Pieces()
        collected: list[Any] = []
        with contextlib.ExitStack() as stack:
            writer = None
            for batch in self.batches:
                is_large = batch.nbytes > LARGE_BYTES
                if is_large:
                    pa.default_memory_pool().release_unused()
                if writer is None:
                    page_version = _LEAN_PAGE if is_large else _PLAIN_PAGE
                    writer = stack.enter_context(self._writer(sink, collected, page_version))
                writer.write_batch(batch, row_group_size=batch.num_rows)
                del batch  # its memory is needed to make the next one
                yield from sink.take()
                if is_large:
                    pa.default_memory_pool().release_unused()
        yield from sink.take()
        self.metadata = collected[0]

    def _writer(self, sink: _Pieces, collected: list[Any], page_version: str) -> Any:
        names = self.shape.schema.names
        return pq.ParquetWriter(
            sink,
            self.shape.schema,
            compression="zstd",
            compression_level=_COMPRESSION_LEVEL,
            use_dictionary=list(self.shape.repeated),
            column_encoding={"position": "DELTA_BINARY_PACKED"} if "position" in names else None,
            write_statistics=self.shape.measured,
            write_page_index=True,
            store_schema=False,
            data_page_version=page_version,
            metadata_collector=collected,
        )


def describe(shape: TableShape, metadata: Any, path: str, day: str, size: int) -> DataFile:
    """What the log says about a file, from its own metadata."""
    bounds: dict[str, Bounds] = {}
    nulls: dict[str, int] = {}
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    for position, name in enumerate(shape.schema.names):
        found = [group.column(position).statistics for group in groups]
        if name in shape.unmeasured or not all(found):
            continue
        nulls[name] = sum(statistics.null_count for statistics in found)
        measured = [statistics for statistics in found if statistics.has_min_max]
        if not measured:
            continue
        low = min(_plain(statistics.min_raw) for statistics in measured)
        high = max(_plain(statistics.max_raw) for statistics in measured)
        if not isinstance(high, str) or max(len(low), len(high)) <= _LONGEST_BOUND:
            bounds[name] = Bounds(low, high)
    return DataFile(path, day, size, metadata.num_rows, bounds, nulls)


def statistics(file: DataFile) -> dict[str, Any]:
    """Statistics of a file in the form of Delta's log."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for name, bounds in file.bounds.items():
        is_time = name in _TIMES
        low[name] = time_text(bounds.low) if is_time else bounds.low
        high[name] = time_text(bounds.high, rounded_up=True) if is_time else bounds.high
    return {
        "numRecords": file.rows,
        "minValues": low,
        "maxValues": high,
        "nullCount": dict(file.nulls),
    }


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
