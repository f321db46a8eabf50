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

PARTITION: Final = "emitted_date"
DAY_MICROS: Final = 86_400_000_000
_SINCE_1970: Final = 946_684_800_000_000
_CHUNK_ROWS: Final = 122_880
_CHUNK_BYTES: Final = 32 << 20
_TIME: Final = pa.timestamp("us", "UTC")
_NAME: Final = pa.dictionary(pa.int32(), pa.string())

FILE_SCHEMA: Final = pa.schema(
    [
        pa.field("instance_id", _NAME, nullable=False),
        pa.field("record_key", pa.string(), nullable=False),
        pa.field("record", pa.string()),
        pa.field("emitted_at", _TIME, nullable=False),
        pa.field("source", _NAME, nullable=False),
        pa.field("stream", _NAME, nullable=False),
        pa.field("cursor", pa.string()),
        pa.field("run_id", _NAME),
        pa.field("loaded_at", _TIME, nullable=False),
        pa.field("deleted_at", _TIME),
        pa.field("generation", pa.int64()),
        pa.field("position", pa.int32(), nullable=False),
    ]
)
"""What a data file holds; its day is in its path."""

REPEATED: Final = ("instance_id", "source", "stream", "run_id", "emitted_at", "loaded_at")
MEASURED: Final = tuple(name for name in FILE_SCHEMA.names if name != "record")


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


def record_batch(rows: LakeRows, origin: Origin) -> pa.RecordBatch:
    """Rows as they are written to a file; raises `pyarrow.ArrowInvalid` unless all is UTF-8."""
    keys, records, emitted, cursors, *_ = zip(*rows.rows, strict=True)
    count = len(keys)
    columns = {
        "instance_id": _repeated(origin.instance_id, count),
        "record_key": _strings(keys),
        "record": _strings(records),
        "emitted_at": _integers([unix_micros(moment) for moment in emitted], _TIME),
        "source": _repeated(origin.source, count),
        "stream": _repeated(origin.stream, count),
        "cursor": _strings([cursor and cursor.encode() for cursor in cursors]),
        "run_id": _repeated(origin.run_id, count),
        "loaded_at": _integers([origin.loaded_at] * count, _TIME),
        "deleted_at": _integers([rows.deleted_at] * count, _TIME),
        "generation": _integers(rows.generations or [None] * count, pa.int64()),
        "position": _integers(rows.positions, pa.int32()),
    }
    columns["record"].validate(full=True)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=FILE_SCHEMA)


def is_storable(record: bytes) -> bool:
    """Whether a Parquet string can hold the record."""
    try:
        bytes(record).decode()
    except UnicodeDecodeError:
        return False
    return True


def _day(emitted: int) -> int:
    return unix_micros(emitted) // DAY_MICROS


def _strings(values: Sequence[bytes | None]) -> pa.StringArray:
    texts: Any = values
    validity = None
    if None in values:
        validity, texts = _validity(values), [value or b"" for value in values]
    offsets = array("i", accumulate(map(len, texts), initial=0))
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _integers(values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
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


def _repeated(value: str | None, count: int) -> pa.DictionaryArray:
    if value is None:
        return pa.nulls(count, _NAME)
    zeros = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(bytes(4 * count))])
    return pa.DictionaryArray.from_arrays(zeros, _strings([value.encode()]))
