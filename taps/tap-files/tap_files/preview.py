# SPDX-License-Identifier: Apache-2.0
"""`tap-files --preview`: what the settings lead to, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ipai_kit.exceptions import ConnectorError
from tap_files.discovery import Sample
from tap_files.patterns import Pattern

__all__ = ["preview"]

_SHOWN_FILES = 5
_WIDTH = 100
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


def preview(
    patterns: Sequence[Pattern],
    sample: Callable[[Pattern], Sample],
    write: Callable[[str], Any],
) -> list[ConnectorError]:
    """Write files, columns with types and first rows of each stream; returns what is wrong."""
    problems: list[ConnectorError] = []
    for pattern in patterns:
        seen = sample(pattern)
        problems += seen.problems
        for line in _lines(pattern, seen):
            write(line)
    return problems


def _lines(pattern: Pattern, seen: Sample) -> list[str]:
    files = seen.files[:_SHOWN_FILES]
    more = [f"  … and {len(seen.files) - len(files)} more"] if len(seen.files) > len(files) else []
    width = max(map(len, seen.properties), default=0)
    return [
        f"{pattern.name}: {len(seen.files)} files",
        *(f"  {name}" for name in files),
        *more,
        *([" columns"] if seen.properties else []),
        *(f"  {name:<{width}}  {_type(schema)}" for name, schema in seen.properties.items()),
        *([" rows"] if seen.rows else []),
        *(f"  {_short(_encode(row).decode())}" for row in seen.rows),
        *(f" rejected  {_short(text)}" for text in seen.rejected[:_SHOWN_FILES]),
        *(f" problem   {problem}" for problem in seen.problems),
        *(f" problem   'column_types' names {name!r}: not seen" for name in seen.unseen),
    ]


def _type(schema: dict[str, Any]) -> str:
    types = schema.get("type", "anything")
    names = [types] if isinstance(types, str) else [one for one in types if one != "null"]
    extra = schema.get("format")
    return "|".join(names) + (f" ({extra})" if extra else "")


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
