# SPDX-License-Identifier: Apache-2.0
"""Whole tables in chunks by key, so that a run that was killed goes on where it was.

STATE holds the last key that left and the highest key there was at the start: what is inserted
behind that is left to the next run, so that a busy table ends too. Each chunk is a statement of
its own: no transaction stays open for hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ipai_kit.sql.database import Block, Position
from ipai_kit.sql.parallel import read_parallel
from ipai_kit.sql.reading import Reading

__all__ = ["begin_snapshot", "read_snapshot", "read_unordered"]


def begin_snapshot(reading: Reading, entry: dict[str, Any], version: int) -> dict[str, Any]:
    """Return the snapshot under way in a bookmark, or a new one."""
    found = entry.get("snapshot")
    if isinstance(found, dict) and found.get("order") == list(reading.key) and found.get("until"):
        return found
    highest = reading.database.position(reading.selection(order=reading.key), backwards=True)
    mark: dict[str, Any] = {
        "order": list(reading.key),
        "version": version,
        "until": None if highest is None else list(highest),
        "after": None,
    }
    entry["snapshot"] = mark
    return mark


def read_snapshot(reading: Reading, mark: dict[str, Any]) -> None:
    """Emit what the snapshot has not emitted yet; `mark` follows it."""
    if mark["until"] is None:
        return  # the table was empty
    after = tuple(mark["after"]) if mark["after"] is not None else None
    until = tuple(mark["until"])
    if reading.options.parallel > 1:
        found = read_parallel(reading, after, until)
    else:
        found = _read_chunks(reading, after, until)
    for block, position in found:
        reading.emit(block)
        mark["after"] = list(position)
        reading.checkpoint()


def _read_chunks(
    reading: Reading, after: Position | None, until: Position
) -> Iterator[tuple[Block, Position]]:
    chunk = reading.selection(
        order=reading.key, after=after, until=until, limit=reading.options.chunk_rows
    )
    while True:
        count = 0
        for block, position in reading.ordered(chunk):
            count += block.count
            chunk = replace(chunk, after=position)
            yield block, position
        if count < reading.options.chunk_rows:
            return


def read_unordered(reading: Reading) -> None:
    """Emit a view, a query or a table without key in one go; it starts anew if it breaks off."""
    for block in reading.database.read(reading.selection()):
        reading.emit(block)
