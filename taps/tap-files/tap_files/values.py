# SPDX-License-Identifier: Apache-2.0
"""Values out of the text of cells, by the type of the column; identifiers stay text.

A text is a number only if writing the number gives the same digits: no leading zero, no `+`, no
exponent, at most 15 digits. `007`, `+4930…` and 16-digit card numbers are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

__all__ = ["TYPES", "Convert", "MismatchError", "converter", "infer_type", "kind_of", "property_of"]

Convert: TypeAlias = Callable[[str], Any]
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_COMMA = re.compile(r"-?(?:0|[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[1-9][0-9]*)(?:,[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_TIMESTAMP = re.compile(
    _DATE.pattern
    + r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_MOST_DIGITS = 15
_MOST_KNOWN = 2000
_BOOLEANS = {"true": True, "false": False}

TYPES: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": ["null", "string"]},
    "integer": {"type": ["null", "integer"]},
    "number": {"type": ["null", "number"]},
    "boolean": {"type": ["null", "boolean"]},
    "date": {"type": ["null", "string"], "format": "date"},
    "timestamp": {"type": ["null", "string"], "format": "date-time"},
}


class MismatchError(ValueError):
    """The text is no value of the column's type."""


def property_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a column."""
    return dict(TYPES[kind])


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return the type of a column by its JSON Schema, which a catalog may have changed."""
    given = schema.get("type", "string")
    types = {given} if isinstance(given, str) else set(given)
    found = types - {"null"}
    if found == {"string"}:
        return {"date": "date", "date-time": "timestamp"}.get(schema.get("format", ""), "text")
    (kind,) = found if len(found) == 1 else ("text",)
    return kind if kind in TYPES else "text"


def infer_type(texts: Iterable[str], *, decimal_comma: bool = False) -> str:
    """Return the narrowest type that all texts have; empty ones say nothing."""
    kinds = {_kind(text, decimal_comma=decimal_comma) for text in texts if text}
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else "text"


def _kind(text: str, *, decimal_comma: bool) -> str:
    if _INTEGER.fullmatch(text) and text != "-0":
        return "integer"
    if (_COMMA if decimal_comma else _NUMBER).fullmatch(text) and _digits(text) <= _MOST_DIGITS:
        return "number"
    if text.lower() in _BOOLEANS:
        return "boolean"
    if _DATE.fullmatch(text):
        return "date"
    return "timestamp" if _TIMESTAMP.fullmatch(text) else "text"


def converter(
    kind: str, null_values: Sequence[str] = (), *, decimal_comma: bool = False
) -> Convert | None:
    """Return what makes values of a type; None where the text is the value.

    It raises MismatchError for a text that is no such value.
    """
    convert = _comma_number if kind == "number" and decimal_comma else _CONVERT.get(kind)
    if convert is None:
        nulls = frozenset(null_values)
        return (lambda text: None if text in nulls else text) if nulls else None
    return _Known(convert, ("", *null_values)).__getitem__


class _Known(dict[str, Any]):
    """Values of texts that were met before: most columns have few, and looking up is cheap."""

    def __init__(self, convert: Convert, nulls: Iterable[str]) -> None:
        super().__init__(dict.fromkeys(nulls))
        self._convert = convert

    def __missing__(self, text: str) -> Any:
        value = self._convert(text)
        if len(self) < _MOST_KNOWN:
            self[text] = value
        return value


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text):
        return int(text)
    raise MismatchError(text)


def _number(text: str) -> Decimal | int:
    if _NUMBER.fullmatch(text):
        return Decimal(text)
    return _integer(text)


def _comma_number(text: str) -> Decimal | int:
    if _COMMA.fullmatch(text):
        return _number(text.replace(".", "").replace(",", "."))
    raise MismatchError(text)


def _boolean(text: str) -> bool:
    found = _BOOLEANS.get(text.lower())
    if found is None:
        raise MismatchError(text)
    return found


def _date(text: str) -> str:
    if _DATE.fullmatch(text):
        return text
    raise MismatchError(text)


def _timestamp(text: str) -> str:
    if _TIMESTAMP.fullmatch(text):
        return text
    raise MismatchError(text)


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


_CONVERT: Mapping[str, Convert] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
}
