# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL table that can be followed by the log; read otherwise, it is like any table."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import time
from typing import Any, Final, cast

import msgspec
from singer_sdk.singerlib import SchemaMessage
from singer_sdk.singerlib.messages import ActivateVersionMessage

from ipai_kit.exceptions import ConfigurationError, ConnectorError
from ipai_kit.sql.database import Block
from ipai_kit.sql.postgres import PostgresDatabase
from ipai_kit.sql.postgres.catalog import make_column
from ipai_kit.sql.postgres.connection import connect
from ipai_kit.sql.snapshot import begin_snapshot, read_snapshot, read_unordered
from ipai_kit.sql.stream import SqlStream
from ipai_kit.waiting import Waiting
from tap_jdbc.cdc.logs import POSITION, FollowedStream, LogRun, LogSettings
from tap_jdbc.cdc.session import LogSession
from tap_jdbc.cdc.shape import DELETED_AT, LSN, Shape
from tap_jdbc.cdc.slot import check_server

__all__ = ["LogBasedStream", "log_settings"]

_MEMBERS: Final[Mapping[str, Any]] = {
    DELETED_AT: {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "When the row was deleted at its source; null while it exists.",
    },
    LSN: {
        "type": ["integer", "null"],
        "description": "Position in the log of the commit that the record comes from.",
    },
}


