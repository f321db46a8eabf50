# SPDX-License-Identifier: Apache-2.0
"""Reads the values of a row as the binary log packs them.

Each reader gives what the server would print, so that the rules for reading tables apply to it and
a row looks the same whichever way it came. (The package that reads the log turns zero dates into
null, sets into unordered ones and drops the zero bytes at the end of BINARY.)
"""

from __future__ import annotations

import codecs
import socket
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final, TypeAlias

from tap_jdbc.binlog.json_cells import binary_json

__all__ = ["VECTOR", "CellReader", "UnknownTypeError", "cell_reader"]

VECTOR: Final = 242
"""The type of MySQL 9; that of MariaDB is logged as VARBINARY."""

CellReader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
"""Takes the bytes of an event and a place in them; gives a value and the place behind it."""

_SINGLE, _DOUBLE = Struct("<f").unpack_from, Struct("<d").unpack_from
_INTEGER_BYTES: Final = {1: 1, 2: 2, 9: 3, 3: 4, 8: 8}
_DIGITS_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_GROUP, _GROUP_BYTES = 9, 4
_LONG = 255
_CODECS: Final = {
    "latin1": "cp1252",
    "utf8": "utf-8",
    "utf8mb3": "utf-8",
    "utf8mb4": "utf-8",
    "ascii": "ascii",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "latin7": "iso8859-13",
    "hebrew": "iso8859-8",
    "greek": "iso8859-7",
    "sjis": "shift_jis",
    "cp932": "cp932",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
    "euckr": "euc_kr",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "gb18030": "gb18030",
    "big5": "big5",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "tis620": "tis_620",
    **{f"cp{page}": f"cp{page}" for page in (850, 852, 866, 1250, 1251, 1256, 1257)},
}


class UnknownTypeError(Exception):
    """A column of a type whose packing is not known here."""


def cell_reader(column: Any, native_type: str, charset: str) -> CellReader:
    """Return the reader of a column; `column` is as the log describes it."""
    kind = column.type
    if kind in _INTEGER_BYTES:
        return _integer(_INTEGER_BYTES[kind], signed=not column.unsigned)
    if kind in (15, 253, 254):
        return _string(column, native_type, charset)
    if kind in (249, 250, 251, 252):
        return _text(column.length_size, charset)
    if kind in (17, 18, 19):
        return _MOMENTS[kind](column.fsp)
    if kind == 246:
        return _decimal(column.precision, column.decimals)
    if kind in (VECTOR, 255):
        return _text(column.length_size, "binary")
    if kind == 245:
        return _binary_json(column.length_size)
    if kind == 247:
        return _enum(column.size, column.enum_values[1:])
    if kind == 248:
        return _set(column.size, column.set_values)
    if kind == 16:
        return _fixed(column.bytes)
    if kind in _PLAIN:
        return _PLAIN[kind]
    message = f"{column.name} has type {kind}"
    raise UnknownTypeError(message)


def _integer(size: int, *, signed: bool) -> CellReader:
    def read(data: bytes, place: int) -> tuple[int, int]:
        end = place + size
        return int.from_bytes(data[place:end], "little", signed=signed), end

    return read


def _fixed(size: int) -> CellReader:
    return lambda data, place: (data[place : place + size], place + size)


def _counted(size: int) -> CellReader:
    """Bytes behind their count, which takes `size` bytes itself."""

    def read(data: bytes, place: int) -> tuple[bytes, int]:
        start = place + size
        end = start + int.from_bytes(data[place:start], "little")
        return data[start:end], end

    return read


def _string(column: Any, native_type: str, charset: str) -> CellReader:
    size = 2 if column.max_length > _LONG else 1
    special = _SPECIAL.get(native_type)
    if special is not None or (charset == "binary" and column.type == 254):
        width = column.max_length
        packed = _counted(size)

        def padded(data: bytes, place: int) -> tuple[Any, int]:
            value, end = packed(data, place)
            value = value.ljust(width, b"\0")  # the log leaves zero bytes at the end out
            return (special(value) if special else value), end

        return padded
    return _text(size, charset)


def _text(size: int, charset: str) -> CellReader:
    packed = _counted(size)
    if charset == "binary":
        return packed
    codec = _codec(charset)

    def read(data: bytes, place: int) -> tuple[str, int]:
        value, end = packed(data, place)
        return value.decode(codec, "backslashreplace"), end

    return read


def _codec(charset: str) -> str:
    """Return Python's name for a character set; the log's own names are Python's already."""
    try:
        return codecs.lookup(_CODECS.get(charset, charset)).name
    except LookupError:
        message = f"text in the character set {charset!r}"
        raise UnknownTypeError(message) from None


def _uuid(value: bytes) -> str:
    # Versions 1 to 5 are kept with their parts the other way round, to be in order of time.
    if value[6] & 0x80 and 0x10 <= value[8] & 0xF0 <= 0x50:
        value = value[12:16] + value[10:12] + value[8:10] + value[6:8] + value[0:6]
    text = value.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


_SPECIAL: Final[dict[str, Callable[[bytes], str]]] = {
    "uuid": _uuid,
    "inet6": lambda value: socket.inet_ntop(socket.AF_INET6, value),
    "inet4": lambda value: socket.inet_ntop(socket.AF_INET, value),
}


