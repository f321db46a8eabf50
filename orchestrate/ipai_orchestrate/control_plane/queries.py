# SPDX-License-Identifier: Apache-2.0
"""The named queries of queries.sql."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString, cast

_NAMED = re.compile(r"^-- (\w+) --\n(.*?)(?=^-- \w+ --$|\Z)", re.MULTILINE | re.DOTALL)


def load_queries(text: str | None = None) -> dict[str, LiteralString]:
    """Return the queries by name; the text is part of this package, hence as literal as code."""
    source = text or files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    return {name: cast("LiteralString", body.strip()) for name, body in _NAMED.findall(source)}
