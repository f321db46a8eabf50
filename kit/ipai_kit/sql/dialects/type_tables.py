# SPDX-License-Identifier: Apache-2.0
"""The tables of types in docs/databases.md, written from the rules that are in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ipai_kit.sql.dialects.type_rules import TypeRule

__all__ = ["IN_WORDS", "type_table"]

IN_WORDS: Mapping[str, str] = {
    "integer": "integer",
    "decimal": "string, `x-singer.decimal`",
    "number": "number; `NaN`, `Infinity`, `-Infinity` as strings",
    "float": "number",
    "boolean": "boolean",
    "text": "string",
    "uuid": "string, `uuid`",
    "date": "string, `date`",
    "timestamp": "string `2026-01-31T10:00:00.5`",
    "timestamptz": "string, `date-time`, `…+00:00`",
    "binary": "string, base64",
    "array": "array",
    "object": "object",
    "json": "any JSON, numbers with every digit",
    "dynamic": "integer, number or string",
}


def type_table(rules: Iterable[TypeRule]) -> str:
    """Return the table of one database."""
    rows = [f"| {', '.join(rule.names)} | {IN_WORDS[rule.kind]} | {rule.shown} |" for rule in rules]
    return "\n".join(["| type | in the record | notes |", "|---|---|---|", *rows])
