# SPDX-License-Identifier: Apache-2.0
"""Which tables a setting means: shell-like patterns over `schema.name`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

__all__ = ["fits"]


def fits(schema: str, name: str, patterns: Sequence[str]) -> bool:
    """Say whether a table fits: any pattern without `!`, or all if there is none, and no `!` one.

    A pattern without a dot is of tables in any schema.
    """
    wanted = [one for one in patterns if not one.startswith("!")]
    unwanted = [one[1:] for one in patterns if one.startswith("!")]
    if any(_is(schema, name, one) for one in unwanted):
        return False
    return not wanted or any(_is(schema, name, one) for one in wanted)


def _is(schema: str, name: str, pattern: str) -> bool:
    return fnmatchcase(f"{schema}.{name}" if "." in pattern else name, pattern)
