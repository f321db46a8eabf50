# SPDX-License-Identifier: Apache-2.0
"""Drops what a killed run had committed already and its successor delivers again.

A run that was killed between a commit and the storing of its STATE is repeated from an older STATE.
Which rows that concerns nobody tells the target, so it looks at the rows that its instance
committed last. A record is left out when the newest version of its (key, cursor) among them has the
same bytes and the same generation; leaving it out cannot change what a newest-wins reader sees.
Keys are compared by hash, records by the hash of their bytes, read only once a key has matched.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]

from target_bronze_lake.data_file import DataFile
from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.row_format import LakeRows, integers, plain_values

WINDOW_ROWS: Final = 150_000
"""Three full flushes: the one in doubt, the one whose STATE may not be stored, and one more."""

_COLUMNS: Final = [
    *("instance_id", "record_key", "cursor", "emitted_at"),
    *("loaded_at", "generation", "position"),
]
_TAKEN: Final = (*_COLUMNS[:-2], "at")
_SLICE_ROWS: Final = 4096
_RECORDS: Final = 512
_CHANGED: Final = -1
_NEVER: Final = -(1 << 62)


@dataclass
class ReplayWindow:
    """The rows that an instance committed last, until the run has brought as many new ones."""

    table: LakeTable
    instance_id: str
    newest_load: int = 0
    """When the newest row of the whole table was loaded, in microseconds since 1970."""
    _newest: dict[int, int] = field(default_factory=dict)
    _files: list[DataFile] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _generations: pa.ChunkedArray | None = None
    _records: dict[int, list[int]] = field(default_factory=dict)
    _rows_left: int = 0

    def load(self) -> None:
        """Look at the newest files; nothing of a record is read yet."""
        files = sorted(self.table.log.files(), key=_loaded, reverse=True)
        self.newest_load = _loaded(files[0]) if files else 0
        mine = [file for file in files if _may_hold(file, self.instance_id)]
        rows, count = 0, 0
        for file in mine:
            if rows + file.rows > WINDOW_ROWS:
                break
            rows, count = rows + file.rows, count + 1
        self._files, outside = mine[:count], mine[count:]
        self._rows_left = rows
        if self._files:
            self._fill(outside)

    @property
    def held(self) -> int:
        """How many (key, cursor) are in memory."""
        return len(self._newest)

    def unknown(self, rows: LakeRows) -> LakeRows:
        """The rows that are not there yet."""
        if not self._newest:
            return rows
        generations = rows.generations
        wanted = [
            index
            for index, row in enumerate(rows.rows)
            if not self._knows(row, generations[index] if generations else None)
        ]
        self._rows_left -= len(wanted)
        if self._rows_left <= 0:
            self.forget()
        return rows.take(wanted)

    def _knows(self, row: Any, generation: int | None) -> bool:
        place = hash((row[0], row[3]))
        at = self._newest.get(place)
        if at is None:
            return False
        if at != _CHANGED and self._is_same(at, row[1], generation):
            return True
        self._newest[place] = _CHANGED
        return False

    def _is_same(self, at: int, record: bytes, generation: int | None) -> bool:
        if self._generations is None or self._generations[at].as_py() != generation:
            return False
        number = bisect_right(self._starts, at) - 1
        if number not in self._records:
            try:
                self._records[number] = self._hashes(self._files[number])
            except FileNotFoundError:  # compacted and vacuumed since: nobody can say any more
                self.forget()
                return False
        return self._records[number][at - self._starts[number]] == hash(bytes(record))

    def _hashes(self, file: DataFile) -> list[int]:
        return [
            hash(None if record is None else record.encode())
            for batch in self.table.read(file, ["record"], _RECORDS)
            for record in batch.column(0).to_pylist()
        ]

    def _fill(self, outside: list[DataFile]) -> None:
        """Remember where the newest row of each (key, cursor) is, if no other row can beat it."""
        batches: list[pa.RecordBatch] = []
        for file in self._files:
            self._starts.append(sum(batch.num_rows for batch in batches))
            batches += self.table.read(file, _COLUMNS)
        found = pa.Table.from_batches(batches)
        self._generations = found["generation"]
        found = found.append_column("at", integers(range(found.num_rows), pa.int64()))
        latest_outside = (
            max(map(_emitted, outside), default=_NEVER),
            max(map(_loaded, outside), default=_NEVER),
        )
        order = [(name, "ascending") for name in ("emitted_at", "loaded_at", "position")]
        for batch in found.sort_by(order).to_batches(max_chunksize=_SLICE_ROWS):
            self._take(batch, latest_outside)

    def _take(self, batch: pa.RecordBatch, latest_outside: tuple[int, int]) -> None:
        owners, keys, cursors, emitted, loaded, places = (
            plain_values(batch.column(name)) for name in _TAKEN
        )
        for index, owner in enumerate(owners):
            if owner != self.instance_id:
                continue
            is_last = (emitted[index], loaded[index]) > latest_outside
            place = hash((keys[index].encode(), cursors[index]))
            self._newest[place] = places[index] if is_last else _CHANGED

    def forget(self) -> None:
        """Give the memory back: whatever comes now is taken as new."""
        self._newest, self._records, self._generations = {}, {}, None


def _may_hold(file: DataFile, instance_id: str) -> bool:
    bounds = file.bounds.get("instance_id")
    return bounds is None or bounds.low <= instance_id <= bounds.high


def _loaded(file: DataFile) -> int:
    return _high(file, "loaded_at")


def _emitted(file: DataFile) -> int:
    return _high(file, "emitted_at")


def _high(file: DataFile, column: str) -> int:
    """The latest time in a column; a file that does not say may hold any."""
    bounds = file.bounds.get(column)
    return (1 << 62) if bounds is None else int(bounds.high)