def _enum(size: int, names: Sequence[str]) -> CellReader:
    number = _integer(size, signed=False)

    def read(data: bytes, place: int) -> tuple[str, int]:
        index, end = number(data, place)
        return (names[index - 1] if index else ""), end

    return read


def _set(size: int, names: Sequence[str]) -> CellReader:
    number = _integer(size, signed=False)

    def read(data: bytes, place: int) -> tuple[str, int]:
        mask, end = number(data, place)
        return ",".join(name for bit, name in enumerate(names) if mask >> bit & 1), end

    return read


def _decimal(precision: int, scale: int) -> CellReader:
    whole_groups, whole_rest = divmod(precision - scale, _GROUP)
    part_groups, part_rest = divmod(scale, _GROUP)
    whole_sizes = [(_DIGITS_BYTES[whole_rest], whole_rest)] if whole_rest else []
    whole_sizes += [(_GROUP_BYTES, _GROUP)] * whole_groups
    part_sizes = [(_GROUP_BYTES, _GROUP)] * part_groups
    part_sizes += [(_DIGITS_BYTES[part_rest], part_rest)] if part_rest else []
    total = sum(size for size, _ in whole_sizes + part_sizes)

    def digits(data: bytes, place: int, sizes: Sequence[tuple[int, int]]) -> tuple[str, int]:
        parts = []
        for size, count in sizes:
            parts.append(f"{int.from_bytes(data[place : place + size], 'big'):0{count}d}")
            place += size
        return "".join(parts), place

    def read(data: bytes, place: int) -> tuple[str, int]:
        packed = bytearray(data[place : place + total])
        is_negative = not packed[0] & 0x80
        packed[0] ^= 0x80
        if is_negative:
            packed = bytearray(byte ^ 0xFF for byte in packed)
        whole, middle = digits(bytes(packed), 0, whole_sizes)
        part, _ = digits(bytes(packed), middle, part_sizes)
        text = (whole.lstrip("0") or "0") + (f".{part}" if part else "")
        return (f"-{text}" if is_negative else text), place + total

    return read


def _single(data: bytes, place: int) -> tuple[float, int]:
    return _SINGLE(data, place)[0], place + 4


def _double(data: bytes, place: int) -> tuple[float, int]:
    return _DOUBLE(data, place)[0], place + 8


def _year(data: bytes, place: int) -> tuple[int, int]:
    return (1900 + data[place] if data[place] else 0), place + 1


def _date(data: bytes, place: int) -> tuple[str, int]:
    end = place + 3
    packed = int.from_bytes(data[place:end], "little")
    return f"{packed >> 9:04d}-{packed >> 5 & 15:02d}-{packed & 31:02d}", end


def _fraction(micros: int, digits: int) -> str:
    return f".{micros:06d}"[: digits + 1] if digits else ""


def _micros(data: bytes, place: int, digits: int) -> tuple[int, int]:
    size = (digits + 1) // 2
    value = int.from_bytes(data[place : place + size], "big")
    return value * 10 ** (6 - 2 * size), place + size


def _timestamp(digits: int) -> CellReader:
    from datetime import UTC, datetime, timedelta

    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def read(data: bytes, place: int) -> tuple[str, int]:
        seconds = int.from_bytes(data[place : place + 4], "big")
        micros, end = _micros(data, place + 4, digits)
        if not seconds and not micros:
            return f"0000-00-00 00:00:00{_fraction(0, digits)}", end
        moment = epoch + timedelta(seconds=seconds)
        return f"{moment:%Y-%m-%d %H:%M:%S}{_fraction(micros, digits)}", end

    return read


def _datetime(digits: int) -> CellReader:
    def read(data: bytes, place: int) -> tuple[str, int]:
        packed = int.from_bytes(data[place : place + 5], "big") - (1 << 39)
        micros, end = _micros(data, place + 5, digits)
        days, clock = packed >> 17, packed & 0x1FFFF
        year, month = divmod(days >> 5, 13)
        return (
            f"{year:04d}-{month:02d}-{days & 31:02d} {clock >> 12:02d}:{clock >> 6 & 63:02d}:"
            f"{clock & 63:02d}{_fraction(micros, digits)}"
        ), end

    return read


def _time(digits: int) -> CellReader:
    size = (digits + 1) // 2
    middle = 1 << (8 * (3 + size) - 1)

    def read(data: bytes, place: int) -> tuple[str, int]:
        end = place + 3 + size
        packed = int.from_bytes(data[place:end], "big") - middle
        sign, packed = ("-" if packed < 0 else ""), abs(packed)
        clock, rest = packed >> (8 * size), packed & ((1 << (8 * size)) - 1)
        micros = rest * 10 ** (6 - 2 * size) if size else 0
        return (
            f"{sign}{clock >> 12 & 0x3FF:02d}:{clock >> 6 & 63:02d}:{clock & 63:02d}"
            f"{_fraction(micros, digits)}"
        ), end

    return read


def _binary_json(size: int) -> CellReader:
    packed = _counted(size)

    def read(data: bytes, place: int) -> tuple[Any, int]:
        value, end = packed(data, place)
        return binary_json(value, _decimal), end

    return read


_PLAIN: Final[dict[int, CellReader]] = {4: _single, 5: _double, 10: _date, 14: _date, 13: _year}
_MOMENTS: Final[dict[int, Callable[[int], CellReader]]] = {
    17: _timestamp,
    18: _datetime,
    19: _time,
}
