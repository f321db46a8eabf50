# SPDX-License-Identifier: Apache-2.0
"""Names of columns out of header rows: always the same for the same header, never twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tap_files.rows import DELETED_AT, ETAG, EXTRA, FILE, LINE, MODIFIED, SIZE

__all__ = ["column_names", "distinct_names", "merged_headers"]

_RESERVED = (FILE, LINE, MODIFIED, ETAG, SIZE, EXTRA, DELETED_AT)


def column_names(header: Iterable[str]) -> list[str]:
    """Return usable names: `column_5` for a blank one, `name_2` for the second of a name."""
    return distinct_names([" ".join(cell.replace("\0", "").split()) for cell in header])


def distinct_names(given: Sequence[str]) -> list[str]:
    """Return the same names, but no blank one, none twice and none that rows have anyway."""
    taken = set(_RESERVED) | set(given)
    seen: set[str] = set(_RESERVED)
    names = []
    for number, cell in enumerate(given, 1):
        name = cell
        if not cell or cell in seen:
            stem, count = (cell, 2) if cell else (f"column_{number}", 1)
            name = stem if count == 1 else f"{stem}_{count}"
            while name in taken:
                count += 1
                name = f"{stem}_{count}"
        seen.add(name)
        taken.add(name)
        names.append(name)
    return names


def merged_headers(rows: Sequence[Sequence[str]]) -> list[str]:
    """Join header rows; a blank cell above belongs to the group at its left (a merged cell)."""
    if len(rows) == 1:
        return list(rows[0])
    width = max(map(len, rows), default=0)
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    for row in padded[:-1]:
        group = ""
        for index, cell in enumerate(row):
            group = row[index] = cell.strip() or group
    parts = zip(*padded, strict=True)
    return [" ".join(cell.strip() for cell in column if cell.strip()) for column in parts]
