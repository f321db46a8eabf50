# SPDX-License-Identifier: Apache-2.0
"""Types of DuckDB; what Python's types cannot hold is read as DuckDB's own text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ipai_kit.sql.dialects.type_rules import TypeRule, TypeRules
from ipai_kit.sql.dialects.values import (
    base64_text,
    exact_json,
    finite,
    float_bound,
    from_base64,
    iso_timestamp,
    short_float,
    utc_timestamp,
)

__all__ = ["DUCKDB_RULES"]

_TEXT = "CAST({} AS VARCHAR)"
_JSON = "CAST(to_json({}) AS VARCHAR)"


def _utc(text: Any) -> str:
    shown = str(text)
    if "(BC)" in shown:
        return shown
    return utc_timestamp(shown.removesuffix("+00")) if shown.endswith("+00") else shown


def _timestamp(name: str, *aliases: str, shown: str = "") -> TypeRule:
    return TypeRule(
        (name, *aliases),
        "timestamp",
        select=_TEXT,
        convert=iso_timestamp,
        bound=f"CAST({{}} AS {name.upper()})",
        shown=shown,
    )


_ARRAY = TypeRule(
    ("array", "list"),
    "array",
    select=_JSON,
    convert=exact_json,
    sortable=False,
    shown="JSON as `to_json` writes it; numbers with every digit",
)
_RULES = (
    TypeRule(
        (
            "tinyint",
            "smallint",
            "integer",
            "bigint",
            "hugeint",
            "utinyint",
            "usmallint",
            "uinteger",
            "ubigint",
            "uhugeint",
        ),
        "integer",
        shown="exact, up to 128 bits",
    ),
    TypeRule(
        ("bignum",), "integer", select=_TEXT, convert=int, bound="CAST({} AS BIGNUM)", bind=str
    ),
    TypeRule(("decimal",), "decimal", select=_TEXT, bind=Decimal, shown="every digit"),
    TypeRule(
        ("float",),
        "number",
        convert=short_float,
        bind=float_bound,
        shown="shortest number of the same single precision",
    ),
    TypeRule(("double",), "number", convert=finite),
    TypeRule(("boolean",), "boolean", sortable=False),
    TypeRule(
        ("date",),
        "date",
        select=_TEXT,
        bound="CAST({} AS DATE)",
        shown="`infinity` and `0044-03-15 (BC)` as they are",
    ),
    _timestamp("timestamp", "timestamp without time zone", "datetime", shown="as DuckDB prints it"),
    _timestamp("timestamp_s"),
    _timestamp("timestamp_ms"),
    _timestamp("timestamp_ns", shown="nine digits"),
    TypeRule(
        ("timestamp with time zone", "timestamptz"),
        "timestamptz",
        select=_TEXT,
        convert=_utc,
        bound="CAST({} AS TIMESTAMPTZ)",
    ),
    TypeRule(
        ("time", "time with time zone", "time_ns", "interval"),
        "text",
        select=_TEXT,
        sortable=False,
    ),
    TypeRule(("varchar",), "text"),
    TypeRule(("uuid",), "uuid", select=_TEXT, bound="CAST({} AS UUID)"),
    TypeRule(("enum",), "text", select=_TEXT, order=_TEXT),
    TypeRule(("bit",), "text", select=_TEXT, sortable=False),
    TypeRule(
        ("blob", "geometry"),
        "binary",
        convert=base64_text,
        bind=from_base64,
        sortable=False,
        shown="GEOMETRY as WKB",
    ),
    TypeRule(("json",), "json", select=_TEXT, convert=exact_json, sortable=False),
    _ARRAY,
    TypeRule(
        ("struct", "map"),
        "object",
        select=_JSON,
        convert=exact_json,
        sortable=False,
        shown="JSON object; the keys of MAP as text",
    ),
    TypeRule(("union", "variant"), "json", select=_JSON, convert=exact_json, sortable=False),
)


class _DuckDBRules(TypeRules):
    """Knows lists and arrays by their brackets: `INTEGER[]`, `STRUCT(a INTEGER)[3]`."""

    def _find(self, native_type: str) -> TypeRule:
        if native_type.endswith("]"):
            return _ARRAY
        return super()._find(native_type)


DUCKDB_RULES = _DuckDBRules(_RULES, TypeRule((), "text", select=_TEXT, sortable=False))
