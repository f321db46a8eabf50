# SPDX-License-Identifier: Apache-2.0
"""Columns of Arrow that tell how their values stand in JSON, so that records stay as they are.

Documents have the logical type JSON: as structs, rows would get each other's members. Doubles of
PostgreSQL name its type, whose way to write numbers is not that of other encoders.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["NUMBER_KEY", "flat_table", "told_columns"]

NUMBER_KEY = b"ipai.number"
_BLOCK_BYTES = 1 << 24  # also the longest record that it takes
_NUMBERS = ("float4", "float8")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw])


def told_columns(batch: Any, kinds: Mapping[str, str]) -> Any:
    """Return a record batch or table whose columns say what they are: json, float4 or float8."""
    arrow = importlib.import_module("pyarrow")
    fields, columns = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        kind = kinds.get(field.name, "")
        if kind == "json":
            document = arrow.json_(arrow.string())
            column = column.cast(document)
            field = field.with_type(document)
        elif kind in _NUMBERS:
            field = field.with_metadata({NUMBER_KEY: kind.encode()})
        fields.append(field)
        columns.append(column)
    return type(batch).from_arrays(columns, schema=arrow.schema(fields))


def flat_table(lines: bytes, types: Mapping[str, str]) -> Any:
    """Read JSON lines into columns of known types; a value of another type is an error."""
    arrow, reading = (importlib.import_module(one) for one in ("pyarrow", "pyarrow.json"))
    documents = [name for name, alias in types.items() if alias == "json"]
    fields = [
        (name, arrow.type_for_alias("double" if alias in _NUMBERS else alias))
        for name, alias in types.items()
        if alias != "json"
    ]
    table = reading.read_json(
        arrow.py_buffer(lines),
        read_options=reading.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=reading.ParseOptions(
            explicit_schema=arrow.schema(fields),
            unexpected_field_behavior="ignore" if documents else "infer",
        ),
    )
    if documents:
        records = _decode.decode_lines(lines)
        for name in documents:
            texts = [_text(record.get(name)) for record in records]
            table = table.append_column(name, arrow.array(texts, arrow.string()))
        table = table.select(list(types))
    return told_columns(table, types)


def _text(value: msgspec.Raw | None) -> str | None:
    text = None if value is None else bytes(value).decode()
    return None if text == "null" else text
