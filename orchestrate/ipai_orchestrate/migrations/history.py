# SPDX-License-Identifier: Apache-2.0
"""The history table shared with the Supabase CLI: supabase_migrations.schema_migrations."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ipai_orchestrate.migrations.files import Migration

Connection = psycopg.Connection[tuple[object, ...]]
# Any number will do, as long as every runner on this database takes the same one.
_LOCK = 0x69706169_6D696772


@dataclass(frozen=True)
class AppliedMigration:
    """One row of the history; other tools leave name and statements out."""

    version: str
    name: str | None
    statements: tuple[str, ...] | None

    def differs_from(self, migration: Migration) -> bool:
        """Whether the file was changed after it had been applied."""
        return self.statements is not None and list(self.statements) != migration.statements


def lock_history(connection: Connection) -> None:
    """Wait until this transaction alone may change the history (works through poolers too)."""
    connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))


def read_history(connection: Connection) -> dict[str, AppliedMigration]:
    """Return what has been applied; nothing when there is no history table yet."""
    columns = _columns(connection)
    if not columns:
        return {}
    # The oldest history tables have the version alone.
    name, statements = (
        sql.Identifier(column) if column in columns else sql.NULL
        for column in ("name", "statements")
    )
    query = sql.SQL("select version, {}, {} from supabase_migrations.schema_migrations")
    return {
        str(version): AppliedMigration(
            str(version),
            None if name is None else str(name),
            tuple(str(item) for item in statements) if isinstance(statements, list) else None,
        )
        for version, name, statements in connection.execute(query.format(name, statements))
    }


def create_history(connection: Connection) -> None:
    """Create the history table, or add its newer columns.

    The catalog is asked first: an `alter table` that changes nothing still waits for every reader.
    """
    columns = _columns(connection)
    if not columns:
        connection.execute("create schema if not exists supabase_migrations")
        connection.execute(
            "create table if not exists supabase_migrations.schema_migrations"
            " (version text primary key, statements text[], name text)"
        )
        return
    for column, kind in (("statements", "text[]"), ("name", "text")):
        if column not in columns:
            connection.execute(
                f"alter table supabase_migrations.schema_migrations add column {column} {kind}"
            )


def _columns(connection: Connection) -> set[str]:
    rows = connection.execute(
        "select column_name from information_schema.columns"
        " where table_schema = 'supabase_migrations' and table_name = 'schema_migrations'"
    )
    return {str(name) for (name,) in rows}


def record(connection: Connection, migration: Migration) -> None:
    """Write that a migration has been applied."""
    connection.execute(
        "insert into supabase_migrations.schema_migrations (version, name, statements)"
        " values (%s, %s, %s)",
        (migration.version, migration.name, migration.statements),
    )


def forget(connection: Connection, version: str) -> None:
    """Write that a migration has been reverted."""
    connection.execute(
        "delete from supabase_migrations.schema_migrations where version = %s", (version,)
    )
