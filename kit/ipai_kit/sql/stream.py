# SPDX-License-Identifier: Apache-2.0
"""The stream of a table, a view or a query: bytes from the database go to the writer as they are.

Selected columns are what the database is asked for. Only stream maps and dry runs need dicts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import msgspec
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import SchemaMessage
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE, CatalogEntry
from singer_sdk.singerlib.messages import ActivateVersionMessage

from ipai_kit.exceptions import ConnectorError
from ipai_kit.local import LocalStream
from ipai_kit.rest.bookmarks import Bookmarks
from ipai_kit.singer.writer import FastWriter
from ipai_kit.sql.database import Block, Columnar, Database, Selection, Table
from ipai_kit.sql.deletions import KeyReader, KeySet
from ipai_kit.sql.incremental import read_incremental
from ipai_kit.sql.options import StreamOptions
from ipai_kit.sql.reading import Reading
from ipai_kit.sql.snapshot import begin_snapshot, read_snapshot, read_unordered

if TYPE_CHECKING:
    from ipai_kit.tap import ConnectorTap

__all__ = ["DELETED_AT", "SqlStream"]

DELETED_AT = "_sdc_deleted_at"
_decode_lines = msgspec.json.Decoder().decode_lines
_ARROW: Mapping[frozenset[str], str] = {
    frozenset({"integer"}): "int64",
    frozenset({"number"}): "double",
    frozenset({"number", "string"}): "float8",
    frozenset({"boolean"}): "bool",
    frozenset({"string"}): "string",
}
_DELETED_AT_SCHEMA = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "When the row was found missing; null while it exists.",
}


class SqlStream(LocalStream):
    """One table, view or query."""

    def __init__(
        self,
        tap: ConnectorTap,
        name: str,
        table: Table,
        database: Database,
        options: StreamOptions | None = None,
        problem: ConnectorError | None = None,
    ) -> None:
        self.problem = problem  # why it cannot be read, known since discovery
        self.table = table
        self.database = database
        self._keys_due = 0.0
        self._rows_at_state = 0
        self.options = options or StreamOptions()
        super().__init__(tap, schema=self._table_schema(), name=name)
        self.primary_keys = list(self.options.key or table.primary_key)
        self.replication_key = self.options.cursor
        if self.options.replication_method:
            self.forced_replication_method = self.options.replication_method

    def _table_schema(self) -> dict[str, Any]:
        properties = {column.name: dict(column.schema) for column in self.table.columns}
        if self.options.deletes == "compare":
            properties[DELETED_AT] = dict(_DELETED_AT_SCHEMA)
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if self.table.comment:
            schema["description"] = self.table.comment
        return schema

    # -- what singer-sdk asks ---------------------------------------------------------------

    @property
    def emit_activate_version_messages(self) -> bool:
        """Keep singer-sdk from activating a version before its records: we do it after them."""
        return False

    @property
    def _singer_catalog_entry(self) -> CatalogEntry:
        entry = super()._singer_catalog_entry
        entry.is_view = self.table.kind == "view"
        entry.database = self.database.name or None
        entry.table = self.table.name
        entry.row_count = self.table.row_estimate
        entry.metadata.root.schema_name = self.table.schema or None
        return entry

    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        for message in super()._generate_schema_messages():
            if self._as_bytes:  # singer-sdk drops keywords that it does not know
                properties = message.schema.get("properties", {})
                for column in self.table.columns:
                    if column.name in properties:
                        properties[column.name] = {**column.schema, **properties[column.name]}
            yield message

    def get_replication_key_signpost(self, context: Mapping[str, Any] | None = None) -> None:
        """Leave the bound to our bookmarks, which keep no markers in STATE."""
        del context

    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Do nothing: bookmarks are true at any moment."""
        del state

    def log(self, message: str, *args: Any, level: int = logging.DEBUG, **kwargs: Any) -> None:
        """Leave out the SDK's line about an error that the command reports with its cause."""
        if not message.startswith("An unhandled error"):
            super().log(message, *args, level=level, **kwargs)

    def get_records(self, context: Mapping[str, Any] | None) -> Iterable[dict[str, Any]]:
        """Yield the records as dicts, for dry runs."""
        del context
        limit = self.ABORT_AT_RECORD_COUNT
        selection = Selection(self.table, self.columns, where=self.options.where)
        for block in self.database.read(replace(selection, limit=limit and limit + 1)):
            yield from _rows(block)

    def _sync_records(
        self, context: Mapping[str, Any] | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        if self.ABORT_AT_RECORD_COUNT or not write_messages:
            yield from super()._sync_records(context, write_messages=write_messages)
            return
        if not self.selected:
            return
        try:
            self.read()
        except ConnectorError as error:
            error.stream = error.stream or self.name
            self.tap.run.pass_by(self.name, error)
        self.tap.progress.report(self.name, now=True)
        self.tap.run.write_state(now=True)

    # -- reading ----------------------------------------------------------------------------

    @cached_property
    def columns(self) -> Sequence[str]:
        """The selected columns that the table still has; key and cursor always."""
        known = self.effective_schema.get("properties", {})
        needed = {*self.primary_keys, self.replication_key}
        return [
            column.name
            for column in self.table.columns
            if column.name in needed
            or (column.name in known and self.mask.get(("properties", column.name), True))
        ]

    @cached_property
    def entry(self) -> dict[str, Any]:
        """The bookmark, to be changed."""
        return Bookmarks(cast("dict[str, Any]", self.tap.state)).entry(self.name, {})

    @cached_property
    def reading(self) -> Reading:
        """What is read, and how it leaves."""
        return Reading(
            self.database,
            self.table,
            self.columns,
            tuple(self.primary_keys),
            self.options,
            emit=self.emit,
            checkpoint=self.checkpoint,
            pause=self.tap.waiting.sleep,
        )

    def read(self) -> None:
        """Read as the replication method says, and find what is gone."""
        if self.problem:
            raise self.problem
        if self._as_bytes and self._writer.batches:
            self._writer.batches.column_types[self.name] = self._arrow_types()
            self._read_columns()
        if self.config.get("full_refresh"):
            self.entry.clear()
        if self.replication_method == REPLICATION_FULL_TABLE or not self.replication_key:
            self._read_whole()
        else:
            start = self.config.get("start_date")
            read_incremental(
                self.reading, self.entry, self.replication_key, start, self._new_version
            )
        if self._keys is not None:
            self._bury()

    def _read_columns(self) -> None:
        """Have the database give columns where it can, and nothing looks into the records."""
        batches = self._writer.batches
        if not batches or batches.format != "parquet" or self._keys is not None:
            return
        if isinstance(self.database, Columnar):
            found = self.database.in_columns()
            self.reading = replace(self.reading, database=found or self.database)

    @property
    def _new_version(self) -> int:
        return int(self._initialized_at)

    def _read_whole(self) -> None:
        reading = self.reading
        for name in ("replication_key", "replication_key_value", "position"):
            self.entry.pop(name, None)
        versioned = bool(self.config.get("emit_activate_version_messages"))
        if not reading.has_chunks:
            self._stream_version = self._new_version if versioned else None
            read_unordered(reading)
        else:
            mark = begin_snapshot(reading, self.entry, self._new_version)
            self._stream_version = mark["version"] if versioned else None
            read_snapshot(reading, mark)
            del self.entry["snapshot"]
        if self._stream_version is not None:
            for one in self.stream_maps:
                self._writer.write_message(
                    ActivateVersionMessage(one.stream_alias, self._stream_version)
                )

    # -- writing ----------------------------------------------------------------------------

    @cached_property
    def _writer(self) -> FastWriter:
        return cast("FastWriter", self.tap.message_writer)

    @cached_property
    def _as_bytes(self) -> bool:
        """Whether nothing looks into the records: columns left out are not even read."""
        maps = self.stream_maps
        return (
            len(maps) == 1
            and isinstance(maps[0], SameRecordTransform)
            and not maps[0].flattening_enabled
        )

    def emit(self, block: Block) -> None:
        """Write a block of records."""
        self.tap.waiting.check()
        now, version = datetime.now(UTC).isoformat(), self._stream_version
        if self._keys is not None:
            self._keys.update(self._key_reader.keys(block))
        if not self._as_bytes:
            for record in _rows(block):
                self._write_record_message(record)
        elif block.batch is not None:
            self._writer.write_columns(self.name, block.batch, version=version)
        elif block.lines:
            self._writer.write_record_lines(
                self.name, block.lines, block.count, now, version=version
            )
        else:
            self._writer.write_dict_records(self.name, block.rows, now, version=version)
        self.tap.progress.records[self.name] += block.count
        self.tap.progress.report(self.name)

    def _arrow_types(self) -> dict[str, str]:
        """The columns as Arrow types; json where a value has members of its own."""
        found: dict[str, str] = {}
        for name in self.columns:
            column = self.table.column(name)
            kinds = column.schema.get("type", ()) if column else ()
            kinds = {kinds} if isinstance(kinds, str) else set(kinds)
            alias = _ARROW.get(frozenset(kinds - {"null"}), "json")
            is_single = alias == "float8" and column is not None and column.native_type == "real"
            found[name] = "float4" if is_single else alias
        if self.options.deletes == "compare":
            found[DELETED_AT] = "string"
        return found

    def checkpoint(self) -> None:
        """Let STATE leave when some time has passed since the last, and a file is full."""
        batches = self._writer.batches
        written = self.tap.progress.records[self.name]
        if batches and written - self._rows_at_state < batches.rows:
            return
        self._rows_at_state = written
        if self._keys is None:
            self.tap.run.write_state()
            return
        begin = time.monotonic()
        if begin >= self._keys_due:  # STATE never knows of a row without knowing its key
            self.entry["keys"] = self._keys.encode(self.name)
            self.tap.run.write_state(now=True)
            cost = time.monotonic() - begin
            self._keys_due = begin + max(self.tap.state_interval, 50 * cost)

    # -- what is gone -----------------------------------------------------------------------

    @cached_property
    def _keys(self) -> KeySet | None:
        """The keys delivered by former runs and by this one, if deletions are looked for."""
        if self.options.deletes != "compare" or not self.primary_keys:
            return None
        return KeySet(self.entry.get("keys", ""))

    @cached_property
    def _key_reader(self) -> KeyReader:
        return KeyReader(self.primary_keys)

    def _bury(self) -> None:
        """Tell of the rows that were delivered and are not there any more."""
        here, known = KeySet(), self._keys or KeySet()
        reading, reader = self.reading, self._key_reader
        keys = Selection(self.table, reading.key, where=self.options.where)
        for block in self.database.read(keys):
            self.tap.waiting.check()
            here.update(reader.keys(block))
        now, gone = datetime.now(UTC).isoformat(), known.without(here)
        while some := list(islice(gone, 1000)):
            self.emit_tombstones(
                [{**dict(zip(reading.key, key, strict=True)), DELETED_AT: now} for key in some]
            )
        self.entry["keys"] = here.encode(self.name)

    def emit_tombstones(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write records that say that a row is gone."""
        if self._as_bytes:
            now = datetime.now(UTC).isoformat()
            self._writer.write_dict_records(self.name, rows, now, version=self._stream_version)
        else:
            for row in rows:
                self._write_record_message(row)
        self.tap.progress.records[self.name] += len(rows)


def _rows(block: Block) -> Iterable[dict[str, Any]]:
    return block.rows or _decode_lines(block.lines)
