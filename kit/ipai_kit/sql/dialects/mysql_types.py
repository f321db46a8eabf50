# SPDX-License-Identifier: Apache-2.0
"""Types of MariaDB and MySQL, all of which arrive as the text that the server prints."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from ipai_kit.sql.dialects.type_rules import TypeRule, TypeRules, arguments
from ipai_kit.sql.dialects.values import (
    Convert,
    base64_text,
    bits,
    exact_json,
    float_bound,
    from_base64,
    iso_timestamp,
    short_float,
    spaced_timestamp,
    utc_timestamp,
)

__all__ = ["mysql_rules", "native_type_of_field"]

_ZEROS = re.compile(r"^(-?)0+(?=\d)")
_AS_TEXT = "CAST({} AS CHAR)"  # as a number they would be ordered, as text compared


def _decimal(text: Any) -> str:
    return _ZEROS.sub(r"\1", str(text))  # ZEROFILL is for display


def _two_digits(year: Any) -> int:
    return int(year) % 100


def _bits_of(native_type: str) -> Convert:
    return bits(int(arguments(native_type) or 1))


def _boolean(value: Any) -> bool:
    return int(value) != 0


def _from_bits(value: Any) -> int:
    return int(value, 2)


_RULES = (
    TypeRule(
        ("tinyint", "smallint", "mediumint", "int", "bigint", "year"),
        "integer",
        convert=int,
        shown="exact, also unsigned and beyond 2^53",
    ),
    TypeRule(("year(2)",), "integer", convert=_two_digits, shown="the two digits that it shows"),
    TypeRule(
        ("decimal",),
        "decimal",
        convert=_decimal,
        bind=Decimal,
        shown="every digit; without the zeros of ZEROFILL",
    ),
    TypeRule(
        ("float",),
        "float",
        select="{} + 0e0",
        convert=short_float,
        bind=float_bound,
        shown="shortest number of the same single precision; the server itself prints six digits",
    ),
    TypeRule(("double",), "float", convert=float),
    TypeRule(
        ("bit",),
        "text",
        convert_of=_bits_of,
        order="{} + 0",
        bind=_from_bits,
        shown="binary digits, as many as declared",
    ),
    TypeRule(("date",), "date", shown="zero dates as they are: `0000-00-00`, `2020-00-15`"),
    TypeRule(
        ("datetime",),
        "timestamp",
        convert=iso_timestamp,
        bind=spaced_timestamp,
        shown="zero dates as they are: `0000-00-00 00:00:00`",
    ),
    TypeRule(("timestamp",), "timestamptz", convert=utc_timestamp, bind=spaced_timestamp),
    TypeRule(("time",), "text", shown="also beyond 24 hours and negative: `-838:59:59`"),
    TypeRule(
        ("char", "varchar", "tinytext", "text", "mediumtext", "longtext"),
        "text",
        shown="the server removes the padding of CHAR",
    ),
    TypeRule(("enum", "set"), "text", order=_AS_TEXT, shown="the name; SET as `a,b`"),
    TypeRule(("uuid",), "uuid"),
    TypeRule(("inet4", "inet6"), "text"),
    TypeRule(
        ("json",),
        "json",
        convert=exact_json,
        sortable=False,
        shown="MariaDB: LONGTEXT with the check json_valid",
    ),
    TypeRule(
        ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"),
        "binary",
        convert=base64_text,
        bind=from_base64,
        sortable=False,
        shown="BINARY(n) padded with zero bytes",
    ),
    TypeRule(
        ("vector",),
        "binary",
        select="CAST({} AS BINARY)",  # the driver takes the type of MySQL 9 for text
        convert=base64_text,
        sortable=False,
        shown="numbers of single precision, little-endian",
    ),
    TypeRule(
        (
            "geometry",
            "point",
            "linestring",
            "polygon",
            "multipoint",
            "multilinestring",
            "multipolygon",
            "geometrycollection",
            "geomcollection",
        ),
        "binary",
        convert=base64_text,
        sortable=False,
        shown="SRID in four bytes, then WKB",
    ),
)
_BOOLEAN = TypeRule(
    ("tinyint(1)",),
    "boolean",
    convert=_boolean,
    bind=int,
    sortable=False,
    shown="only with `tinyint1_as_boolean`",
)


def mysql_rules(*, tinyint1_as_boolean: bool = False) -> TypeRules:
    """Return the rules; TINYINT(1) is an integer like any other unless told otherwise."""
    return TypeRules((*_RULES, _BOOLEAN) if tinyint1_as_boolean else _RULES)


_FIELD_TYPES = {
    1: "tinyint",
    2: "smallint",
    3: "int",
    4: "float",
    5: "double",
    7: "timestamp",
    8: "bigint",
    9: "mediumint",
    10: "date",
    11: "time",
    12: "datetime",
    13: "year",
    16: "bit",
    245: "json",
    247: "enum",
    248: "set",
    255: "geometry",
}
_BINARY_CHARSET, _UNSIGNED, _ENUM, _SET = 63, 32, 256, 2048


def native_type_of_field(field: Any) -> str:
    """Return the type of a column of a result, which has no text of its own."""
    if field.type_code in (0, 246):
        signs = (field.scale > 0) + (not field.flags & _UNSIGNED)
        return f"decimal({field.length - signs},{field.scale})"
    if field.type_code in _FIELD_TYPES:
        name = _FIELD_TYPES[field.type_code]
        if name == "bit" or (name == "tinyint" and field.length == 1):
            return f"{name}({field.length})"
        return f"{name} unsigned" if field.flags & _UNSIGNED and name != "year" else name
    if field.flags & _ENUM:
        return "enum"
    if field.flags & _SET:
        return "set"
    return "varbinary" if field.charsetnr == _BINARY_CHARSET else "varchar"
