# SPDX-License-Identifier: Apache-2.0
"""Reads what a stream delivers: its JSON Schema with the platform's own keys under `x-ipai`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipai_orchestrate.exceptions import ConfigurationError

Schema = Mapping[str, Any]

_SCALARS = {"integer": "bigint", "number": "numeric", "boolean": "boolean", "string": "text"}
_STRING_FORMATS = {
    "date-time": "timestamptz",
    "date": "date",
    "x-singer.decimal": "numeric",
    "singer.decimal": "numeric",
}


@dataclass(frozen=True)
class StreamContract:
    """One stream: where it comes from, its key, and the schema of each property."""

    source: str
    stream: str
    domain: str
    key_properties: tuple[str, ...]
    properties: Schema
    description: str


def load_contracts(folder: Path) -> list[StreamContract]:
    """Every stream of one source, in order of name."""
    return [_contract(path) for path in sorted(folder.glob("*.json"))]


def column_type(schema: Schema) -> str:
    """Postgres type that holds every value the schema allows; jsonb for what has members."""
    kinds = _kinds(schema)
    if len(kinds) == 1:
        return kinds.pop()
    if kinds == {"bigint", "numeric"}:
        return "numeric"
    return "jsonb" if not kinds or "jsonb" in kinds else "text"


def members(schema: Schema) -> Schema:
    """The properties of an object, also when it is one of several alternatives."""
    found: dict[str, Any] = {}
    for alternative in _alternatives(schema):
        found.update(alternative.get("properties", {}))
    return found


def _kinds(schema: Schema) -> set[str]:
    kinds = set()
    for alternative in _alternatives(schema):
        types = alternative.get("type", [])
        for name in [types] if isinstance(types, str) else types:
            if name == "string":
                kinds.add(_STRING_FORMATS.get(alternative.get("format", ""), "text"))
            elif name != "null":
                kinds.add(_SCALARS.get(name, "jsonb"))
    return kinds


def _alternatives(schema: Schema) -> list[Schema]:
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return [leaf for option in schema[word] for leaf in _alternatives(option)]
    return [schema]


def _contract(path: Path) -> StreamContract:
    try:
        schema = json.loads(path.read_text())
        ours = schema["x-ipai"]
        return StreamContract(
            source=ours["source"],
            stream=ours.get("stream", path.stem),
            domain=ours["domain"],
            key_properties=tuple(ours["key_properties"]),
            properties=schema["properties"],
            description=_one_line(schema.get("description", "")),
        )
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"Stream contract {str(path)!r} cannot be read: {type(error).__name__} {error}. "
            "Write a JSON Schema with properties and x-ipai: source, domain, key_properties."
        )
        raise ConfigurationError(message) from error


def _one_line(text: str) -> str:
    return " ".join(text.split())
