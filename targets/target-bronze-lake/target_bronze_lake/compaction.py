# SPDX-License-Identifier: Apache-2.0
"""Small files of a day become few large ones; what they replace stays until it is vacuumed."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]

from target_bronze_lake.data_file import DataFile
from target_bronze_lake.lake_table import Attempt, LakeTable
from target_bronze_lake.table_log import Commit, CommitConflictError

_GROUP_ROWS: Final = 122_880
_GROUP_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class Compaction:
    """What compacting a table did."""

    table: str
    replaced: int
    written: int


def small_files(files: Sequence[DataFile], target_bytes: int) -> dict[str, list[DataFile]]:
    """Files of each day that are worth joining with others."""
    days: dict[str, list[DataFile]] = defaultdict(list)
    for file in files:
        if file.size < target_bytes // 2:
            days[file.day].append(file)
    return {day: found for day, found in sorted(days.items()) if len(found) > 1}


def once(work: Callable[[], bool]) -> bool:
    """Try a piece of work a single time."""
    return work()


def compact(
    table: LakeTable,
    target_bytes: int,
    *,
    at_least: int = 2,
    attempt: Callable[[Callable[[], bool]], bool] = once,
) -> Compaction:
    """Join the small files of each day that has at least so many; others may go on appending.

    Each file that is made is a commit, and what was committed is not done again: who tries a piece
    of work more than once, or is killed, loses that piece only.
    """
    days = small_files(table.log.files(), target_bytes)
    replaced = written = 0
    for day, files in days.items():
        if len(files) < at_least:
            continue
        for group in _groups(files, target_bytes):
            if attempt(partial(_join, table, day, group)):
                replaced, written = replaced + len(group), written + 1
    return Compaction(table.path, replaced, written)


def _join(table: LakeTable, day: str, files: list[DataFile]) -> bool:
    """Replace files by one of all their rows, unless somebody else has done so."""
    new = table.write(day, _row_groups(table, files))
    try:
        _replace(table, files, new)
    except CommitConflictError:  # any other error may hide a commit that got through
        table.discard([new])
        return False
    return True


def _groups(files: list[DataFile], target_bytes: int) -> Iterator[list[DataFile]]:
    """Neighbours in time that together are about as large as wanted."""
    group: list[DataFile] = []
    size = 0
    for file in files:
        if group and size + file.size > target_bytes:
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if len(group) > 1:
        yield group


def _row_groups(table: LakeTable, files: list[DataFile]) -> Iterator[pa.RecordBatch]:
    """Their rows in row groups of a sensible size."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for file in files:
        for batch in table.read(file, table.shape.schema.names):
            count, length = batch.num_rows, batch.nbytes
            if waiting and (rows + count > _GROUP_ROWS or size + length > _GROUP_BYTES):
                yield _joined(table, waiting)
                rows = size = 0
            waiting.append(batch)
            rows, size = rows + count, size + length
            del batch  # a large record is written before another one is read
            if size > _GROUP_BYTES:
                yield _joined(table, waiting)
                rows = size = 0
    if waiting:
        yield _joined(table, waiting)


def _joined(table: LakeTable, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """All of them as one, in whose place they are given up."""
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    batches.clear()
    pa.default_memory_pool().release_unused()
    columns = [
        column.dictionary_encode() if pa.types.is_dictionary(field.type) else column
        for column, field in zip(whole.columns, table.shape.schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.shape.schema)


def _replace(table: LakeTable, old: list[DataFile], new: DataFile) -> None:
    """Commit, again after others did, as long as nobody else replaced the same files."""
    attempt = Attempt()
    paths = frozenset(file.path for file in old)
    while True:
        try:
            table.log.commit(Commit((new,), {}, attempt.flush_id, paths))
        except CommitConflictError:
            table.log.refresh()
            if table.log.holds_flush(attempt.flush_id):
                return
            if not paths <= {file.path for file in table.log.files()}:
                raise
        else:
            return
