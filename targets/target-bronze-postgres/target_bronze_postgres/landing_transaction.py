# SPDX-License-Identifier: Apache-2.0
"""One transaction: the rows of every stream of a batch, its dead letters, its retired generations.

New rows are copied straight into the table. Whether a row is new, changed or the same is asked
first, by key and hash alone, so that a record that is already there is neither sent nor written.
The first load of an empty table does not even ask.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter, not_
from typing import Any, Final

from ipai_kit.bronze import Row
from ipai_kit.landing.batch import FlushBatch, StreamBatch, StreamReport, ascend
from ipai_kit.landing.tombstones import is_tombstone
from target_bronze_postgres.binary import (
    bigint_array,
    copy_chunks,
    text_array,
    timestamp_array,
)
from target_bronze_postgres.dead_letters import bury
from target_bronze_postgres.generation_store import GenerationStore
from target_bronze_postgres.settings import Settings
from target_bronze_postgres.statements import statement
from target_bronze_postgres.tables import BronzeTable, Connection, TableName, table_name

_UPDATE_ROWS: Final = 2_000
_UPDATE_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True)
class Landing:
    """Writes batches within an open transaction."""

    connection: Connection
    settings: Settings
    tables: Mapping[TableName, BronzeTable]
    may_copy: bool = True

    def write(self, batch: FlushBatch) -> list[StreamReport]:
        """Write everything; the caller commits."""
        self.connection.execute(statement("transaction_settings"))
        reports = [self._write_stream(stream) for stream in batch.streams.values()]
        if batch.dead_letters:
            bury(
                self.connection,
                batch.dead_letters,
                instance_id=self.settings.instance_id,
                run_id=self.settings.run_id,
            )
        return reports

    def _write_stream(self, stream: StreamBatch) -> StreamReport:
        started = time.monotonic()
        table = self.tables[table_name(stream.plan)]
        rows = in_order(stream)
        inserted = updated = retired = 0
        if rows and (table.is_first_load or stream.keeps_every_version):
            inserted = self._insert(table, stream, rows)
        elif rows:
            inserted, updated = self._merge(table, stream, rows)
        if not stream.keeps_every_version:
            generations = GenerationStore(self.connection, self.settings)
            generations.remember(table, stream)
            if stream.complete_version is not None:
                retired = generations.complete(table, stream, stream.complete_version)
        return StreamReport(
            stream=stream.plan.stream,
            received=stream.received,
            inserted=inserted,
            updated=updated,
            dead=stream.dead,
            retired=retired,
            size=stream.size,
            seconds=time.monotonic() - started,
        )

    def _merge(
        self, table: BronzeTable, stream: StreamBatch, rows: Sequence[Row]
    ) -> tuple[int, int]:
        states = self._probe(table, rows)
        new = [row for row, state in zip(rows, states, strict=True) if state == "n"]
        changed = [row for row, state in zip(rows, states, strict=True) if state == "c"]
        inserted = self._insert(table, stream, new) if new else 0
        alive, dead = divide(stream, changed)
        updated = sum(self._update("update_rows", table, stream, part) for part in portions(alive))
        updated += sum(self._update("mark_deleted", table, stream, part) for part in portions(dead))
        return inserted, updated

    def _probe(self, table: BronzeTable, rows: Sequence[Row]) -> str:
        values = {
            "keys": text_array([row[0] for row in rows]),
            "hashes": bigint_array((row[4] for row in rows), len(rows)),
            "instance_id": self.settings.instance_id,
        }
        query = statement("probe", table=table.name.identifier)
        row = self.connection.execute(query, values).fetchone()
        return str(row[0]) if row else ""

    def _insert(self, table: BronzeTable, stream: StreamBatch, rows: Sequence[Row]) -> int:
        alive, dead = divide(stream, rows)
        if self.may_copy:
            self._copy(table, stream, alive)
        else:
            self._insert_slowly("insert_rows", table, stream, alive)
        self._insert_slowly("insert_tombstones", table, stream, dead)
        return len(rows)

    def _insert_slowly(
        self, name: str, table: BronzeTable, stream: StreamBatch, rows: Sequence[Row]
    ) -> None:
        query = statement(name, table=table.name.identifier)
        for part in portions(rows):
            self.connection.execute(query, self._columns(stream, part))

    def _copy(self, table: BronzeTable, stream: StreamBatch, rows: Sequence[Row]) -> None:
        if not rows:
            return
        chunks = copy_chunks(
            rows,
            instance_id=self.settings.instance_id,
            source=stream.plan.source,
            stream=stream.plan.stream,
            run_id=self.settings.run_id,
        )
        with (
            self.connection.cursor() as cursor,
            cursor.copy(statement("copy_rows", table=table.name.identifier)) as copy,
        ):
            for chunk in chunks:
                copy.write(chunk)

    def _update(
        self, name: str, table: BronzeTable, stream: StreamBatch, rows: Sequence[Row]
    ) -> int:
        has_cursor = stream.plan.cursor_property is not None
        values = {**self._columns(stream, rows), "has_cursor": has_cursor}
        query = statement(name, table=table.name.identifier)
        return self.connection.execute(query, values).rowcount

    def _columns(self, stream: StreamBatch, rows: Sequence[Row]) -> dict[str, Any]:
        """The rows column by column, each an array."""
        return {
            "keys": text_array([row[0] for row in rows]),
            "records": text_array([row[1] for row in rows]),
            "emitted": timestamp_array((row[2] for row in rows), len(rows)),
            "cursors": text_array([row[3] for row in rows]),
            "hashes": bigint_array((row[4] for row in rows), len(rows)),
            "instance_id": self.settings.instance_id,
            "run_id": self.settings.run_id,
            "source": stream.plan.source,
            "stream": stream.plan.stream,
        }


def divide(stream: StreamBatch, rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Rows that are there, and rows that say that they are gone."""
    if not stream.plan.marks_deletions:
        return rows, ()
    dead = [is_tombstone(row[1]) for row in rows]
    return list(compress(rows, map(not_, dead))), list(compress(rows, dead))


def in_order(stream: StreamBatch) -> list[Row]:
    """Rows by key: neighbours in the index are found and added together.

    Random keys cost the server a quarter less this way, and two targets that write the same keys
    wait for each other instead of ending in a deadlock. Numbers that ascend stay as they came: the
    index takes them as well, and sorting them as texts would cost more than all else done to a row.
    """
    rows = stream.to_write()
    if rows is stream.versions or ascend(rows):  # as delivered, for they ascend or are all kept
        return rows
    return sorted(rows, key=itemgetter(0))


def portions(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Slices small enough to be one parameter; a single huge row is a slice of its own."""
    part: list[Row] = []
    size = 0
    for row in rows:
        if part and (len(part) >= _UPDATE_ROWS or size + len(row[1]) > _UPDATE_BYTES):
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row[1])
    if part:
        yield part
