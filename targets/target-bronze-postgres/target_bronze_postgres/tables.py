# SPDX-License-Identifier: Apache-2.0
"""Bronze tables: found or created, race-safe, by a role that may be no superuser."""

from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from ipai_kit.bronze import StreamPlan
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.place import bronze_place
from target_bronze_postgres.statements import statement

Connection = psycopg.Connection[tuple[Any, ...]]

CONTRACT: Final = {
    "instance_id": "text",
    "record_key": "text",
    "record": "jsonb",
    "emitted_at": "timestamp with time zone",
    "source": "text",
    "stream": "text",
    "cursor": "text",
    "run_id": "text",
    "loaded_at": "timestamp with time zone",
    "deleted_at": "timestamp with time zone",
    "record_hash": "bigint",
}


@dataclass(frozen=True)
class TableName:
    """Schema and table of a stream."""

    schema: str
    table: str

    @property
    def identifier(self) -> sql.Identifier:
        """Quoted for a statement."""
        return sql.Identifier(self.schema, self.table)

    @property
    def quoted(self) -> str:
        """Quoted for to_regclass."""
        return f'"{self.schema}"."{self.table}"'


@dataclass
class BronzeTable:
    """A table that is ready to be written to."""

    name: TableName
    is_first_load: bool
    has_generations: bool = False


@dataclass(frozen=True)
class ServerFacts:
    """What the server can do."""

    has_lz4: bool
    role: str


def table_name(plan: StreamPlan) -> TableName:
    """Where the rows of a stream go."""
    place = bronze_place(plan)
    return TableName(place.schema, place.table)


def server_facts(connection: Connection) -> ServerFacts:
    """Ask once; refuse a database whose encoding cannot hold every text."""
    row = connection.execute(statement("server_facts")).fetchone()
    encoding, role, has_lz4 = row or ("", "", False)
    if encoding != "UTF8":
        message = f"The database is encoded in {encoding!r}, which cannot hold every record."
        raise ConfigurationError(message, next_step="Create the database with ENCODING 'UTF8'.")
    return ServerFacts(has_lz4=has_lz4, role=role)


def open_table(
    connection: Connection,
    plan: StreamPlan,
    facts: ServerFacts,
    *,
    instance_id: str,
    keeps_every_version: bool,
) -> BronzeTable:
    """The stream's table, created where it is missing."""
    name = table_name(plan)
    columns = _columns(connection, name)
    if not columns:
        _create(connection, plan, name, facts, keeps_every_version=keeps_every_version)
        columns = _columns(connection, name)
    _check_columns(name, columns)
    _check_key(connection, name, keeps_every_version=keeps_every_version)
    _check_owner(connection, name, plan)
    held = connection.execute(
        statement("holds_instance", table=name.identifier), {"instance_id": instance_id}
    ).fetchone()
    return BronzeTable(name, is_first_load=held is not None and not held[0])


def ensure_schema(connection: Connection, schema: str) -> None:
    """Create a schema unless it is there; needs no right to create when it is."""
    row = connection.execute(statement("schema_exists"), {"schema": f'"{schema}"'}).fetchone()
    if row and not row[0]:
        connection.execute(statement("create_schema", schema=sql.Identifier(schema)))


def table_exists(connection: Connection, name: TableName) -> bool:
    """Asked before creating: `if not exists` wants the right to create even where it is there."""
    row = connection.execute(statement("table_exists"), {"table": name.quoted}).fetchone()
    return bool(row and row[0])


def _create(
    connection: Connection,
    plan: StreamPlan,
    name: TableName,
    facts: ServerFacts,
    *,
    keeps_every_version: bool,
) -> None:
    key = "" if keeps_every_version else ", primary key (instance_id, record_key)"
    comment = f"Bronze: records of stream {plan.stream!r} of source {plan.source!r} as delivered."
    with connection.transaction():
        connection.execute(statement("lock_definitions"))
        if _columns(connection, name):
            return
        ensure_schema(connection, name.schema)
        create = statement(
            "create_table",
            table=name.identifier,
            compression=sql.SQL("compression lz4" if facts.has_lz4 else ""),
            primary_key=sql.SQL(key),
        )
        connection.execute(create)
        connection.execute(statement("spare_statistics", table=name.identifier))
        connection.execute(
            statement("comment_table", table=name.identifier, comment=sql.Literal(comment))
        )


def _columns(connection: Connection, name: TableName) -> dict[str, str]:
    rows = connection.execute(statement("table_columns"), {"table": name.quoted}).fetchall()
    return dict(rows)


def _check_columns(name: TableName, columns: dict[str, str]) -> None:
    wrong = sorted(column for column, kind in CONTRACT.items() if columns.get(column) != kind)
    if wrong:
        listed = ", ".join(wrong)
        message = f"Table {name.quoted} is no Bronze table: {listed} missing or of another type."
        raise ConfigurationError(message, next_step="Rename it, or set 'source' to another name.")


def _check_owner(connection: Connection, name: TableName, plan: StreamPlan) -> None:
    """Refuse the table of another source and stream whose names happen to make the same name."""
    row = connection.execute(statement("table_owner", table=name.identifier)).fetchone()
    if row is not None and row != (plan.source, plan.stream):
        owner = f"stream {row[1]!r} of source {row[0]!r}"
        message = (
            f"Table {name.quoted} belongs to {owner}, not to {plan.stream!r} of {plan.source!r}."
        )
        raise ConfigurationError(message, next_step="Set 'source' to another name.")


def _check_key(connection: Connection, name: TableName, *, keeps_every_version: bool) -> None:
    row = connection.execute(statement("table_has_key"), {"table": name.quoted}).fetchone()
    has_key = bool(row and row[0])
    if has_key and keeps_every_version:
        message = (
            f"Table {name.quoted} keeps one version of each key, but 'load_method' is 'append'."
        )
        raise ConfigurationError(message, next_step="Rename the table, or use 'upsert'.")
    if not has_key and not keeps_every_version:
        message = f"Table {name.quoted} has no primary key (instance_id, record_key) to upsert by."
        raise ConfigurationError(message, next_step="Use 'append', or rename the table.")
