# SPDX-License-Identifier: Apache-2.0
"""Rows of the Bronze contract as Arrow columns, made from slices of bytes without a copy per value.

Strings become one joined buffer and its offsets; what is the same for a whole commit is a
dictionary of one entry. `pyarrow.array` is not used: its first call imports pandas where that is
installed, which takes longer than loading 100,000 rows.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]

from ipai_kit.bronze import Row

DAY_MICROS: Final = 86_400_000_000
TIME: Final = pa.timestamp("us", "UTC")
_SINCE_1970: Final = 946_684_800_000_000
_CHUNK_ROWS: Final = 122_880
_CHUNK_BYTES: Final = 32 << 20
_TEXT: Final = pa.string()
_NAME: Final = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class TableShape:
    """What the files of a kind of table hold; the day is in their paths, not in them."""

    schema: pa.Schema
    day: str
    repeated: tuple[str, ...]
    """Columns of few values: dictionary-encoded."""
    unmeasured: tuple[str, ...]
    """Columns that nobody compares: without statistics."""

    @property
    def measured(self) -> list[str]:
        """Columns with statistics."""
        return [name for name in self.schema.names if name not in self.unmeasured]


BRONZE: Final = TableShape(
    pa.schema(
        [
            pa.field("instance_id", _NAME, nullable=False),
            pa.field("record_key", pa.string(), nullable=False),
            pa.field("record", pa.string()),
            pa.field("emitted_at", TIME, nullable=False),
            pa.field("source", _NAME, nullable=False),
            pa.field("stream", _NAME, nullable=False),
            pa.field("cursor", pa.string()),
            pa.field("run_id", _NAME),
            pa.field("loaded_at", TIME, nullable=False),
            pa.field("deleted_at", TIME),
            pa.field("generation", pa.int64()),
            pa.field("position", pa.int32(), nullable=False),
        ]
    ),
    day="emitted_date",
    repeated=("instance_id", "source", "stream", "run_id", "emitted_at", "loaded_at"),
    unmeasured=("record",),
)
DEAD_LETTERS: Final = TableShape(
    pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("instance_id", _NAME, nullable=False),
            pa.field("run_id", _NAME),
            pa.field("source", pa.string(), nullable=False),
            pa.field("stream", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("error", pa.string(), nullable=False),
            pa.field("raw", pa.binary(), nullable=False),
            pa.field("received_at", TIME, nullable=False),
            pa.field("replayed_at", TIME),
        ]
    ),
    day="received_date",
    repeated=("instance_id", "run_id"),
    unmeasured=("error", "raw"),
)


@dataclass(frozen=True)
class Origin:
    """What all rows of a commit share."""

    instance_id: str
    source: str
    stream: str
    run_id: str | None
    loaded_at: int


@dataclass(frozen=True)
class LakeRows:
    """Rows of one commit in the order of their delivery; tombstones have a `deleted_at`."""

    rows: Sequence[Row]
    positions: Sequence[int]
    generations: Sequence[int | None] | None = None
    deleted_at: int | None = None

    def take(self, indexes: Sequence[int]) -> "LakeRows":
        """Some of the rows, which keep their positions."""
        if len(indexes) == len(self.rows):
            return self
        return LakeRows(
            [self.rows[index] for index in indexes],
            [self.positions[index] for index in indexes],
            self.generations and [self.generations[index] for index in indexes],
            self.deleted_at,
        )

    def by_day(self) -> Iterator[tuple[int, "LakeRows"]]:
        """The rows of each day (of UTC, counted from 1970)."""
        if not self.rows:
            return
        moments = [row[2] for row in self.rows]
        if _day(min(moments)) == _day(max(moments)):
            yield _day(moments[0]), self
            return
        days: dict[int, list[int]] = {}
        for index, moment in enumerate(moments):
            days.setdefault(_day(moment), []).append(index)
        for day, indexes in days.items():
            yield day, self.take(indexes)

    def chunks(self) -> Iterator["LakeRows"]:
        """Parts of the size of a row group."""
        ends, size = [0], 0
        for index, row in enumerate(self.rows):
            size += len(row[1] or b"")
            if size > _CHUNK_BYTES or index - ends[-1] >= _CHUNK_ROWS:
                ends.append(index)
                size = len(row[1] or b"")
        for start, end in zip(ends, [*ends[1:], len(self.rows)], strict=True):
            if start < end:
                yield self.take(range(start, end))


def unix_micros(emitted: int) -> int:
    """Microseconds since 1970 of what the landing counts since 2000."""
    return emitted + _SINCE_1970


def landing_micros(moment: int) -> int:
    """Microseconds since 2000 of what the lake counts since 1970."""
    return moment - _SINCE_1970


def record_batch(rows: LakeRows, origin: Origin) -> pa.RecordBatch:
    """Rows as they are written to a file; raises `pyarrow.ArrowInvalid` unless all is UTF-8."""
    keys, records, emitted, cursors, *_ = zip(*rows.rows, strict=True)
    count = len(keys)
    columns = {
        "instance_id": repeated(origin.instance_id, count),
        "record_key": strings(keys),
        "record": strings(records),
        "emitted_at": integers([unix_micros(moment) for moment in emitted], TIME),
        "source": repeated(origin.source, count),
        "stream": repeated(origin.stream, count),
        "cursor": strings([cursor and cursor.encode() for cursor in cursors]),
        "run_id": repeated(origin.run_id, count),
        "loaded_at": integers([origin.loaded_at] * count, TIME),
        "deleted_at": integers([rows.deleted_at] * count, TIME),
        "generation": integers(rows.generations or [None] * count, pa.int64()),
        "position": integers(rows.positions, pa.int32()),
    }
    columns["record"].validate(full=True)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=BRONZE.schema)


def is_storable(record: bytes) -> bool:
    """Whether a Parquet string can hold the record."""
    try:
        bytes(record).decode()
    except UnicodeDecodeError:
        return False
    return True


def _day(emitted: int) -> int:
    return unix_micros(emitted) // DAY_MICROS


def strings(values: Sequence[bytes | None], kind: pa.DataType = _TEXT) -> pa.Array:
    """Values as one buffer and the offsets of each."""
    texts: Any = values
    validity = None
    if None in values:
        validity, texts = _validity(values), [value or b"" for value in values]
    offsets = array("i", accumulate(map(len, texts), initial=0))
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def integers(values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    """Whole numbers, or times in microseconds since 1970."""
    numbers: Any = values
    validity = None
    if None in values:
        validity, numbers = _validity(values), [value or 0 for value in values]
    data = pa.py_buffer(array("i" if kind == pa.int32() else "q", numbers))
    return pa.Array.from_buffers(kind, len(values), [validity, data])


def _validity(values: Sequence[Any]) -> pa.Buffer:
    """A bitmap of what is not None."""
    marks = bytes(value is not None for value in values)
    flags = pa.Array.from_buffers(pa.uint8(), len(marks), [None, pa.py_buffer(marks)])
    return flags.cast(pa.bool_()).buffers()[1]


def repeated(value: str | None, count: int) -> pa.DictionaryArray:
    """One value for all rows."""
    if value is None:
        return pa.nulls(count, _NAME)
    zeros = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(bytes(4 * count))])
    return pa.DictionaryArray.from_arrays(zeros, strings([value.encode()]))
