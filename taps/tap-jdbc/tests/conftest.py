# SPDX-License-Identifier: Apache-2.0
"""Real servers, a database per test, and runs of the tap inside or beside the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from ipai_kit.testing.postgres import PostgresServer, postgres_binaries, running_postgres
from ipai_kit.testing.runs import TapRun, run_tap
from tap_jdbc.tap import TapJdbc


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The PostgreSQL that most tests share."""
    with running_postgres() as started:
        yield started


@pytest.fixture(
    scope="session",
    params=postgres_binaries() or [None],
    ids=lambda p: p.parts[-3] if p else "none",
)
def each_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Every PostgreSQL found, one after the other."""
    with running_postgres(request.param) as started:
        yield started


@dataclass
class Source:
    """A database of the test's own, and ways to read it."""

    server: PostgresServer
    name: str
    connection: psycopg.Connection[Any]

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement.encode())

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(text.encode(), values or None).fetchall()

    def config(self, **settings: Any) -> dict[str, Any]:
        return {"url": self.url, **settings}

    def run(self, *, state: Any = None, catalog: Any = None, **settings: Any) -> TapRun:
        """Read within this process; what stops the tap is raised."""
        return run_tap(TapJdbc, self.config(**settings), state=state, catalog=catalog)

    def command(self, *, state: Any = None, catalog: Any = None, **settings: Any) -> TapRun:
        """Read in a process, which ends with an exit code."""
        return run_tap(
            [sys.executable, "-m", "tap_jdbc.tap"],
            self.config(**settings),
            state=state,
            catalog=catalog,
        )


@pytest.fixture
def source(server: PostgresServer) -> Iterator[Source]:
    """An empty database."""
    with (
        server.new_database() as name,
        psycopg.connect(server.dsn(name), autocommit=True) as connection,
    ):
        yield Source(server, name, connection)


@pytest.fixture
def each_source(each_server: PostgresServer) -> Iterator[Source]:
    """An empty database on every PostgreSQL found."""
    with (
        each_server.new_database() as name,
        psycopg.connect(each_server.dsn(name), autocommit=True) as connection,
    ):
        yield Source(each_server, name, connection)


@pytest.fixture
def ids() -> Callable[[TapRun, str], list[Any]]:
    """The ids that a run delivered, in the order of their arrival."""
    return lambda run, stream: [record["id"] for record in run.records[stream]]
