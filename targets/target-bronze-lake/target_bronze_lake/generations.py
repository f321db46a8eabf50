# SPDX-License-Identifier: Apache-2.0
"""Full-table generations in a table that is only appended to: what is gone gets a tombstone.

Every row says which generation delivered it. When one is complete, each key of the instance whose
newest row is alive, and that the generation did not deliver, gets a row without a record that is
newer than its last one. Keys are looked at in groups, so that memory does not grow with the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.row_format import LakeRows, landing_micros, plain_values, strings

_COLUMNS: Final = [
    *("instance_id", "record_key", "cursor", "emitted_at"),
    *("loaded_at", "position", "deleted_at", "generation"),
]
_RANK: Final = ("record_key", "rank", "emitted_at", "loaded_at", "position")
_GROUP_ROWS: Final = 500_000
_TELLING_CHARACTER: Final = slice(-3, -2)
"""A key is a JSON array such as [123] or ["abc"]: this is a digit or a letter that varies."""


@dataclass(frozen=True)
class Tombstone:
    """A key to retire, with the rank of its last row."""

    key: bytes
    emitted: int
    """Microseconds since 1970."""
    cursor: str | None


def retired_keys(
    table: LakeTable,
    instance_id: str,
    version: int,
    arriving: list[pa.RecordBatch],
    delivered: set[bytes],
) -> Iterator[Tombstone]:
    """Keys of an instance that are alive and that a generation did not deliver.

    `arriving` are rows of the same commit, `delivered` keys that may have no row at all.
    """
    files = _files_of(table, instance_id)
    total = sum(file.rows for file in files) + sum(batch.num_rows for batch in arriving)
    groups = _groups(total)
    for group in range(groups):
        parts = [
            _of_group(batch, instance_id, group, groups)
            for batch in _all_batches(table, files, arriving)
        ]
        if parts:
            yield from _retired(pa.Table.from_batches(parts), version, delivered)


def newest_cursors(table: LakeTable, instance_id: str, keys: set[bytes]) -> dict[bytes, str]:
    """The greatest cursor that an instance has for each of some keys."""
    wanted = strings(list(keys))
    found: dict[bytes, str] = {}
    for batch in _all_batches(table, _files_of(table, instance_id), []):
        mine = pc.equal(batch.column("instance_id"), strings([instance_id.encode()])[0])
        rows = batch.filter(pc.and_(mine, pc.is_in(batch.column("record_key"), value_set=wanted)))
        names = ("record_key", "cursor")
        for name, cursor in zip(*(plain_values(rows.column(one)) for one in names), strict=True):
            if cursor is not None:
                found[name.encode()] = max(cursor, found.get(name.encode(), ""))
    return found


def _files_of(table: LakeTable, instance_id: str) -> list[Any]:
    return [file for file in table.log.files() if _may_hold(file, instance_id)]


def _groups(total: int) -> int:
    """How many groups keep each within bounds; one character of a key tells them apart."""
    return min(10, -(-total // _GROUP_ROWS)) or 1


def _all_batches(
    table: LakeTable, files: list[Any], arriving: list[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from table.read(file, _COLUMNS)
    for batch in arriving:
        columns = [batch.column(name) for name in _COLUMNS]
        columns[0] = columns[0].cast(pa.string())
        yield pa.RecordBatch.from_arrays(columns, _COLUMNS)


def _of_group(batch: pa.RecordBatch, instance_id: str, group: int, groups: int) -> pa.RecordBatch:
    plain = pa.RecordBatch.from_arrays([batch.column(name) for name in _COLUMNS], _COLUMNS)
    mask = pc.equal(plain.column("instance_id"), strings([instance_id.encode()])[0])
    if groups > 1:
        ends = pc.utf8_slice_codeunits(
            plain.column("record_key"), _TELLING_CHARACTER.start, _TELLING_CHARACTER.stop
        )
        mine = strings([chr(code).encode() for code in range(128) if code % groups == group])
        wanted = pc.is_in(ends, value_set=mine)
        if group == 0:  # and every character beyond ASCII
            ascii_ends = strings([chr(code).encode() for code in range(128)])
            wanted = pc.or_(wanted, pc.invert(pc.is_in(ends, value_set=ascii_ends)))
        mask = pc.and_(mask, wanted)
    return plain.filter(mask)


def _retired(rows: pa.Table, version: int, delivered: set[bytes]) -> Iterator[Tombstone]:
    keys = rows["record_key"]
    seen = keys.filter(pc.fill_null(pc.equal(rows["generation"], version), False))
    unseen = pc.invert(pc.is_in(keys, value_set=pc.unique(seen)))
    if delivered:
        unseen = pc.and_(unseen, pc.invert(pc.is_in(keys, value_set=strings(list(delivered)))))
    left = rows.filter(unseen)
    if not left.num_rows:
        return
    left = left.append_column("rank", pc.fill_null(left["cursor"], ""))
    left = left.sort_by([(name, "ascending") for name in _RANK]).combine_chunks()
    names = left["record_key"]
    is_last = pa.chunked_array(
        [*pc.not_equal(names[:-1], names[1:]).chunks, pc.is_valid(names[-1:]).combine_chunks()]
    )
    newest = left.filter(is_last)
    alive = newest.filter(pc.is_null(newest["deleted_at"]))
    for batch in alive.to_batches():
        names = ("record_key", "emitted_at", "cursor")
        for values in zip(*(plain_values(batch.column(name)) for name in names), strict=True):
            key, emitted, cursor = values
            yield Tombstone(key.encode(), emitted, cursor)


def tombstone_rows(tombstones: list[Tombstone], now: int, first: int) -> LakeRows:
    """Rows that win over the last row of each key; they stand behind the rows of their commit."""
    rows: list[Any] = [
        (stone.key, None, landing_micros(max(now, stone.emitted)), stone.cursor, b"")
        for stone in tombstones
    ]
    return LakeRows(rows, range(first, first + len(rows)), deleted_at=now)


def _may_hold(file: Any, instance_id: str) -> bool:
    bounds = file.bounds.get("instance_id")
    return bounds is None or bounds.low <= instance_id <= bounds.high
