# SPDX-License-Identifier: Apache-2.0
"""Rows and arrays in Postgres' binary format, built from bytes, not from Python values."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
    rows: Iterable[Row], *, instance_id: str, source: str, stream: str, run_id: str | None
) -> Iterator[bytes]:
    """The rows as COPY data, in chunks small enough to overlap with the server's work."""
    constant = b"".join(map(text_field, (instance_id, source, stream, run_id)))
    lead = _COLUMN_COUNT + constant
    parts: list[Buffer] = [_COPY_HEADER]
    size = 0
    last_emitted, last_cursor_length, moment = None, None, b""
    for key, record, emitted, cursor, digest in rows:
        length = len(record)
        if cursor is None:
            cursor_text, cursor_length = b"", _NULL_LENGTH
        else:
            cursor_text = cursor.encode()
            cursor_length = len(cursor_text)
        if emitted != last_emitted or cursor_length != last_cursor_length:
            moment = _pack_emitted(8, emitted, cursor_length)
            last_emitted, last_cursor_length = emitted, cursor_length
        if length < _TABLE_SIZE:
            head = _JSONB_HEADS[length]
        else:
            head = _pack_jsonb_head(length + 1, _JSONB_VERSION)
        if length > _CHUNK_BYTES:  # a huge record is not joined: it would be in memory twice
            parts += (lead, _LENGTHS[len(key)], key, head)
            yield b"".join(parts)
            yield from _slices(record)
            parts, size = [moment, cursor_text, _EIGHT, digest], 0
            continue
        parts += (lead, _LENGTHS[len(key)], key, head, record, moment, cursor_text, _EIGHT, digest)
        size += length
        if size > _CHUNK_BYTES:
            yield b"".join(parts)
            parts = []
            size = 0
    parts.append(_COPY_TRAILER)
    yield b"".join(parts)


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
