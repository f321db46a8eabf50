# SPDX-License-Identifier: Apache-2.0
"""Odoo's fields and the one form their values take, whatever the version and the way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

__all__ = [
    "Field",
    "Model",
    "canonical",
    "decimal_text",
    "kind_of",
    "kind_of_schema",
    "property_of",
]

_KINDS = {
    "integer": "integer",
    "float": "decimal",
    "monetary": "decimal",
    "boolean": "boolean",
    "char": "text",
    "text": "text",
    "html": "text",
    "selection": "text",
    "reference": "text",
    "date": "date",
    "datetime": "datetime",
    "many2one": "many2one",
    "many2one_reference": "many2one",
    "many2many": "many2many",
    "json": "json",
    "properties": "properties",
    "properties_definition": "json",
}
_ANY = ["object", "array", "string", "number", "boolean", "null"]
_PROPERTIES: Mapping[str, Mapping[str, Any]] = {
    "integer": {"type": ["integer", "null"]},
    "decimal": {"type": ["string", "null"], "format": "x-singer.decimal"},
    "boolean": {"type": ["boolean", "null"]},
    "text": {"type": ["string", "null"]},
    "date": {"type": ["string", "null"], "format": "date"},
    "datetime": {"type": ["string", "null"], "format": "date-time"},
    "many2one": {"type": ["integer", "null"]},
    "many2many": {"type": ["array", "null"], "items": {"type": ["integer", "null"]}},
    "json": {"type": _ANY},
    "properties": {"type": ["object", "null"]},
    "by_company": {"type": ["object", "null"]},
}


@dataclass(frozen=True)
class Field:
    """One field of a model, as this server has it."""

    name: str
    ttype: str
    stored: bool = True
    translated: bool = False
    company_dependent: bool = False
    relation: str = ""
    label: str = ""
    column_type: str = ""
    """Postgres only: the type of its column; empty where there is none."""
    link: tuple[str, str, str] | None = None
    """Postgres only, many2many: table, column of this model, column of the other."""


@dataclass(frozen=True)
class Model:
    """A model that is installed."""

    name: str
    table: str = ""
    label: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)

    @property
    def has_write_date(self) -> bool:
        """Whether changes leave a trace that can be asked for."""
        found = self.fields.get("write_date")
        return found is not None and found.stored


def kind_of(ttype: str) -> str | None:
    """Return the form of a field's values; None for lists of children and for binaries."""
    return _KINDS.get(ttype)


def kind_of_schema(schema: Mapping[str, Any]) -> str:
    """Return the form that a declared property asks for."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    by_format = {"x-singer.decimal": "decimal", "date": "date", "date-time": "datetime"}
    if schema.get("format") in by_format:
        return by_format[schema["format"]]
    by_type = {"integer": "integer", "boolean": "boolean", "array": "many2many", "object": "json"}
    return by_type.get(types[0], "text")


def property_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a form."""
    return dict(_PROPERTIES[kind])


def decimal_text(value: Any) -> str:
    """Write a number without exponent and without zeros at its end."""
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite():
        return str(number)
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def canonical(kind: str, value: Any) -> Any:
    """Return a value of the external API in the form that records have.

    `False` stands for nothing there, in all fields but booleans; numbers are never nothing.
    """
    if kind == "boolean":
        return bool(value)
    if kind == "decimal":
        return decimal_text(value or 0)
    if kind == "integer":
        return int(value or 0)
    if value is False or value is None or value == "":
        return [] if kind == "many2many" else None
    return _CONVERSIONS.get(kind, _same)(value)


def _many2one(value: Any) -> int | None:
    return int(value[0] if isinstance(value, list) else value) or None


def _date(value: str) -> str:
    """Odoo writes years before 1000 without zeros in front."""
    year, _, rest = value.partition("-")
    return f"{year:0>4}-{rest[:5]}"


def _datetime(value: str) -> str:
    day, _, time = value.partition(" ")
    return f"{_date(day)}T{time[:8] or '00:00:00'}+00:00"


def _properties(value: Any) -> Any:
    """The API tells a property's definition with each value; the column has the values alone."""
    if not isinstance(value, list):
        return value or None
    found = {one["name"]: one.get("value") for one in value}
    said = {name: one for name, one in found.items() if one is not None and one is not False}
    return {name: _bare(one) for name, one in said.items()} or None


def _bare(value: Any) -> Any:
    """A property that points to records comes with their names."""
    if isinstance(value, list) and value and all(isinstance(one, list) for one in value):
        return [_bare(one) for one in value]
    is_pair = isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)
    return value[0] if is_pair and isinstance(value[0], int) else value


def _same(value: Any) -> Any:
    return value


_CONVERSIONS: Mapping[str, Any] = {
    "many2one": _many2one,
    "many2many": sorted,
    "date": _date,
    "datetime": _datetime,
    "properties": _properties,
    "json": lambda value: value or None,
}
