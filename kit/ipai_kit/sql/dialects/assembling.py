# SPDX-License-Identifier: Apache-2.0
"""Puts tables together from the rows of three catalog queries: tables, columns, keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.dialects.reading import with_unique_key

__all__ = ["Place", "assembled"]

Place: TypeAlias = tuple[str, str]
"""Schema and name of a table."""


def assembled(
    tables: Iterable[Sequence[Any]],
    columns: Mapping[Place, Sequence[Column]],
    keys: Iterable[Sequence[Any]],
) -> list[Table]:
    """Return the tables.

    `tables` has schema, name, kind, estimate, comment; `keys` has schema, table, name of the key,
    whether it is the primary one, and a column (null for what is no column), in order.
    """
    parts: dict[Place, dict[tuple[bool, str], list[Any]]] = defaultdict(lambda: defaultdict(list))
    for schema, table, key, is_primary, column in keys:
        parts[schema, table][bool(is_primary), key].append(column)
    found = []
    for schema, name, kind, estimate, comment in tables:
        unique = {
            which: tuple(str(one) for one in names)
            for which, names in parts[schema, name].items()
            if None not in names
        }
        primary = next((names for (first, _), names in unique.items() if first), ())
        table = Table(
            schema,
            name,
            columns.get((schema, name), ()),
            kind="view" if kind == "view" else "table",
            primary_key=primary,
            unique_keys=tuple(unique.values()),
            comment=comment or "",
            row_estimate=None if estimate is None else int(estimate),
        )
        found.append(with_unique_key(table))
    return found
