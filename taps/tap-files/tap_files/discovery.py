# SPDX-License-Identifier: Apache-2.0
"""The schema of a stream, from the first rows of some of its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any

from ipai_kit.exceptions import ConnectorError
from tap_files.listing import SourceFile, list_files
from tap_files.parquet import parquet_schema
from tap_files.patterns import Pattern, format_of
from tap_files.reading import read_rows
from tap_files.rows import DELETED_AT, EXTRA, PLACE_SCHEMA, Rejected
from tap_files.values import infer_type, property_of
from tap_files.workbooks import SHEET

__all__ = ["Sample", "sample_files", "stream_schema"]

_FILES = 3
_SHOWN = 5
_DEEPEST = 6
_NAMES = {bool: "boolean", int: "integer", float: "number", Decimal: "number", str: "string"}


@dataclass
class Sample:
    """What was seen of a stream's files."""

    files: list[str] = field(default_factory=list)
    properties: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    problems: list[ConnectorError] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    """Columns that have a type by the settings, but are in none of the rows."""
    has_types: bool = False
    """Whether values come with types: from JSON, Parquet, Excel."""


def sample_files(pattern: Pattern, store: Any, *, rows: int, longest: int) -> Sample:
    """Look into the first, the last and a middle file; what fails is noted."""
    sample = Sample()
    columns: dict[str, list[Any]] = {}
    try:
        listed = list(list_files(pattern, store))
    except ConnectorError as error:
        sample.problems.append(error)
        listed = []
    files = [one for one in listed if isinstance(one, SourceFile)]
    sample.problems += [one for one in listed if isinstance(one, ConnectorError)]
    sample.files = [one.name for one in files]
    for file in _some(files):
        try:
            kind = format_of(file.member or file.path, pattern)
            sample.has_types |= kind != "csv"
            if kind == "parquet":
                with file.opened(whole=True) as content:
                    sample.properties |= parquet_schema(content)
            _look_into(file, pattern, sample, columns, rows, longest)
        except ConnectorError as error:
            sample.problems.append(error)
    for name, values in columns.items():
        if name not in sample.properties:
            sample.properties[name] = _property(values, pattern, has_types=sample.has_types)
    if sample.properties:
        sample.unseen = [name for name in pattern.column_types if name not in sample.properties]
    for name, wanted in pattern.column_types.items():
        sample.properties[name] = property_of(wanted)
    return sample


def stream_schema(pattern: Pattern, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a stream: its own columns, then what tells where a row is from."""
    extra: dict[str, Any] = {EXTRA: {"type": ["null", "array"], "items": {"type": "string"}}}
    if pattern.sheet:
        extra[SHEET] = {"type": ["null", "string"], "description": "The sheet of the workbook."}
    if pattern.keyed_by_place:
        extra[DELETED_AT] = {
            "type": ["null", "string"],
            "format": "date-time",
            "description": "Since when the file does not have this line any more.",
        }
    keys = {name: {"type": ["null", "string"]} for name in pattern.key_properties}
    return {
        "type": "object",
        "properties": {**keys, **properties, **extra, **PLACE_SCHEMA},
    }


def _some(files: Sequence[SourceFile]) -> list[SourceFile]:
    places = {0, len(files) // 2, len(files) - 1} if files else set()
    return [files[place] for place in sorted(places)][:_FILES]


def _look_into(
    file: SourceFile,
    pattern: Pattern,
    sample: Sample,
    columns: dict[str, list[Any]],
    rows: int,
    longest: int,
) -> None:
    for row in islice(read_rows(file, pattern, {}, longest=longest), rows):
        if isinstance(row, Rejected):
            sample.rejected.append(f"{file.name}: {row.reason}")
            continue
        content = row[1] if isinstance(row[1], dict) else _decoded(row[1])
        if len(sample.rows) < _SHOWN:
            sample.rows.append(content)
        for name, value in content.items():
            if name not in {EXTRA, SHEET}:
                columns.setdefault(name, []).append(value)


def _decoded(record: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(record, parse_float=Decimal)
    except (ValueError, RecursionError):  # beyond Python's limits, and still passed on as it is
        return {}
    return content


def _property(values: Iterable[Any], pattern: Pattern, *, has_types: bool) -> dict[str, Any]:
    """Return the schema of a column; the texts of CSV files tell their type by their form."""
    known = [value for value in values if value is not None]
    if has_types:
        return _json_property(known)
    if pattern.types == "text":
        return property_of("text")
    texts = [value for value in known if value not in pattern.null_values]
    return property_of(infer_type(texts, decimal_comma=pattern.decimal_comma))


def _json_property(values: Sequence[Any], depth: int = 0) -> dict[str, Any]:
    types = {_type_name(value) for value in values if value is not None}
    if types == {"integer", "number"}:
        types = {"number"}
    if not types:
        return {}
    schema: dict[str, Any] = {"type": ["null", *sorted(types)]}
    if depth < _DEEPEST and "object" in types:
        members: dict[str, list[Any]] = {}
        for value in values:
            for name, member in value.items() if isinstance(value, dict) else ():
                members.setdefault(name, []).append(member)
        schema["properties"] = {
            name: _json_property(found, depth + 1) for name, found in members.items()
        }
    if depth < _DEEPEST and "array" in types:
        items = [item for value in values if isinstance(value, list) for item in value]
        schema["items"] = _json_property(items, depth + 1)
    return schema


def _type_name(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else _NAMES[type(value)]
