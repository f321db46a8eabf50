# SPDX-License-Identifier: Apache-2.0
"""The value contract as functions: what a database gives becomes what stands in a record.

Decimals and dates stay the database's own text, so nothing is rounded on the way.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

__all__ = [
    "SCHEMAS",
    "Convert",
    "as_text",
    "base64_text",
    "bits",
    "decimal_text",
    "exact_json",
    "finite",
    "float_bound",
    "from_base64",
    "iso_timestamp",
    "short_float",
    "spaced_timestamp",
    "utc_timestamp",
]

Convert: TypeAlias = Callable[[Any], Any]

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "integer": {"type": ["integer", "null"]},
    "decimal": {"type": ["string", "null"], "format": "x-singer.decimal"},
    "number": {"type": ["number", "string", "null"]},
    "float": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "text": {"type": ["string", "null"]},
    "uuid": {"type": ["string", "null"], "format": "uuid"},
    "date": {"type": ["string", "null"], "format": "date"},
    "timestamp": {"type": ["string", "null"]},
    "timestamptz": {"type": ["string", "null"], "format": "date-time"},
    "binary": {"type": ["string", "null"], "contentEncoding": "base64"},
    "array": {"type": ["array", "null"]},
    "object": {"type": ["object", "null"]},
    "json": {"type": ["object", "array", "string", "number", "boolean", "null"]},
    "dynamic": {"type": ["integer", "number", "string", "null"]},
}
"""The JSON Schema of each kind of value; `number` has NaN and Infinity as strings."""


def as_text(value: Any) -> str:
    """Return text as it is, and what a driver made of it as text."""
    return value if isinstance(value, str) else str(value)


def decimal_text(value: Any) -> str:
    """Return a decimal with every digit and without exponent."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f") if math.isfinite(value) else finite(value)
    return str(value)


def finite(value: float) -> Any:
    """Return a number, or the name of what JSON has no number for."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def short_float(value: float | str) -> Any:
    """Return the shortest number that is the same in single precision, e.g. 1.1."""
    number = float(value)
    if not math.isfinite(number):
        return finite(number)
    single = struct.pack("<f", number)
    for digits in range(6, 9):
        short = float(f"{number:.{digits}g}")
        if struct.pack("<f", short) == single:
            return short
    return float(f"{number:.9g}")


def float_bound(value: Any) -> float:
    """Return what a single-precision column compares as: its value in double precision."""
    (number,) = struct.unpack("<f", struct.pack("<f", float(value)))
    return float(number)


def base64_text(value: Any) -> str:
    """Return bytes as base64."""
    return base64.b64encode(bytes(value)).decode("ascii")


def from_base64(value: Any) -> bytes:
    """Return the bytes behind base64; the way back from a record into a query."""
    return base64.b64decode(value)


def bits(length: int) -> Convert:
    """Return what writes bytes as so many binary digits."""

    def written(value: Any) -> str:
        number = value if isinstance(value, int) else int.from_bytes(bytes(value), "big")
        return format(number, f"0{length}b")

    return written


def exact_json(text: Any) -> Any:
    """Read JSON; numbers keep every digit. What is no JSON stays text."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=str)
    except ValueError:
        return as_text(text)


def iso_timestamp(text: Any) -> str:
    """Return `2020-01-01T10:00:00.5` for a timestamp as SQL writes it.

    Zero dates, years before Christ and infinity stay the database's own text.
    """
    shown = as_text(text)
    return f"{shown[:10]}T{shown[11:]}" if _is_plain(shown) else shown


def utc_timestamp(text: Any) -> str:
    """Return RFC 3339 for a timestamp that the database wrote in UTC, without zone."""
    shown = as_text(text)
    return f"{shown[:10]}T{shown[11:]}+00:00" if _is_plain(shown) else shown


def spaced_timestamp(value: Any) -> str:
    """Return `2020-01-01 10:00:00.5`: the way back from a record into a query."""
    return as_text(value).removesuffix("+00:00").replace("T", " ", 1)


def _is_plain(shown: str) -> bool:
    return (
        len(shown) > len("2020-01-01 ")
        and shown[4] == shown[7] == "-"
        and shown[:4].isdigit()
        and shown[5:7] != "00"
        and shown[8:10] != "00"
        and "(BC)" not in shown
    )
