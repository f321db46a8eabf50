# SPDX-License-Identifier: Apache-2.0
"""A table of MariaDB or MySQL that can be followed by the log; read otherwise, it is like any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ipai_kit.sql.database import Block, Table
from ipai_kit.sql.dialects.mysql import MySQLDatabase
from ipai_kit.sql.snapshot import begin_snapshot, read_snapshot
from tap_jdbc.binlog.followed import FollowedTable
from tap_jdbc.binlog.following import BinlogRun
from tap_jdbc.cdc.logs import POSITION
from tap_jdbc.cdc.shape import DELETED_AT, LSN
from tap_jdbc.cdc.stream import LogBasedStream

__all__ = ["BinlogStream"]


class BinlogStream(LogBasedStream):
    """One table; with LOG_BASED, the first such stream of a run reads for all of them."""

    def _follow(self, streams: Sequence[LogBasedStream]) -> None:
        readable = [one for one in streams if one.may_be_followed()]
        BinlogRun(
            cast("MySQLDatabase", self.database),
            self.config,
            cast("Sequence[FollowedTable]", readable),
            self,
        ).run()

    def show_columns(self, table: Table) -> None:
        """Write SCHEMA, if the log has columns that are not in it."""
        known = {**self.schema.get("properties", {}), **self._logged}
        changed = {
            column.name: dict(column.schema)
            for column in table.columns
            if self.wants(column.name)
            and _essence(known.get(column.name, {})) != _essence(column.schema)
        }
        if changed:
            self._logged.update(changed)
            self._write_schema_message()

    def copy_table(self) -> None:
        """Write the whole table in chunks, or what a former run left of it."""
        self._stream_version = version = self.entry["version"]
        marks = {DELETED_AT: None, LSN: self.entry[POSITION]}

        def emit(block: Block) -> None:
            self.emit(Block(block.count, rows=[{**row, **marks} for row in block.rows]))

        reading = replace(self.reading, emit=emit)
        read_snapshot(reading, begin_snapshot(reading, self.entry, version))
        del self.entry["snapshot"]
        self._activate()

    def write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write records and tombstones."""
        self.emit(Block(len(rows), rows=rows))


def _essence(schema: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a column's schema matters: not its words, and not whether it may be null."""
    kinds = schema.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    return frozenset(kinds - {"null"}), schema.get("format"), schema.get("contentEncoding")
