# SPDX-License-Identifier: Apache-2.0
"""Rows of Parquet as the records that JSON lines of the same source would bring, byte for byte.

A column of the logical type JSON holds documents as their text. A column of doubles may say, in its
metadata, by whose rules its numbers are written: `ipai.number` is `float8` or `float4`, as
PostgreSQL names its two types.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from math import copysign, ulp
from typing import Any, Final

import msgspec

from ipai_kit.singer.parquet_columns import NUMBER_KEY

__all__ = ["exact_rows", "postgres_number"]

_JSON: Final = "arrow.json"
_EXPONENT_FROM: Final = {b"float8": 15, b"float4": 6}
_SMALLEST_PLAIN: Final = 1e-4
_MAY_LIE_BETWEEN: Final = 2.0**53
_MOST_DIGITS: Final = 17


def exact_rows(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a record batch of Arrow; what msgspec would write otherwise is raw."""
    rows: list[dict[str, Any]] = batch.to_pylist()
    for field in batch.schema:
        convert = _conversion(field)
        if convert is None:
            continue
        name = field.name
        for row in rows:
            value = row[name]
            if value is not None:
                row[name] = convert(value)
    return rows


def _conversion(field: Any) -> Callable[[Any], Any] | None:
    if getattr(field.type, "extension_name", "") == _JSON:
        return _document
    limit = _EXPONENT_FROM.get((field.metadata or {}).get(NUMBER_KEY, b""))
    return partial(_number, limit=limit, plain=10.0**limit) if limit else None


def _document(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.replace("\r", " ").replace("\n", " ").encode())


def _number(value: float, *, limit: int, plain: float) -> Any:
    """Return a number that is encoded as the server writes it."""
    if _SMALLEST_PLAIN <= abs(value) < plain:
        return int(value) if value.is_integer() else value
    if value == 0 and copysign(1, value) > 0:
        return 0
    return msgspec.Raw(postgres_number(value, limit).encode())


def postgres_number(value: float, limit: int = 15) -> str:
    """Return the text of a number; from `limit` digits before the point on it has an exponent."""
    shown = repr(value)
    if limit == _EXPONENT_FROM[b"float8"] and abs(value) >= _MAY_LIE_BETWEEN:
        shown = _inside(value, shown)
    sign, digits, exponent = Decimal(shown).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + int(exponent) - 1
    minus = "-" if sign else ""
    if text == "0":
        return f"{minus}0"
    if -5 < point < limit:
        return f"{minus}{_plain(text, point)}"
    part = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{part}e{'-' if point < 0 else '+'}{abs(point):02d}"


def _plain(digits: str, point: int) -> str:
    if point < 0:
        return f"0.{'0' * (-point - 1)}{digits}"
    whole, part = digits[: point + 1].ljust(point + 1, "0"), digits[point + 1 :]
    return f"{whole}.{part}" if part else whole


def _inside(value: float, shown: str) -> str:
    """Return the shortest text that lies nearer to the number than to its neighbours.

    Python also takes one that lies in the middle between two, which the server does not trust
    readers with.
    """
    exact, count = int(value), len(Decimal(shown).normalize().as_tuple().digits)
    while count <= _MOST_DIGITS and _is_midpoint(int(Decimal(shown)), exact, value):
        count += 1
        shown = f"{value:.{count - 1}e}"
    return shown


def _is_midpoint(found: int, exact: int, value: float) -> bool:
    gap = int(ulp(value))
    if abs(found) < abs(exact) and abs(value).hex().startswith("0x1.0000000000000p"):
        gap //= 2  # below a power of two the neighbours are nearer
    return 2 * abs(found - exact) >= gap
