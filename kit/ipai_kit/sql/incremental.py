# SPDX-License-Identifier: Apache-2.0
"""Changed rows by (cursor, key): ordered by both, so that rows of one moment are never parted.

A run begins at the cursor's last value, with it: rows may have arrived later with the same value.
Within a run, and when one that was killed goes on, the pair says exactly where. Rows whose cursor
is null have no place in that order and are read every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.database import Block, Column, Position, Selection
from ipai_kit.sql.positions import CursorValue, last_position
from ipai_kit.sql.reading import Reading
from ipai_kit.sql.snapshot import begin_snapshot, read_snapshot

__all__ = ["cursor_column", "read_incremental"]


def cursor_column(reading: Reading, name: str) -> Column:
    """Return the column of the cursor; raises when it cannot be one."""
    column = reading.table.column(name)
    place = reading.table.full_name
    if column is None:
        message = f"The cursor {name!r} is no column of {place!r}."
        raise ConfigurationError(message, next_step="Correct 'cursor' in the setting 'streams'.")
    if not column.sortable:
        message = f"The cursor {name!r} of {place!r} is {column.native_type!r}, which has no order."
        raise ConfigurationError(
            message, next_step="Use a timestamp, a date, a counting number or a text."
        )
    return column


def read_incremental(
    reading: Reading, entry: dict[str, Any], cursor: str, start: str | None, version: int
) -> None:
    """Emit what is new since the bookmark `entry`, which follows."""
    column = cursor_column(reading, cursor)
    values = CursorValue(column.schema, column.native_type)
    if entry.get("replication_key") not in (None, cursor):
        entry.clear()
    first = "replication_key_value" not in entry and "position" not in entry
    begin = start if first and values.is_time else None
    if first and begin is None and reading.has_chunks:
        _read_first(reading, entry, cursor, values, version)
        return
    _read_changes(reading, entry, column, values, begin)
    if column.nullable:
        _read_without_cursor(reading, column)


def _read_first(
    reading: Reading, entry: dict[str, Any], cursor: str, values: CursorValue, version: int
) -> None:
    """Read the whole table by key; what changes meanwhile lies behind the bookmark."""
    mark = entry.get("snapshot")
    if not isinstance(mark, dict) or mark.get("cursor") != cursor:
        entry.pop("snapshot", None)
        newest = reading.database.position(
            reading.selection(order=(cursor,), not_null=cursor), backwards=True
        )
        mark = begin_snapshot(reading, entry, version)
        mark["cursor"] = cursor
        mark["newest"] = None if newest is None else newest[0]
    else:
        mark = begin_snapshot(reading, entry, version)
    read_snapshot(reading, mark)
    del entry["snapshot"]
    if mark.get("newest") is not None:
        entry["replication_key"] = cursor
        entry["replication_key_value"] = values.no_later_than_now(mark["newest"], _now())


def _read_changes(
    reading: Reading, entry: dict[str, Any], column: Column, values: CursorValue, begin: Any
) -> None:
    order = (column.name, *(name for name in reading.key if name != column.name))
    known = entry.get("replication_key_value")
    position = entry.get("position")
    if not (isinstance(position, list) and len(position) == len(order)):
        position = None
    since = begin if known is None else values.back(known, reading.options.lookback)
    selection = reading.selection(
        order=order,
        after=tuple(position) if position else None,
        since=None if position else since,
        not_null=column.name if column.nullable else None,
    )
    latest = position[0] if position else None
    blocks = reading.ordered(selection) if reading.key else _unbroken(reading, selection)
    for block, place in blocks:
        reading.emit(block)
        latest = place[0]
        entry["replication_key"] = column.name
        if reading.key:
            entry["position"] = list(place)
            entry.setdefault("replication_key_value", values.no_later_than_now(latest, _now()))
        reading.checkpoint()
    entry.pop("position", None)
    if latest is not None:
        latest = values.no_later_than_now(latest, _now())
        entry["replication_key"] = column.name
        entry["replication_key_value"] = values.later(known, latest)


def _unbroken(reading: Reading, selection: Selection) -> Iterator[tuple[Block, Position]]:
    """Without a key there is no exact place to go on from: one statement, or none."""
    for block in reading.database.read(selection):
        yield block, last_position(block, selection.order)


def _read_without_cursor(reading: Reading, column: Column) -> None:
    selection = reading.selection(order=reading.key, null=column.name)
    blocks = reading.ordered(selection) if reading.key else _unbroken(reading, selection)
    for block, _ in blocks:
        reading.emit(block)
        reading.checkpoint()


def _now() -> datetime:
    return datetime.now(UTC)
