# SPDX-License-Identifier: Apache-2.0
"""Streams that come from a Python iterator: files, databases, anything but a REST API."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from singer_sdk import Stream
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib import SchemaMessage

from ipai_kit.rest.cursors import Cursor
from ipai_kit.rest.reading import needs_dicts
from ipai_kit.singer.batch_files import BatchFolder, HandedFile
from ipai_kit.singer.writer import FastWriter

if TYPE_CHECKING:
    from ipai_kit.tap import ConnectorTap

__all__ = ["LocalStream"]

_CHUNK = 1000


class LocalStream(Stream):
    """A stream whose `get_records(context)` yields dicts, written a thousand at a time.

    State, partitions and everything that looks into records (stream maps, deselected properties,
    `post_process`, child streams, dry runs) work as singer-sdk has them; the plain case is fast.
    """

    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # Bronze lands what was delivered

    @cached_property
    def tap(self) -> ConnectorTap:
        """The tap that runs this stream."""
        return cast("ConnectorTap", self._tap)

    @cached_property
    def _plain(self) -> bool:
        return not (needs_dicts(self) or self.child_streams or self.ABORT_AT_RECORD_COUNT)

    def get_batch_files(
        self, folder: BatchFolder, context: Mapping[str, Any] | None
    ) -> Iterable[HandedFile] | None:
        """Return files that the source writes by itself; None where it gives records.

        Asked when batch files are wanted and nothing looks into records. A file made with
        `folder.create(self.name)` is complete when it has its name.
        """
        del folder, context
        return None

    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        for message in super()._generate_schema_messages():
            message.schema = {**message.schema, "x-ipai": self.tap.annotation}
            yield message

    def get_batch_config(self, config: Mapping[str, Any]) -> None:
        """Keep singer-sdk from making files: the writer does, for every kind of stream."""
        del config

    def _sync_records(
        self, context: Mapping[str, Any] | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        if not (self._plain and self.selected):
            yield from super()._sync_records(context, write_messages=write_messages)
            return
        contexts: list[Mapping[str, Any] | None] = [context]
        if not context and self.partitions:
            contexts = list(self.partitions)
        for one in contexts:
            self._write_starting_replication_value(one)
            self._emit(one)
            if one:
                self._finalize_state(self.get_context_state(one))
        if not context:
            self._finalize_state(self.stream_state)
        self._write_state_message()

    def _emit(self, context: Mapping[str, Any] | None) -> None:
        """Write the records of a partition and move its bookmark; for plain records alone.

        A stream whose records are bytes, or whose STATE is its own, overrides it together with
        `get_records`, which still serves whatever looks into records.
        """
        writer = cast("FastWriter", self.tap.message_writer)
        files = self.get_batch_files(writer.batches, context) if writer.batches else None
        if files is not None:
            self._hand_over(writer, files, context)
            return
        progress, since_state = self.tap.progress, 0
        most = max(self.STATE_MSG_FREQUENCY, writer.batches.rows if writer.batches else 0)
        records = cast("Iterable[dict[str, Any]]", self.get_records(context))
        for chunk in _chunks(records, dict(context or {})):
            self.tap.waiting.check()
            writer.write_dict_records(
                self.name, chunk, datetime.now(UTC).isoformat(), version=self._stream_version
            )
            self.state_manager.is_flushed = False
            self._note_latest(chunk, context)
            progress.records[self.name] += len(chunk)
            progress.report(self.name)
            since_state += len(chunk)
            if since_state >= most:
                since_state = 0
                self._write_state_message()
        progress.report(self.name, now=True)

    def _hand_over(
        self,
        writer: FastWriter,
        files: Iterable[HandedFile],
        context: Mapping[str, Any] | None,
    ) -> None:
        """Pass on whole files, each with the STATE that it reaches."""
        progress = self.tap.progress
        for file in files:
            self.tap.waiting.check()
            writer.write_file(self.name, file, self._stream_version)
            self.state_manager.is_flushed = False
            if file.latest is not None and self.replication_key:
                self._note_latest([{self.replication_key: file.latest}], context)
            progress.records[self.name] += file.records
            progress.report(self.name)
            self._write_state_message()
        progress.report(self.name, now=True)

    def _note_latest(self, chunk: list[dict[str, Any]], context: Mapping[str, Any] | None) -> None:
        key = self.replication_key
        if not key or self.replication_method != "INCREMENTAL":
            return
        values = [row[key] for row in chunk if row.get(key) is not None]
        if values:
            latest = max(values, key=self._cursor.order)
            self._increment_stream_state({key: latest}, context=context)

    @cached_property
    def _cursor(self) -> Cursor:
        return Cursor(self.schema.get("properties", {}).get(self.replication_key))


def _chunks(
    records: Iterable[dict[str, Any]], fields: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """Cut an iterator into lists; the partition's fields are added where a record lacks them."""
    rest = iter(records)
    while chunk := list(islice(rest, _CHUNK)):
        yield [{**fields, **record} for record in chunk] if fields else chunk
