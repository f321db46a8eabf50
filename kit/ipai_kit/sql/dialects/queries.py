# SPDX-License-Identifier: Apache-2.0
"""Named queries of the catalogs, from the .sql files beside this module."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from functools import cache

__all__ = ["queries"]

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries(file: str) -> Mapping[str, str]:
    """Return the queries of a file by name."""
    text = importlib.resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return dict(zip(parts[::2], (one.strip().rstrip(";") for one in parts[1::2]), strict=True))
