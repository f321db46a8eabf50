# SPDX-License-Identifier: Apache-2.0
"""How each PostgreSQL type leaves: its JSON Schema, and the expression that makes its JSON.

`row_to_json` writes most types exactly; those it would round, break or decorate are cast first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ColumnType", "decimal_schema"]

_FIRST_USER_OID = 16384
_ANY = ["object", "array", "string", "number", "boolean", "null"]

_INTEGER = {"type": "integer"}
_NUMBER = {"type": ["number", "string"]}  # NaN and the infinities are text
_TEXT = {"type": "string"}

decimal_schema: Mapping[str, Any] = {"type": "string", "format": "x-singer.decimal"}

_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "bool": {"type": "boolean"},
    "int2": _INTEGER,
    "int4": _INTEGER,
    "int8": _INTEGER,
    "oid": _INTEGER,
    "float4": _NUMBER,
    "float8": _NUMBER,
    "numeric": decimal_schema,
    "date": {"type": "string", "format": "date"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "bytea": {"type": "string", "contentEncoding": "base64"},
    "json": {"type": _ANY},
    "jsonb": {"type": _ANY},
}
# What crosses in a column as its JSON has it; other types are made JSON and text again.
_PLAIN: Mapping[str, str] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), "{}::int8"),
    **dict.fromkeys(("bool", "float8", "text", "varchar", "bpchar"), "{}"),
    "float4": "{}::text::float8",
    **dict.fromkeys(("date", "uuid"), "{}::text"),
}
_TOLD = ("json", "jsonb", "float4", "float8")
_NO_ORDER = {
    *("json", "jsonb", "xml", "bytea", "bool", "interval", "bit", "varbit", "record", "xid"),
    *("point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery"),
}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type below all domains, or the array of one."""

    native: str
    oid: int
    name: str
    kind: str = "b"
    """`pg_type.typtype`: base, enum, composite, range …"""
    element: ColumnType | None = None

    @property
    def sortable(self) -> bool:
        """Whether the type counts or tells time, or at least has a total order that people use."""
        return self.element is None and self.kind in "be" and self.name not in _NO_ORDER

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a value that is not null."""
        if self.element is not None:
            below = _TEXT if self.element.name == "bytea" else self.element.schema
            # An array may have any number of dimensions, whatever its declaration says.
            return {"type": "array", "items": _or(below, "array", "null")}
        if self.kind == "c":
            return {"type": "object"}
        return dict(_SCHEMAS.get(self.name, _TEXT) if self.oid < _FIRST_USER_OID else _TEXT)

    def nullable_schema(self, *, nullable: bool) -> dict[str, Any]:
        """The JSON Schema of a column."""
        return _or(self.schema, "null") if nullable else self.schema

    def expression(self, column: str) -> str:
        """Return the SQL whose JSON is the value exactly; `column` is quoted already."""
        if self.element is not None:
            return f"{column}::text[]" if self._elements_as_text() else column
        if self.name == "numeric" and self.oid < _FIRST_USER_OID:
            return f"{column}::text"
        if self.name == "bytea" and self.oid < _FIRST_USER_OID:
            return f"translate(encode({column}, 'base64'), e'\\n', '')"
        if self.name == "oid":
            return f"{column}::int8"
        if self.oid >= _FIRST_USER_OID and self.kind in "br":
            return f"{column}::text"  # a type of an extension may bring its own cast to JSON
        return column

    @property
    def column_kind(self) -> str:
        """What a column of Arrow has to say of its values: json, float4, float8 or nothing."""
        if self.element is not None or self.kind == "c":
            return "json"
        if self.oid >= _FIRST_USER_OID:
            return ""
        return {"jsonb": "json"}.get(self.name, self.name) if self.name in _TOLD else ""

    def column_expression(self, column: str) -> str:
        """Return the SQL of the same value for a column of Arrow: a number, a boolean or text."""
        expression = self.expression(column)
        if self.column_kind == "json":
            return f"translate(to_json({expression})::text, e'\\r\\n', '  ')"  # as lines have it
        kind = self.name if self.oid < _FIRST_USER_OID else ""
        if expression != column and kind != "oid" and self.kind == "b":
            return expression  # text already
        if kind in _PLAIN:
            return _PLAIN[kind].format(expression)
        return f"to_json({expression}) #>> '{{}}'"

    def _elements_as_text(self) -> bool:
        below = self.element
        if below is None:
            return False
        if below.oid >= _FIRST_USER_OID:
            return below.kind in "br"
        return below.name in {"numeric", "bytea", "oid"}

    def literal(self, quoted: str) -> str:
        """Return the SQL of a value that stands in a record, quoted as text."""
        if self.name == "bytea":
            return f"decode({quoted}, 'base64')"
        if self.element is not None or self.kind == "c":
            document = f"('{{\"v\":' || {quoted} || '}}')::json"
            record = f"json_to_record({document}) as r(v {self.native})"
            return f"(select r.v from {record})"  # noqa: S608
        return f"{quoted}::{self.native}"


def _or(schema: Mapping[str, Any], *more: str) -> dict[str, Any]:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, *(one for one in more if one not in kinds)]}
