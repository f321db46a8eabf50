# SPDX-License-Identifier: Apache-2.0
"""One stream's way through its rows: what it reads, where blocks go, when STATE may leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ipai_kit.exceptions import TryAgainLaterError
from ipai_kit.sql.database import Block, Database, Position, Selection, Table
from ipai_kit.sql.options import StreamOptions
from ipai_kit.sql.positions import last_position

__all__ = ["Reading"]

_TRIES = 3


@dataclass(frozen=True)
class Reading:
    """What a stream reads, with the two things that reading causes."""

    database: Database
    table: Table
    columns: Sequence[str]
    key: Sequence[str]
    options: StreamOptions
    emit: Callable[[Block], None]
    """Write a block."""
    checkpoint: Callable[[], None]
    """The bookmark is true now: STATE may leave, if some time has passed since the last."""
    pause: Callable[[float], None]
    """Wait some seconds, or raise when the run is to stop."""

    @property
    def has_chunks(self) -> bool:
        """Whether the key gives each row a place of its own: settings may name another one."""
        table, key = self.table, set(self.key)
        if not key or table.kind != "table":
            return False
        if key == set(table.primary_key):
            return True
        if any(column.nullable for column in table.columns if column.name in key):
            return False
        return any(key.issuperset(one) for one in (table.primary_key, *table.unique_keys) if one)

    def selection(self, **values: Any) -> Selection:
        """Return a selection of this stream's columns and rows."""
        return Selection(self.table, self.columns, where=self.options.where, **values)

    def ordered(
        self, selection: Selection, read: Callable[[Selection], Iterator[Block]] | None = None
    ) -> Iterator[tuple[Block, Position]]:
        """Yield blocks of an ordered selection, going on behind the last row if the way breaks."""
        read = read or self.database.read
        failures, left = 0, selection.limit
        while True:
            try:
                for block in read(selection):
                    position = last_position(block, selection.order)
                    left = None if left is None else left - block.count
                    selection = replace(selection, after=position, since=None, limit=left)
                    failures = 0
                    yield block, position
            except TryAgainLaterError:
                failures += 1
                if failures >= _TRIES:
                    raise
                self.pause(2.0**failures)
            else:
                return
            if left == 0:
                return
