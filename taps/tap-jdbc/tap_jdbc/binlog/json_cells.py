# SPDX-License-Identifier: Apache-2.0
"""Reads MySQL's own packing of JSON; values are those that the server's text has."""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import Decimal
from struct import Struct
from typing import Any, Final

__all__ = ["binary_json", "double_number"]

_OBJECTS, _ARRAYS, _LITERAL, _TEXT, _OPAQUE = (0, 1), (2, 3), 4, 12, 15
_INTEGERS: Final = {
    5: Struct("<h"),
    6: Struct("<H"),
    7: Struct("<i"),
    8: Struct("<I"),
    9: Struct("<q"),
    10: Struct("<Q"),
}
_DOUBLE: Final = Struct("<d")
_DOUBLE_CODE: Final = 11
_LITERALS: Final = {0: None, 1: True, 2: False}
_DECIMAL, _DATE, _TIME, _MOMENTS = 246, 10, 11, (7, 12)
_PLAIN_DIGITS: Final = 15
_EXPONENT_FROM: Final = 1e15

DecimalReader = Callable[[int, int], Callable[[bytes, int], tuple[str, int]]]


def binary_json(data: bytes, decimals: DecimalReader) -> Any:
    """Return the value of a whole document; `decimals` gives what reads packed decimals."""
    return _Document(data, decimals).value(data[0], 1) if data else None


class _Document:
    def __init__(self, data: bytes, decimals: DecimalReader) -> None:
        self._data = data
        self._decimals = decimals

    def value(self, code: int, place: int) -> Any:
        """Return the value of a type that begins at a place."""
        data = self._data
        if code in _OBJECTS:
            return self._object(place, 4 if code & 1 else 2)
        if code in _ARRAYS:
            return self._array(place, 4 if code & 1 else 2)
        if code == _LITERAL:
            return _LITERALS[data[place]]
        if code in _INTEGERS:
            return _INTEGERS[code].unpack_from(data, place)[0]
        if code == _DOUBLE_CODE:
            return double_number(_DOUBLE.unpack_from(data, place)[0])
        if code == _TEXT:
            return self._counted(place).decode("utf-8", "backslashreplace")
        if code == _OPAQUE:
            return self._opaque(data[place], self._counted(place + 1))
        message = f"JSON of the kind {code}"
        raise ValueError(message)

    def _number(self, place: int, size: int) -> int:
        return int.from_bytes(self._data[place : place + size], "little")

    def _array(self, start: int, size: int) -> list[Any]:
        count = self._number(start, size)
        return self._entries(start, start + 2 * size, count, size)

    def _object(self, start: int, size: int) -> dict[str, Any]:
        count = self._number(start, size)
        place = start + 2 * size
        names = []
        for entry in range(place, place + count * (size + 2), size + 2):
            begin = start + self._number(entry, size)
            name = self._data[begin : begin + self._number(entry + size, 2)]
            names.append(name.decode("utf-8", "backslashreplace"))
        values = self._entries(start, place + count * (size + 2), count, size)
        return dict(zip(names, values, strict=True))

    def _entries(self, start: int, place: int, count: int, size: int) -> list[Any]:
        """Return values whose entries say a type and, unless they are small, where they are."""
        inlined = (_LITERAL, 5, 6) if size == 2 else (_LITERAL, 5, 6, 7, 8)
        found = []
        for entry in range(place, place + count * (size + 1), size + 1):
            code = self._data[entry]
            at = entry + 1 if code in inlined else start + self._number(entry + 1, size)
            found.append(self.value(code, at))
        return found

    def _counted(self, place: int) -> bytes:
        size = shift = 0
        while True:
            byte = self._data[place]
            size |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if not byte & 0x80:
                return self._data[place : place + size]

    def _opaque(self, kind: int, data: bytes) -> Any:
        if kind == _DECIMAL:
            return Decimal(self._decimals(data[0], data[1])(data, 2)[0])
        if kind in (_DATE, _TIME, *_MOMENTS):
            return _moment(kind, int.from_bytes(data[:8], "little", signed=True))
        return f"base64:type{kind}:{base64.b64encode(data).decode()}"


def _moment(kind: int, packed: int) -> str:
    sign, packed = ("-" if packed < 0 else ""), abs(packed)
    whole, micros = packed >> 24, packed & 0xFFFFFF
    clock = whole if kind == _TIME else whole & 0x1FFFF
    shown = f"{clock >> 12 & 0x3FF:02d}:{clock >> 6 & 63:02d}:{clock & 63:02d}.{micros:06d}"
    if kind == _TIME:
        return sign + shown
    year, month = divmod(whole >> 22, 13)
    date = f"{year:04d}-{month:02d}-{whole >> 17 & 31:02d}"
    return date if kind == _DATE else f"{date} {shown}"


def double_number(value: float) -> Decimal | int:
    """Return a double with the digits and the exponent that the server writes."""
    text = repr(value)
    if abs(value) < _EXPONENT_FROM or not text.endswith(".0"):
        return Decimal(text)
    shown = Decimal(text).normalize()
    return int(shown) if len(shown.as_tuple().digits) > _PLAIN_DIGITS else shown
