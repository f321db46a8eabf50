# SPDX-License-Identifier: Apache-2.0
"""Databases of many kinds for tests: files, drivers in jars, a real server."""

import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pytest

from ipai_kit.sql.address import address_from_settings
from ipai_kit.sql.database import Selection, Table
from ipai_kit.sql.dialects import open_dialect
from ipai_kit.sql.dialects.reading import DialectDatabase
from ipai_kit.testing.mariadb import MariaDBServer

__all__ = ["SomeDatabase", "duckdb_file", "java_database", "mariadb_database", "sqlite_file"]

_JARS = Path("/usr/share/java")


@dataclass
class SomeDatabase:
    """A database of the test's own."""

    settings: Mapping[str, Any]
    execute: Callable[..., None]
    """Runs statements, outside the kit."""
    query: Callable[[str], Sequence[Sequence[Any]]]
    """Runs a query, outside the kit."""
    schema: str
    opened: list[DialectDatabase] = field(default_factory=list)

    def open(self, **settings: Any) -> DialectDatabase:
        """Return the kit's connection to it."""
        given = {**self.settings, **settings}
        database = cast("DialectDatabase", open_dialect(address_from_settings(given), given))
        self.opened.append(database)
        return database

    @cached_property
    def reader(self) -> DialectDatabase:
        """The kit's connection that is used where nothing else is said."""
        return self.open()

    def table(self, name: str) -> Table:
        """Return a table of the catalog."""
        (found,) = (one for one in self.reader.tables(()) if one.name.lower() == name.lower())
        return found

    def records(self, table: Table, **selection: Any) -> list[dict[str, Any]]:
        """Return the records of a selection."""
        names = selection.pop("columns", None) or [column.name for column in table.columns]
        blocks = self.reader.read(Selection(table, names, **selection))
        return [row for block in blocks for row in block.rows]

    def close(self) -> None:
        """Close what was opened."""
        for database in self.opened:
            database.close()


@contextmanager
def sqlite_file(folder: Path) -> Iterator[SomeDatabase]:
    """A file of SQLite."""
    path = folder / "test.sqlite"
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def execute(*statements: str) -> None:
        for statement in statements:
            connection.execute(statement)

    found = SomeDatabase(
        {"url": f"sqlite:///{path}"},
        execute,
        lambda text: connection.execute(text).fetchall(),
        "main",
    )
    try:
        yield found
    finally:
        found.close()
        connection.close()


@contextmanager
def duckdb_file(folder: Path) -> Iterator[SomeDatabase]:
    """A file of DuckDB, which nobody may have open for writing while it is read."""
    duckdb = pytest.importorskip("duckdb")
    path = folder / "test.duckdb"

    def run(*statements: str) -> list[Any]:
        with duckdb.connect(str(path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            rows: list[Any] = []
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return rows

    def execute(*statements: str) -> None:
        found.close()
        run(*statements)

    def query(text: str) -> list[Any]:
        found.close()
        return run(text)

    found = SomeDatabase({"url": f"duckdb:///{path}"}, execute, query, "main")
    try:
        yield found
    finally:
        found.close()


@contextmanager
def java_database(kind: str) -> Iterator[SomeDatabase]:
    """A database of H2 or HSQLDB in the memory of Java, in this process."""
    jar = _JARS / f"{kind}.jar"
    if not jar.exists():
        pytest.skip(f"no driver {jar.name} found: install the package lib{kind}-java")
    if shutil.which("java") is None:
        pytest.skip("no Java found: install default-jre-headless")
    name = f"test{uuid.uuid4().hex}"
    url = f"jdbc:h2:mem:{name};DB_CLOSE_DELAY=-1" if kind == "h2" else f"jdbc:hsqldb:mem:{name}"
    # One Java machine serves all tests of a process: it must know all drivers from the start.
    jars = [str(one) for one in (_JARS / "h2.jar", _JARS / "hsqldb.jar") if one.exists()]
    found = SomeDatabase(
        {"url": url, "user": "sa", "jdbc_jars": jars}, _nothing, _no_rows, "PUBLIC"
    )
    connection = found.open().connect()  # closes when it is dropped
    writer = connection.connection
    writer.setReadOnly(False)
    writer.setAutoCommit(True)

    def execute(*statements: str) -> None:
        statement = writer.createStatement()
        for text in statements:
            statement.execute(text)
        statement.close()

    def query(text: str) -> list[Any]:
        statement = writer.createStatement()
        result = statement.executeQuery(text)
        count = result.getMetaData().getColumnCount()
        rows = []
        while result.next():
            values = [result.getString(place) for place in range(1, count + 1)]
            rows.append([None if one is None else str(one) for one in values])
        statement.close()
        return rows

    found.execute, found.query = execute, query
    try:
        yield found
    finally:
        found.close()
        execute("SHUTDOWN")
        del connection


@contextmanager
def mariadb_database(server: MariaDBServer) -> Iterator[SomeDatabase]:
    """A database on a server of MariaDB."""
    with server.new_database() as name, server.connect(name) as connection:

        def execute(*statements: str) -> None:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

        def query(text: str) -> Sequence[Any]:
            with connection.cursor() as cursor:
                cursor.execute(text)
                return list(cursor.fetchall())

        found = SomeDatabase({"url": server.url(name)}, execute, query, name)
        try:
            yield found
        finally:
            found.close()


def _nothing(*statements: str) -> None:
    del statements


def _no_rows(text: str) -> Sequence[Sequence[Any]]:
    del text
    return []
