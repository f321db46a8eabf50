# SPDX-License-Identifier: Apache-2.0
"""The statements of change data capture, by name."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

__all__ = ["statement"]

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def statement(name: str) -> bytes:
    """Return a statement of statements.sql."""
    return _statements()[name].encode()


@cache
def _statements() -> dict[str, str]:
    text = resources.files(__package__).joinpath("statements.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
