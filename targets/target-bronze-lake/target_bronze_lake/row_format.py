# SPDX-License-Identifier: Apache-2.0
"""Rows of the Bronze contract as Arrow columns, made from slices of bytes without a copy per value.

Strings become one joined buffer and its offsets; what is the same for a whole commit is a
dictionary of one entry. `pyarrow.array` is not used: its first call imports pandas where that is
installed, which takes longer than loading 100,000 rows; nor is `cast`, which imports all kernels.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]

from ipai_kit.bronze import Row

DAY_MICROS: Final = 86_400_000_000
TIME: Final = pa.timestamp("us", "UTC")
_SINCE_1970: Final = 946_684_800_000_000
_CHUNK_ROWS: Final = 122_880
_CHUNK_BYTES: Final = 16 << 20
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

    @cached_property
    def columns(self) -> tuple[Sequence[Any], ...]:
        """Keys, records, times of reading and cursors."""
        return tuple(zip(*self.rows, strict=True))[:4]

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
        moments = self.columns[2]
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
        if not self.rows:
            return
        records = self.columns[1]
        sizes = [0] * len(records) if None in records else list(map(len, records))
        if len(sizes) <= _CHUNK_ROWS and sum(sizes) <= _CHUNK_BYTES:
            yield self
            return
        ends, size = [0], 0
        for index, length in enumerate(sizes):
            size += length
            if size > _CHUNK_BYTES or index - ends[-1] >= _CHUNK_ROWS:
                ends.append(index)
                size = length
        for start, end in zip(ends, [*ends[1:], len(self.rows)], strict=True):
            if start < end:
                yield self.take(range(start, end))


def landing_micros(moment: int) -> int:
    """Microseconds since 2000 of what the lake counts since 1970."""
    return moment - _SINCE_1970


def record_batch(rows: LakeRows, origin: Origin) -> pa.RecordBatch:
    """Rows as they are written to a file; raises `pyarrow.ArrowInvalid` unless all is UTF-8."""
    keys, records, emitted, cursors = rows.columns
    count = len(keys)
    columns = {
        "instance_id": repeated(origin.instance_id, count),
        "record_key": strings(keys),
        "record": strings(records),
        "emitted_at": _moments(emitted),
        "source": repeated(origin.source, count),
        "stream": repeated(origin.stream, count),
        "cursor": texts(cursors),
        "run_id": repeated(origin.run_id, count),
        "loaded_at": _constant(origin.loaded_at, count),
        "deleted_at": _constant(rows.deleted_at, count),
        "generation": _generations(rows),
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
    return (emitted + _SINCE_1970) // DAY_MICROS


def strings(values: Sequence[bytes | None], kind: pa.DataType = _TEXT) -> pa.Array:
    """Values as one buffer and the offsets of each."""
    texts: Any = values
    validity = None
    try:
        # one value, as a large one is by itself, is not worth a copy
        joined = b"".join(texts) if len(texts) != 1 or texts[0] is None else texts[0]
    except TypeError:  # some are None, which is asked for only then: comparing each takes longer
        validity, texts = _validity(values), [value or b"" for value in values]
        joined = b"".join(texts)
    buffers = [validity, _offsets(texts), pa.py_buffer(joined)]
    return pa.Array.from_buffers(kind, len(values), buffers)


def texts(values: Sequence[str | None]) -> pa.Array:
    """Texts as a column; most are plain ASCII, whose bytes are counted as characters are."""
    known: Any = values
    try:
        joined = "".join(known)
    except TypeError:
        joined = ""
    if joined and joined.isascii():
        buffers = [None, _offsets(known), pa.py_buffer(joined.encode())]
        return pa.Array.from_buffers(_TEXT, len(values), buffers)
    return strings([value if value is None else value.encode() for value in values])


def _offsets(texts: Sequence[bytes] | Sequence[str]) -> pa.Buffer:
    return pa.py_buffer(array("i", list(accumulate(map(len, texts), initial=0))))


def integers(values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    """Whole numbers, or times in microseconds since 1970."""
    numbers: Any = values
    code = "i" if kind == pa.int32() else "q"
    validity = None
    try:
        data = array(code, numbers)
    except TypeError:
        validity = _validity(values)
        data = array(code, [value or 0 for value in values])
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def _validity(values: Sequence[Any]) -> pa.Buffer:
    """A bitmap of what is not None, the first value in the lowest bit."""
    bits = "".join(["0" if value is None else "1" for value in reversed(values)])
    return pa.py_buffer(int(bits, 2).to_bytes(-(-len(bits) // 8), "little"))


def _generations(rows: LakeRows) -> pa.Array:
    if rows.generations is None:
        return pa.nulls(len(rows.rows), pa.int64())
    return integers(rows.generations, pa.int64())


def _moments(emitted: Sequence[int]) -> pa.Array:
    """When rows were read; most often all at once."""
    if emitted.count(emitted[0]) == len(emitted):
        return _constant(emitted[0] + _SINCE_1970, len(emitted))
    return integers([moment + _SINCE_1970 for moment in emitted], TIME)


def _constant(moment: int | None, count: int) -> pa.Array:
    if moment is None:
        return pa.nulls(count, TIME)
    data = pa.py_buffer(array("q", [moment]) * count)
    return pa.Array.from_buffers(TIME, count, [None, data])


def repeated(value: str | None, count: int) -> pa.DictionaryArray:
    """One value for all rows."""
    if value is None:
        return pa.nulls(count, _NAME)
    zeros = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(bytes(4 * count))])
    return pa.DictionaryArray.from_arrays(zeros, strings([value.encode()]))


def plain_values(column: pa.Array) -> list[Any]:
    """A column as Python values, times in microseconds: converting those would import pandas."""
    if pa.types.is_timestamp(column.type):
        micros = pa.timestamp("us", column.type.tz)
        column = (column if column.type == micros else column.cast(micros)).view(pa.int64())
    values: list[Any] = column.to_pylist()
    return values
