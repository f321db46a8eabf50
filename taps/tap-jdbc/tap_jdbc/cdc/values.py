# SPDX-License-Identifier: Apache-2.0
"""Values of the log, which come as PostgreSQL's text, become the same JSON as those of a snapshot.

Whole columns at a time: numbers pass through as they are, text goes through one call of the JSON
encoder, and what only the server can translate exactly (arrays, composite types) it translates.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from ipai_kit.sql.postgres.values import ColumnType

__all__ = ["Cell", "ColumnEncoder", "ServerTranslation", "encode_texts", "encoder_for"]

Cell: TypeAlias = bytes | None
"""A value as text in UTF-8, or null."""
ColumnEncoder: TypeAlias = Callable[[Sequence[Cell]], Sequence[bytes]]
ServerTranslation: TypeAlias = Callable[[ColumnType, Sequence[Cell]], Sequence[bytes]]

_FIRST_USER_OID = 16384
_NULL = b"null"
_encode_lines = msgspec.json.Encoder().encode_lines
_INTEGERS = frozenset({"int2", "int4", "int8", "oid"})
_NOT_JSON = frozenset({b"NaN", b"Infinity", b"-Infinity"})
_BOOLEANS = {b"t": b"true", b"f": b"false", None: _NULL}


def encoder_for(kind: ColumnType, translate: ServerTranslation) -> ColumnEncoder:
    """Return what makes JSON of a column's values."""
    if kind.element is not None or kind.kind == "c":
        return lambda cells: translate(kind, cells)
    if kind.oid >= _FIRST_USER_OID:
        return encode_texts
    if kind.name in _INTEGERS:
        return _numbers
    return _ENCODERS.get(kind.name, encode_texts)


def encode_texts(cells: Sequence[Cell]) -> Sequence[bytes]:
    """Quote and escape."""
    texts = [None if cell is None else cell.decode() for cell in cells]
    return _encode_lines(texts).split(b"\n")[:-1]


def _numbers(cells: Sequence[Cell]) -> Sequence[bytes]:
    return [_NULL if cell is None else cell for cell in cells]


def _floats(cells: Sequence[Cell]) -> Sequence[bytes]:
    return [
        _NULL if cell is None else b'"%b"' % cell if cell in _NOT_JSON else cell for cell in cells
    ]


def _plain_texts(cells: Sequence[Cell]) -> Sequence[bytes]:
    """Quote what never needs an escape."""
    return [_NULL if cell is None else b'"%b"' % cell for cell in cells]


def _booleans(cells: Sequence[Cell]) -> Sequence[bytes]:
    return [_BOOLEANS[cell] for cell in cells]


def _timestamps(cells: Sequence[Cell]) -> Sequence[bytes]:
    return [_NULL if cell is None else b'"%b"' % cell.replace(b" ", b"T", 1) for cell in cells]


def _zoned_timestamps(cells: Sequence[Cell]) -> Sequence[bytes]:
    """The session's zone is UTC, so that each offset is `+00`."""
    return [
        _NULL if cell is None else b'"%b"' % cell.replace(b" ", b"T", 1).replace(b"+00", b"+00:00")
        for cell in cells
    ]


def _documents(cells: Sequence[Cell]) -> Sequence[bytes]:
    """JSON is JSON; its line ends lie between tokens, for within strings they are escaped."""
    return [_NULL if cell is None else _on_one_line(cell) for cell in cells]


def _on_one_line(cell: bytes) -> bytes:
    if b"\n" in cell or b"\r" in cell:
        return cell.replace(b"\r", b" ").replace(b"\n", b" ")
    return cell


def _binaries(cells: Sequence[Cell]) -> Sequence[bytes]:
    return [_NULL if cell is None else _base64(cell) for cell in cells]


def _base64(cell: bytes) -> bytes:
    return b'"%b"' % binascii.b2a_base64(binascii.a2b_hex(cell[2:]), newline=False)


_ENCODERS: dict[str, ColumnEncoder] = {
    "bool": _booleans,
    "float4": _floats,
    "float8": _floats,
    "numeric": _plain_texts,
    "date": _plain_texts,
    "time": _plain_texts,
    "timetz": _plain_texts,
    "uuid": _plain_texts,
    "timestamp": _timestamps,
    "timestamptz": _zoned_timestamps,
    "json": _documents,
    "jsonb": _documents,
    "bytea": _binaries,
}
