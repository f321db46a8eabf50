# SPDX-License-Identifier: Apache-2.0
"""SQLite's declared types, by its own rules of affinity; any value may stand in any column."""

from __future__ import annotations

from typing import Any

from ipai_kit.sql.dialects.type_rules import TypeRule, TypeRules, without_arguments
from ipai_kit.sql.dialects.values import base64_text, decimal_text, finite, from_base64

__all__ = ["SQLITE_RULES"]


def _stored(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64_text(value)
    return finite(value) if isinstance(value, float) else value


def _decimal(value: Any) -> str:
    return base64_text(value) if isinstance(value, bytes) else decimal_text(value)


_INTEGER = TypeRule(
    ("integer",), "integer", convert=_stored, shown="exact, 64 bits; declared `%INT%`"
)
_TEXT = TypeRule(
    ("text",),
    "text",
    convert=_stored,
    shown="declared `%CHAR%`, `%CLOB%`, `%TEXT%`",
)
_REAL = TypeRule(
    ("real",), "number", convert=_stored, bind=float, shown="declared `%REAL%`, `%FLOA%`, `%DOUB%`"
)
_BLOB = TypeRule(
    ("blob",),
    "dynamic",
    convert=_stored,
    bind=from_base64,
    sortable=False,
    shown="bytes as base64, text and numbers as they are",
)
_DECIMAL = TypeRule(
    ("decimal", "numeric"),
    "decimal",
    convert=_decimal,
    shown="as stored: SQLite itself keeps 64-bit integers and doubles",
)
_ANY = TypeRule(
    ("date", "datetime", "timestamp", "time", "boolean"),
    "dynamic",
    convert=_stored,
    shown="whatever is stored: ISO text, seconds or Julian days; 0 and 1",
)
_OTHER = TypeRule((), "dynamic", convert=_stored, sortable=False)

_AFFINITIES = (
    ("int", _INTEGER),
    ("char", _TEXT),
    ("clob", _TEXT),
    ("text", _TEXT),
    ("blob", _BLOB),
    ("real", _REAL),
    ("floa", _REAL),
    ("doub", _REAL),
)


class _Affinities(TypeRules):
    """Finds the rule as SQLite finds the affinity: by parts of the declared name, in order."""

    def _find(self, native_type: str) -> TypeRule:
        declared = without_arguments(native_type.lower())
        for part, rule in _AFFINITIES:
            if part in declared:
                return rule
        return super()._find(native_type)


SQLITE_RULES = _Affinities((_INTEGER, _TEXT, _REAL, _DECIMAL, _ANY, _BLOB), _OTHER)
