# SPDX-License-Identifier: Apache-2.0
"""The target's SQL by name, from statements.sql."""

import re
from functools import cache
from importlib import resources

from psycopg import sql

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _statements() -> dict[str, str]:
    text = resources.files(__package__).joinpath("statements.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def statement(name: str, **identifiers: sql.Composable) -> sql.Composed:
    """A statement with its identifiers filled in."""
    return sql.SQL(_statements()[name]).format(**identifiers)
