# SPDX-License-Identifier: Apache-2.0
"""The changes of one stream: kept until enough have come, then written in the log's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from tap_jdbc.cdc.shape import UNCHANGED, Cells, Shape

__all__ = ["ChangeSink", "FillIn", "StreamChanges"]


class ChangeSink(Protocol):
    """Where the records of one stream go."""

    delivered_before: int
    """Commits before this position were delivered by an earlier run, or are in the snapshot."""

    def write(self, records: Sequence[bytes]) -> None:
        """Write records and tombstones."""

    def truncate(self) -> None:
        """Retire everything that was delivered so far."""


FillIn = Callable[[Shape, Sequence[Cells]], Sequence[bool]]
"""Puts the current values in the place of unchanged ones; says which rows are still there."""


class StreamChanges:
    """Rows and tombstones in order; both are rendered by whole columns."""

    def __init__(self, shape: Shape, sink: ChangeSink, fill_in: FillIn, logged: int) -> None:
        """Prepare; the log holds the first `logged` columns, the server computes the others."""
        self._computed: Cells = [UNCHANGED] * (len(shape.names) - logged)
        self._shape = shape
        self._sink = sink
        self._fill_in = fill_in
        self._rows: list[Cells] = []
        self._tombstones: list[Cells] = []
        self._order = bytearray()
        """One byte a change, in the order of the log: 1 for a tombstone."""
        self._incomplete: list[int] = []
        self._position = b""
        self._moment = b""

    def begin(self, commit_lsn: int, committed_at: datetime) -> bool:
        """Start with a transaction, unless it is known."""
        if commit_lsn < self._sink.delivered_before:
            return False
        self._position = b"%d" % commit_lsn
        self._moment = committed_at.isoformat(timespec="microseconds").encode()
        return True

    def insert(self, cells: Cells) -> None:
        """Keep a new row."""
        if self._computed:
            cells += self._computed
            self._incomplete.append(len(self._rows))
        cells.append(self._position)
        self._rows.append(cells)
        self._order.append(0)

    def update(self, old: Cells | None, new: Cells) -> None:
        """Keep a changed row, and a tombstone where its key was another."""
        if old is not None:
            if self._shape.relation.replica_identity == "f" and UNCHANGED in new:
                new = [old[n] if cell is UNCHANGED else cell for n, cell in enumerate(new)]
            if self._shape.key_of(old) != self._shape.key_of(new):
                self.delete(old)
        if UNCHANGED in new and not self._computed:
            self._incomplete.append(len(self._rows))
        self.insert(new)

    def delete(self, old: Cells) -> None:
        """Keep a tombstone."""
        self._tombstones.append([*self._shape.key_of(old), self._moment, self._position])
        self._order.append(1)

    def truncate(self) -> None:
        """Write what came before, then retire it."""
        self.flush()
        self._sink.truncate()

    def flush(self) -> None:
        """Write all that is kept."""
        if not self._order:
            return
        if self._incomplete:
            self._complete()
        rows, tombstones = self._rows, self._tombstones
        if not tombstones:
            records = self._shape.records(rows)
        elif not rows:
            records = self._shape.tombstones(tombstones)
        else:
            sources = iter(self._shape.records(rows)), iter(self._shape.tombstones(tombstones))
            records = [next(sources[kind]) for kind in self._order]
        self._sink.write(records)
        self._rows, self._tombstones, self._order = [], [], bytearray()

    def _complete(self) -> None:
        """Fill in unchanged values; a row that is gone needs no record, its tombstone follows."""
        incomplete = [self._rows[place] for place in self._incomplete]
        is_there = self._fill_in(self._shape, incomplete)
        gone = {place for place, there in zip(self._incomplete, is_there, strict=True) if not there}
        self._incomplete = []
        if gone:
            order, place = bytearray(), 0
            for kind in self._order:
                if kind or place not in gone:
                    order.append(kind)
                place += not kind
            self._order = order
            self._rows = [row for place, row in enumerate(self._rows) if place not in gone]
