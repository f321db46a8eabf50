# SPDX-License-Identifier: Apache-2.0
"""Bring a database to this program's schema; interchangeable with the Supabase CLI.

One transaction per file, one runner at a time per database, history shared with the CLI. Works as
an ordinary role that may create schemas and roles, and through a transaction pooler.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ipai_orchestrate.exceptions import DatabaseUnavailableError, MigrationError
from ipai_orchestrate.migrations.files import Migration, read_migrations, supabase_folder
from ipai_orchestrate.migrations.history import (
    AppliedMigration,
    Connection,
    create_history,
    forget,
    lock_history,
    read_history,
    record,
)
from ipai_orchestrate.server_version import require_supported

__all__ = ["MigrationReport", "MigrationStatus", "migrate", "migration_status", "revert"]


@dataclass(frozen=True)
class MigrationReport:
    """What one call did; `changed` names applied files whose text is different now."""

    applied: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class MigrationStatus:
    """Versions by where they are; `unknown` are in the database only, e.g. of another project."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    changed: tuple[str, ...]
    unknown: tuple[str, ...]


def migrate(
    dsn: str, folder: Path | None = None, *, include_older: bool = False
) -> MigrationReport:
    """Apply what is missing, oldest first, and return it.

    A file older than the newest applied one is refused, because it was not tested in that order;
    `include_older` applies it all the same (needed where another project shares the history).
    """
    migrations = read_migrations(folder or supabase_folder() / "migrations")
    with _connect(dsn) as connection:
        history = read_history(connection)
        pending = _pending(migrations, history, include_older=include_older)
        applied = [migration.version for migration in pending if _apply(connection, migration)]
    return MigrationReport(tuple(applied), _changed(migrations, history))


def migration_status(dsn: str, folder: Path | None = None) -> MigrationStatus:
    """Compare the files with the database; change nothing."""
    migrations = read_migrations(folder or supabase_folder() / "migrations")
    with _connect(dsn) as connection:
        history = read_history(connection)
    known = {migration.version for migration in migrations}
    return MigrationStatus(
        applied=tuple(version for version in sorted(known) if version in history),
        pending=tuple(version for version in sorted(known) if version not in history),
        changed=_changed(migrations, history),
        unknown=tuple(version for version in sorted(history) if version not in known),
    )


def revert(dsn: str, to_version: str, folder: Path | None = None) -> tuple[str, ...]:
    """Run the rollback scripts of everything newer than a version, newest first.

    Use version "0" to remove everything. Rollbacks drop what their migration created, with its
    data; schemas that hold data of others refuse to go.
    """
    place = folder or supabase_folder()
    rollbacks = {script.version: script for script in read_migrations(place / "rollbacks")}
    reverted = []
    with _connect(dsn) as connection:
        for migration in reversed(read_migrations(place / "migrations")):
            if int(migration.version) <= int(to_version):
                break
            if migration.version not in read_history(connection):
                continue
            if migration.version not in rollbacks:
                message = f"Migration {migration.version!r} has no rollback script."
                raise MigrationError(message)
            _revert_one(connection, rollbacks[migration.version])
            reverted.append(migration.version)
    return tuple(reverted)


@contextmanager
def _connect(dsn: str) -> Iterator[Connection]:
    try:
        connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as error:
        message = f"Cannot connect to the database: {error}. Check IPAI_DATABASE_URL."
        raise DatabaseUnavailableError(message) from error
    require_supported(connection)
    with connection:
        yield connection


def _pending(
    migrations: list[Migration],
    history: dict[str, AppliedMigration],
    *,
    include_older: bool,
) -> list[Migration]:
    pending = [migration for migration in migrations if migration.version not in history]
    newest = max(history, default="")
    older = [migration.version for migration in pending if migration.version < newest]
    if older and not include_older:
        message = (
            f"Migrations {older!r} are older than the newest applied one, {newest!r}. "
            "Rename them to a later version, or apply them with --include-older."
        )
        raise MigrationError(message)
    return pending


def _apply(connection: Connection, migration: Migration) -> bool:
    """Apply one file in one transaction; False when another runner has just done it."""
    with connection.transaction():
        lock_history(connection)
        if migration.version in read_history(connection):
            return False
        create_history(connection)
        _run(connection, migration)
        record(connection, migration)
    return True


def _revert_one(connection: Connection, rollback: Migration) -> None:
    with connection.transaction():
        lock_history(connection)
        if rollback.version in read_history(connection):
            _run(connection, rollback)
            forget(connection, rollback.version)


def _run(connection: Connection, migration: Migration) -> None:
    connection.execute("set local lock_timeout = '4s'")
    connection.execute("set local statement_timeout = 0")
    connection.execute("set local client_min_messages = warning")
    for number, statement in enumerate(migration.statements, start=1):
        try:
            connection.execute(statement.encode())  # bytes: no placeholder is looked for
        except psycopg.Error as error:
            message = (
                f"Migration {migration.version}_{migration.name} failed in statement {number} "
                f"({' '.join(statement.split())[:80]!r}): {error}. Nothing of it was applied."
            )
            raise MigrationError(message) from error


def _changed(migrations: list[Migration], history: dict[str, AppliedMigration]) -> tuple[str, ...]:
    return tuple(
        migration.version
        for migration in migrations
        if migration.version in history and history[migration.version].differs_from(migration)
    )
