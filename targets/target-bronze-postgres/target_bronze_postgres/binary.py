# SPDX-License-Identifier: Apache-2.0
"""Rows and arrays in Postgres' binary format, built from bytes, not from Python values."""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from operator import itemgetter
from typing import ClassVar, Final

from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from ipai_kit.bronze import Row

_CHUNK_BYTES: Final = 96 * 1024
"""With the record that fills it below 128 KiB, which psycopg would cut up again."""
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_NULL_LENGTH: Final = -1
_EIGHT: Final = b"\0\0\0\x08"
_COLUMN_COUNT: Final = b"\0\x09"
_JSONB_VERSION: Final = 1

_TABLE_SIZE: Final = 1 << 13
_pack_length = struct.Struct(">i").pack
_pack_jsonb_head = struct.Struct(">iB").pack
_pack_bigint = struct.Struct(">iq").pack
_pack_emitted = struct.Struct(">iqi").pack
_pack_array_head = struct.Struct(">iiIii").pack


# Looking a packed length up takes a third of the time of packing it.
_LENGTHS: Final = tuple(map(_pack_length, range(_TABLE_SIZE)))
_JSONB_HEADS: Final = tuple(
    _pack_jsonb_head(size + 1, _JSONB_VERSION) for size in range(_TABLE_SIZE)
)


def text_field(text: str | None) -> bytes:
    """A text value with its length."""
    if text is None:
        return _NULL
    data = text.encode()
    return _pack_length(len(data)) + data


def copy_chunks(
    rows: Sequence[Row], *, instance_id: str, source: str, stream: str, run_id: str | None
) -> Iterator[bytes]:
    """The rows as COPY data, in chunks small enough to overlap with the server's work."""
    constant = b"".join(map(text_field, (instance_id, source, stream, run_id)))
    lead = _COLUMN_COUNT + constant
    yield _COPY_HEADER
    for part in _parts(rows):
        if len(part) == 1 and len(part[0][1]) > _CHUNK_BYTES:
            yield from _huge_row(lead, part[0])
        else:
            yield _packed(lead, part)
    yield _COPY_TRAILER


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Consecutive rows that make one chunk; a huge row is a chunk of its own."""
    totals = list(accumulate(map(len, map(itemgetter(1), rows))))
    start = before = 0
    while start < len(rows):
        end = max(start + 1, bisect_right(totals, before + _CHUNK_BYTES, start))
        yield rows[start:end]
        start, before = end, totals[end - 1]


def _packed(lead: bytes, rows: Sequence[Row]) -> bytes:
    """Rows in COPY's format: column by column, in loops that run in C."""
    keys, records, emitted, cursors, hashes = zip(*rows, strict=True)
    if None in cursors:
        texts = [b"" if cursor is None else cursor.encode() for cursor in cursors]
        lengths = [_NULL_LENGTH if cursor is None else len(cursor.encode()) for cursor in cursors]
    else:
        texts = list(map(str.encode, cursors))
        lengths = list(map(len, texts))
    sizes = list(map(len, keys))
    heads = {size: lead + _LENGTHS[size] for size in set(sizes)}
    columns = (
        map(heads.__getitem__, sizes),
        keys,
        _jsonb_heads(list(map(len, records))),
        records,
        _emitted_fields(emitted, lengths),
        texts,
        repeat(_EIGHT),
        hashes,
    )
    return b"".join(chain.from_iterable(zip(*columns, strict=False)))


def _emitted_fields(emitted: Sequence[int], lengths: Sequence[int]) -> Iterable[bytes]:
    """The time of each row and the length of its cursor: mostly the same in all of them."""
    if len(set(lengths)) == len(set(emitted)) == 1:
        return repeat(_pack_emitted(8, emitted[0], lengths[0]))
    return map(_pack_emitted, repeat(8), emitted, lengths)


def _jsonb_heads(sizes: Sequence[int]) -> Iterable[bytes]:
    if max(sizes) < _TABLE_SIZE:
        return map(_JSONB_HEADS.__getitem__, sizes)
    return [_pack_jsonb_head(size + 1, _JSONB_VERSION) for size in sizes]


def _huge_row(lead: bytes, row: Row) -> Iterator[bytes]:
    """One row whose record is not joined with anything: it would be in memory twice."""
    key, record, emitted, cursor, digest = row
    yield b"".join(
        (lead, _LENGTHS[len(key)], key, _pack_jsonb_head(len(record) + 1, _JSONB_VERSION))
    )
    yield from _slices(record)
    text = b"" if cursor is None else cursor.encode()
    length = _NULL_LENGTH if cursor is None else len(text)
    yield b"".join((_pack_emitted(8, emitted, length), text, _EIGHT, digest))


def _slices(record: bytes) -> Iterator[bytes]:
    view = memoryview(record)
    for start in range(0, len(view), _CHUNK_BYTES):
        yield bytes(view[start : start + _CHUNK_BYTES])


@dataclass(frozen=True)
class BinaryArray:
    """A one-dimensional array parameter, already in binary format."""

    data: bytes
    element_oid: ClassVar[int]


class TextArray(BinaryArray):
    """A text[] parameter."""

    element_oid = 25


class BigintArray(BinaryArray):
    """A bigint[] parameter."""

    element_oid = 20


class TimestampArray(BinaryArray):
    """A timestamptz[] parameter."""

    element_oid = 1184


def text_array(values: Sequence[bytes | str | None]) -> TextArray:
    """An array of texts given as bytes or strings."""
    parts: list[Buffer] = [_array_head(TextArray.element_oid, len(values))]
    for value in values:
        if value is None or isinstance(value, str):
            parts.append(text_field(value))
        else:
            parts += (_pack_length(len(value)), value)
    return TextArray(b"".join(parts))


def bigint_array(values: Iterable[bytes], count: int) -> BigintArray:
    """An array of bigints given as eight bytes each."""
    head = _array_head(BigintArray.element_oid, count)
    return BigintArray(head + b"".join(_EIGHT + value for value in values))


def timestamp_array(values: Iterable[int], count: int) -> TimestampArray:
    """An array of times given in microseconds since 2000."""
    head = _array_head(TimestampArray.element_oid, count)
    return TimestampArray(head + b"".join(_pack_bigint(8, value) for value in values))


def _array_head(element_oid: int, count: int) -> bytes:
    return _pack_array_head(1, 1, element_oid, count, 1)


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> Buffer:
        return obj.data


class TextArrayDumper(_BinaryArrayDumper):
    """Sends a TextArray as text[]."""

    oid = 1009


class BigintArrayDumper(_BinaryArrayDumper):
    """Sends a BigintArray as bigint[]."""

    oid = 1016


class TimestampArrayDumper(_BinaryArrayDumper):
    """Sends a TimestampArray as timestamptz[]."""

    oid = 1185
