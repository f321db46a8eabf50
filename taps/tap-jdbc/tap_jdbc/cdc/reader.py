# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of pgoutput, as the server sends them, and sorts the changes by table.

The loop below runs once per change and decides how fast changes are: it looks at bytes in place,
copies nothing but values, and leaves all conversion to whole columns later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from struct import Struct
from typing import Protocol

from ipai_kit.exceptions import InternalError
from tap_jdbc.cdc.messages import Begin, Relation, read_begin, read_relation, read_truncate
from tap_jdbc.cdc.shape import UNCHANGED, Cells

__all__ = ["ChangeReader", "Changes"]

_HEADER = 6
"""Bytes before the message in a row of binary COPY: the count of columns and the length."""
_NUMBER = Struct(">I").unpack_from
_COMMIT = Struct(">BQQq").unpack_from
_NULL, _TEXT, _SAME = b"ntu"
_BEGIN, _COMMITTED, _INSERT, _UPDATE, _DELETE, _RELATION, _TRUNCATE = b"BCIUDRT"
_CHANGES = frozenset((_INSERT, _UPDATE, _DELETE))
_NEW = ord("N")
_ROW = _HEADER + 6
"""Where a row starts: behind the kind of the message, the relation and the kind of the row."""
_MOST_BYTES = 4 << 20
_OVERHEAD = 300
"""Bytes that the parts of one change take in memory beyond their own length."""


class Changes(Protocol):
    """What takes the changes of one table, in the order of the log."""

    def begin(self, commit_lsn: int, committed_at: datetime) -> bool:
        """The changes that follow belong to this transaction; False if they are known."""

    def insert(self, cells: Cells) -> None:
        """A row was inserted."""

    def update(self, old: Cells | None, new: Cells) -> None:
        """A row was changed; `old` has at least its key, where the key or everything is logged."""

    def delete(self, old: Cells) -> None:
        """A row was deleted; `old` has at least its key."""

    def truncate(self) -> None:
        """The table was emptied."""


class ChangeReader:
    """Takes messages one after the other; knows the tables as the log describes them."""

    def __init__(
        self,
        open_table: Callable[[Relation], Changes | None],
        committed: Callable[[int], None],
        relieve: Callable[[], None],
    ) -> None:
        """Prepare to read.

        `relieve` is asked to let go of changes that fill the memory; `committed` is told each end
        of a transaction, a position to resume from.
        """
        self._open_table = open_table
        self._committed = committed
        self._relieve = relieve
        self._tables: dict[int, Changes | None] = {}
        self.changes = 0

    def read(self, rows: Iterable[bytes]) -> None:
        """Take rows of binary COPY, each with one message."""
        tables, open_tables, size = self._tables, dict[int, Changes | None](), 0
        begin = Begin(0, datetime.min.replace(tzinfo=UTC))
        for data in rows:
            kind = data[_HEADER]
            if kind in _CHANGES:
                (oid,) = _NUMBER(data, _HEADER + 1)
                try:
                    table = open_tables[oid]
                except KeyError:
                    table = open_tables[oid] = _opened(tables[oid], begin)
                if table is None:
                    continue
                self.changes += 1
                if kind == _INSERT:
                    table.insert(_read_row(data, _ROW)[0])
                elif kind == _DELETE:
                    table.delete(_read_row(data, _ROW)[0])
                elif data[_ROW - 1] == _NEW:
                    table.update(None, _read_row(data, _ROW)[0])
                else:
                    old, place = _read_row(data, _ROW)
                    table.update(old, _read_row(data, place + 1)[0])
                size += len(data) + _OVERHEAD
                if size >= _MOST_BYTES:
                    self._relieve()
                    size = 0
            elif kind == _BEGIN:
                begin = read_begin(data, _HEADER + 1)
                open_tables.clear()
            elif kind == _COMMITTED:
                self._committed(_COMMIT(data, _HEADER + 1)[2])
            elif kind == _RELATION:
                relation = read_relation(data, _HEADER + 1)
                self._relieve()
                tables[relation.oid] = self._open_table(relation)
                open_tables.pop(relation.oid, None)
            elif kind == _TRUNCATE:
                for oid in read_truncate(data, _HEADER + 1):
                    table = _opened(tables.get(oid), begin)
                    if table is not None:
                        table.truncate()
            # What remains says nothing of rows: origins, and names of types.


def _opened(table: Changes | None, begin: Begin) -> Changes | None:
    known = table is None or not table.begin(begin.commit_lsn, begin.committed_at)
    return None if known else table


def _read_row(data: bytes, place: int) -> tuple[Cells, int]:
    """Read the values of a row, from the count of its columns; also give the place behind it."""
    cells: Cells = []
    add = cells.append
    count = data[place] << 8 | data[place + 1]
    place += 2
    for _ in range(count):
        kind = data[place]
        if kind == _TEXT:
            start = place + 5
            place = start + _NUMBER(data, place + 1)[0]
            add(data[start:place])
        elif kind == _NULL:
            add(None)
            place += 1
        elif kind == _SAME:
            add(UNCHANGED)
            place += 1
        else:
            message = f"The log holds a value of an unknown kind: {chr(kind)!r}."
            raise InternalError(message, next_step="Report it with the version of the server.")
    return cells, place
