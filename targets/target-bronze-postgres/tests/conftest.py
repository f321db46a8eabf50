# SPDX-License-Identifier: Apache-2.0
"""Real Postgres servers, a database per test, and runs of the target inside or beside the test."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ipai_kit.testing.postgres import PostgresServer, postgres_binaries, running_postgres
from ipai_kit.testing.target_runs import (
    Line,
    Outcome,
    TargetProcess,
    land_here,
    record_message,
    schema_message,
    starting,
    state_message,
)
from target_bronze_postgres.command import PROGRAM

BINARIES = postgres_binaries()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The server that most tests share."""
    with running_postgres(wal_level="replica") as started:
        yield started


@pytest.fixture(scope="session", params=BINARIES, ids=lambda path: path.parts[-3])
def each_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Every Postgres found, one after the other."""
    with running_postgres(request.param, wal_level="replica") as started:
        yield started


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may kill."""
    with running_postgres(wal_level="replica") as started:
        yield started


@dataclass
class Bronze:
    """A database of the test's own, and what landed in it."""

    dsn: str
    connection: psycopg.Connection[Any]

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(text, values).fetchall()

    def value(self, text: str, *values: Any) -> Any:
        return self.query(text, *values)[0][0]

    def rows(self, stream: str, columns: str = "record_key, record") -> list[tuple[Any, ...]]:
        """Rows of a stream without source and domain, by key."""
        return self.query(f"select {columns} from ipai_bronze_core.raw_singer_{stream} order by 1")

    def letters(self) -> list[tuple[str, str, bytes]]:
        if self.value("select to_regclass('ipai_bronze_core.dead_letters')") is None:
            return []
        return self.query(
            "select stream, reason, raw from ipai_bronze_core.dead_letters order by id"
        )


@contextmanager
def clean_database(server: PostgresServer) -> Iterator[Bronze]:
    """One database per server, swept after each test: far cheaper than a database per test."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        yield Bronze(server.dsn(), connection)
        schemas = connection.execute("""select nspname from pg_namespace
            where starts_with(nspname, 'ipai_bronze_') or nspname = 'connectors'""").fetchall()
        for (schema,) in schemas:
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))


@pytest.fixture
def bronze(server: PostgresServer) -> Iterator[Bronze]:
    with clean_database(server) as database:
        yield database


@pytest.fixture
def each_bronze(each_server: PostgresServer) -> Iterator[Bronze]:
    with clean_database(each_server) as database:
        yield database


@pytest.fixture
def run_target(bronze: Bronze, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Land messages within this process."""

    def run(lines: list[Line] | bytes, *, into: Bronze = bronze, **config: Any) -> Outcome:
        return land_here(PROGRAM, {"database_url": into.dsn, **config}, lines, capfd)

    return run


@pytest.fixture
def start_target(bronze: Bronze, tmp_path: Path) -> Iterator[Callable[..., TargetProcess]]:
    """Start the command as a process."""
    with starting("target_bronze_postgres", tmp_path) as start:
        yield lambda *, dsn=bronze.dsn, **config: start({"database_url": dsn, **config})


@pytest.fixture
def schema() -> Callable[..., dict[str, Any]]:
    """Make SCHEMA messages."""
    return schema_message


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Make RECORD messages; `at` and `version` belong to the message."""
    return record_message


@pytest.fixture
def state() -> Callable[[Any], dict[str, Any]]:
    """Make STATE messages."""
    return state_message
