# SPDX-License-Identifier: Apache-2.0
"""The tap: settings come from `connector.yaml`, streams from the database's own catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from singer_sdk import Stream

from ipai_kit.exceptions import ConfigurationError, ConnectorError, StreamUnavailableError
from ipai_kit.logs import protect
from ipai_kit.rest.pages import Page
from ipai_kit.rest.prefetch import Fetcher
from ipai_kit.sql.address import hidden
from ipai_kit.sql.database import Database, Table
from ipai_kit.sql.opening import open_database
from ipai_kit.sql.options import StreamOptions, read_lookback
from ipai_kit.sql.stream import SqlStream
from ipai_kit.tap import ConnectorTap

__all__ = ["TapJdbc"]


class TapJdbc(ConnectorTap):
    """Singer tap for SQL databases."""

    state_interval: ClassVar[float] = 1.0

    @cached_property
    def database(self) -> Database:
        """The connection that discovery and serial reading use."""
        return open_database(self.config, self.waiting.check)

    def discover_streams(self) -> Sequence[Stream]:
        """Return a stream for each table, view and query that the settings want."""
        try:
            streams = [*self._queries(), *self._tables()]
        finally:
            self.database.close()  # a catalog may be all that is wanted
        return [*streams, *self._missing({stream.name for stream in streams})]

    def _sync_with(self, fetcher: Fetcher[Page]) -> None:
        try:
            super()._sync_with(fetcher)
        finally:
            self.database.close()

    # -- settings ---------------------------------------------------------------------------

    @cached_property
    def _said(self) -> Mapping[str, Mapping[str, Any]]:
        said = self.config.get("streams") or {}
        for name, raw in said.items():
            if not isinstance(raw, Mapping):
                message = f"Setting 'streams' has no object for {name!r}: {raw!r}."
                raise ConfigurationError(message, next_step="Write e.g. {cursor: updated_at}.")
        return dict(said)

    @property
    def _wants_tables(self) -> bool:
        """Queries alone need no catalog: they are all there is, unless tables are named."""
        named = self.config.get("tables") or self.config.get("schemas")
        return bool(named) or not any(raw.get("sql") for raw in self._said.values())

    @property
    def _patterns(self) -> list[str]:
        tables = list(self.config.get("tables") or ())
        schemas = list(self.config.get("schemas") or ())
        if not schemas:
            return tables
        wanted = [one for one in tables if not one.startswith("!")] or ["*"]
        within = [one if "." in one else f"{schema}.{one}" for schema in schemas for one in wanted]
        return [*dict.fromkeys(within), *(one for one in tables if one.startswith("!"))]

    @cached_property
    def _defaults(self) -> StreamOptions:
        names = ("replication_method", "chunk_rows", "parallel", "deletes", "lookback")
        given = {name: self.config[name] for name in names if self.config.get(name)}
        return StreamOptions().overridden("all streams", given)

    def _options(self, name: str, table: Table, raw: Mapping[str, Any]) -> StreamOptions:
        known = {column.name for column in table.columns if column.sortable}
        columns = self.config.get("cursor_columns") or ()
        cursor = next((one for one in columns if one in known), None)
        return self._defaults.overridden(name, {"cursor": cursor, **raw})

    # -- streams ----------------------------------------------------------------------------

    def _queries(self) -> list[SqlStream]:
        return [self._query(name, raw) for name, raw in self._said.items() if raw.get("sql")]

    def _tables(self) -> list[SqlStream]:
        if not self._wants_tables:
            return []
        streams = []
        tables = self.database.tables(self._patterns)
        taken = Counter(map(stream_name, tables))
        taken.update(name for name, raw in self._said.items() if raw.get("sql"))
        for table in tables:
            name = stream_name(table)
            if taken[name] > 1:  # "a"."b-c" and "a-b"."c" are two tables
                name = table.full_name
            raw = self._said.get(name) or self._said.get(table.full_name) or {}
            streams.append(self._table(name, table, raw))
        return streams

    def _table(self, name: str, table: Table, raw: Mapping[str, Any]) -> SqlStream:
        options = self._options(name, table, raw)
        problem = (
            _wrong_key(name, table, options) if table.readable else _not_permitted(name, table)
        )
        return self._table_type(table)(self, name, table, self.database, options, problem)

    def _table_type(self, table: Table) -> type[SqlStream]:
        if table.replica_identity == "binlog":
            from tap_jdbc.binlog.stream import BinlogStream  # the driver is an extra

            return BinlogStream
        if table.kind == "table" and table.replica_identity:
            from tap_jdbc.cdc.stream import LogBasedStream  # only PostgreSQL needs its driver

            return LogBasedStream
        return SqlStream

    def _query(self, name: str, raw: Mapping[str, Any]) -> SqlStream:
        problem: ConnectorError | None = None
        table = Table("", name, (), kind="query", sql=str(raw["sql"]).rstrip().rstrip(";"))
        try:
            table = self.database.describe("", name, table.sql)
        except (ConfigurationError, StreamUnavailableError) as error:
            problem = error  # the other streams go on
        options = self._options(name, table, raw)
        problem = problem or _wrong_key(name, table, options)
        return SqlStream(self, name, table, self.database, options, problem)

    def _missing(self, found: set[str]) -> list[SqlStream]:
        """What the catalog of this run selects and the database does not have any more."""
        selected = [
            name
            for name, entry in (self.input_catalog or {}).items()
            if name not in found and entry.metadata.resolve_selection().get((), False)
        ]
        return [
            SqlStream(self, name, Table("", name, ()), self.database, problem=_gone(name))
            for name in selected
        ]

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        protect(*hidden(str(self.config.get("url") or "")))
        if self.config.get("lookback"):
            read_lookback("all streams", self.config["lookback"])
        return super()._validate_config(raise_errors=raise_errors)


def stream_name(table: Table) -> str:
    """The name of a table's stream, as other database taps make it."""
    return f"{table.schema}-{table.name}" if table.schema else table.name


def _not_permitted(name: str, table: Table) -> StreamUnavailableError:
    return StreamUnavailableError(
        f"The user may not read {table.full_name!r}.",
        stream=name,
        next_step="Grant select on it, and usage on its schema.",
    )


def _wrong_key(name: str, table: Table, options: StreamOptions) -> ConfigurationError | None:
    missing = [key for key in options.key if table.column(key) is None]
    if not missing:
        return None
    return ConfigurationError(
        f"The key {missing[0]!r} of {name!r} is none of its columns.",
        stream=name,
        next_step="Correct 'key' in the setting 'streams'.",
    )


def _gone(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"The stream {name!r} is selected, but there is no such table, or it is hidden.",
        stream=name,
        next_step="Run discovery again, or deselect it.",
    )


if __name__ == "__main__":
    TapJdbc.cli()