class LogBasedStream(SqlStream):
    """One table; with LOG_BASED, the first such stream of a run reads for all of them."""

    @property
    def is_followed(self) -> bool:
        """Whether this run reads the log for it."""
        return self.selected and self.replication_method == "LOG_BASED"

    def _sync_records(
        self, context: Mapping[str, Any] | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        if self.ABORT_AT_RECORD_COUNT or not write_messages or not self.is_followed:
            if self.is_followed:
                self._check_log()
            yield from super()._sync_records(context, write_messages=write_messages)
            return
        followed = [
            one
            for one in self.tap.streams.values()
            if isinstance(one, LogBasedStream) and one.is_followed
        ]
        if followed[0] is not self:
            return
        try:
            self._follow(followed)
        except ConnectorError as error:
            self.tap.run.pass_by(self.name, error)
        for one in followed:
            self.tap.progress.report(one.name, now=True)
        self.tap.run.write_state(now=True)

    def _check_log(self) -> None:
        """Say in a dry run already what keeps the log from being read."""
        session = self._open_session()
        try:
            check_server(session)
        finally:
            session.close()

    def _open_session(self) -> LogSession:
        database = cast("PostgresDatabase", self.database)
        allow_insecure = bool(self.config.get("allow_insecure"))
        return LogSession(connect(database.address, allow_insecure=allow_insecure))

    def _follow(self, streams: Sequence[LogBasedStream]) -> None:
        readable = [one for one in streams if one.may_be_followed()]
        LogRun(
            self._open_session,
            cast("PostgresDatabase", self.database),
            log_settings(self.config),
            cast("Sequence[FollowedStream]", readable),
            self,
        ).run()

    def may_be_followed(self) -> bool:
        """Say whether nothing speaks against it; what does is reported."""
        error = self.problem
        if error is None and self.options.where:
            message = "Option 'where' has no meaning for a log-based stream."
            error = ConfigurationError(message, next_step="Remove it, or filter with stream maps.")
        if error is not None:
            self.pass_by(self.name, error)
        elif self.config.get("full_refresh"):
            self.entry.clear()
        return error is None

    # -- what the run over the log asks -----------------------------------------------------

    @property
    def keys(self) -> Sequence[str]:
        """The key by which rows are told apart."""
        return tuple(self.primary_keys)

    @property
    def delivered_before(self) -> int:
        """Commits before this position were delivered, or are in the copy of the table."""
        return int(self.entry[POSITION])

    @property
    def waiting(self) -> Waiting:
        """The run's clock, and its stop."""
        return self.tap.waiting

    def wants(self, column: str) -> bool:
        """Whether a column is selected; one that the catalog does not know is."""
        return column in self.keys or self.mask.get(("properties", column), True)

    def announce(self, shape: Shape | None) -> None:
        """Write SCHEMA, unless it is known: with the columns as the log has them."""
        if shape is not None:
            known = {**self.schema.get("properties", {}), **self._logged}
            columns = {
                name: dict(make_column(name, kind, nullable=name not in self.keys).schema)
                for name, kind in shape.types.items()
                if shape.names.index(name) in shape.places
            }
            changed = {
                name: schema
                for name, schema in columns.items()
                if _essence(known.get(name, {})) != _essence(schema)
            }
            if not changed:
                return
            self._logged.update(changed)
        self._write_schema_message()

    def start(self, position: int) -> None:
        """Begin with the whole table, as a new generation."""
        version = max(int(time() * 1000), int(self.entry.get("version") or 0) + 1)
        self.entry.clear()
        self.entry.update(
            {"replication_key": LSN, POSITION: position, "version": version, "snapshot": {}}
        )

    def copy_table(self) -> None:
        """Write the whole table in chunks, or what a former run left of it."""
        self._stream_version = version = self.entry["version"]
        extra = b',"%b":null,"%b":%d}\n' % (DELETED_AT.encode(), LSN.encode(), self.entry[POSITION])

        def emit(block: Block) -> None:
            self.emit(Block(block.count, block.lines.replace(b"}\n", extra)))

        reading = replace(self.reading, emit=emit)
        if reading.has_chunks:
            read_snapshot(reading, begin_snapshot(reading, self.entry, version))
        else:
            read_unordered(reading)
        del self.entry["snapshot"]
        self._activate()

    def resume(self) -> None:
        """Name the generation, which a target may not have completed when its run broke off."""
        self._activate()

    def write(self, records: Sequence[bytes]) -> None:
        """Write records and tombstones."""
        block = Block(len(records), b"\n".join(records) + b"\n")
        if self._as_bytes:
            self.emit(block)
            return
        for record in map(msgspec.json.decode, records):
            if record[DELETED_AT]:
                self._write_mapped_tombstone(record)
            else:
                self._write_record_message(record)
        self.tap.progress.records[self.name] += block.count

    def _write_mapped_tombstone(self, record: Mapping[str, Any]) -> None:
        """Map a tombstone as if all its columns were null, and leave out what is null then."""
        whole = {**dict.fromkeys(self.columns), **record}
        now = datetime.now(UTC).isoformat()
        for one in self.stream_maps:
            mapped = one.transform(dict(whole))
            if mapped is not None:
                members = {name: value for name, value in mapped.items() if value is not None}
                self._writer.write_dict_records(
                    one.stream_alias, [members], now, version=self._stream_version
                )

    def truncate(self) -> None:
        """Begin a generation, so that the target retires everything that is not delivered again."""
        self.entry["version"] = max(int(time() * 1000), self.entry["version"] + 1)
        self._activate()

    def _activate(self) -> None:
        self._stream_version = self.entry["version"]
        for one in self.stream_maps:
            self._writer.write_message(
                ActivateVersionMessage(one.stream_alias, self.entry["version"])
            )

    def write_state(self, *, now: bool = False) -> None:
        """Let STATE leave."""
        self.tap.run.write_state(now=now)

    def pass_by(self, stream: str, error: ConnectorError) -> None:
        """Go on without a stream."""
        self.tap.run.pass_by(stream, error)

    def note(self, name: str, **fields: Any) -> None:
        """Write an event."""
        self.tap.progress.note(name, **fields)

    # -- SCHEMA -----------------------------------------------------------------------------

    @property
    def _logged(self) -> dict[str, Any]:
        """Columns as the log had them, where that differs from the catalog."""
        found: dict[str, Any] = self.__dict__.setdefault("_logged_columns", {})
        return found

    def _write_schema_message(self) -> None:
        """Write SCHEMA, for a followed stream only when it is not what was written last."""
        messages = [message.to_dict() for message in self._generate_schema_messages()]
        if not self.is_followed or messages != self.__dict__.get("_announced"):
            self.__dict__["_announced"] = messages
            super()._write_schema_message()

    def _generate_schema_messages(self) -> Generator[SchemaMessage, None, None]:
        for message in super()._generate_schema_messages():
            if self.is_followed:
                properties = {**message.schema["properties"], **self._logged, **_MEMBERS}
                message.schema = {**message.schema, "properties": properties}
                message.bookmark_properties = [LSN]
            yield message


def log_settings(config: Mapping[str, Any]) -> LogSettings:
    """Return what the configuration says."""
    known = {
        "slot": config.get("cdc_slot"),
        "publication": config.get("cdc_publication"),
        "page_changes": config.get("cdc_page_changes"),
    }
    return LogSettings(**{name: value for name, value in known.items() if value})


def _essence(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a column's schema matters: not its words, and not whether it may be null."""
    kinds = schema.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    rest = {name: schema[name] for name in ("format", "contentEncoding", "items") if name in schema}
    return {**rest, "type": kinds - {"null"}}
