# SPDX-License-Identifier: Apache-2.0
"""A shop on a server with a binary log: MariaDB, and MySQL where the environment names one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest

from ipai_kit.testing.mariadb import (
    MYSQL_PROGRAM,
    MariaDBServer,
    running_mariadb,
    running_mysql,
)
from ipai_kit.testing.runs import TapRun, run_tap
from tap_jdbc.tap import TapJdbc

RUNNING = {"mariadb": running_mariadb, "mysql": running_mysql}


@pytest.fixture(scope="session", params=RUNNING if os.environ.get(MYSQL_PROGRAM) else ["mariadb"])
def mariadb(request: pytest.FixtureRequest) -> Iterator[MariaDBServer]:
    with RUNNING[request.param]() as server:
        yield server


@dataclass
class Shop:
    """A database with a table of orders."""

    server: MariaDBServer
    name: str
    connection: pymysql.connections.Connection[Any]

    @property
    def is_mysql(self) -> bool:
        return self.server.url().startswith("mysql")

    def only(self, kind: str) -> None:
        if not self.server.url().startswith(kind):
            pytest.skip(f"only {kind} has this")

    def execute(self, *statements: str) -> None:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def query(self, text: str) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall()

    def run(self, state: Any = None, **settings: Any) -> TapRun:
        config = {"url": self.server.url(self.name), "replication_method": "LOG_BASED", **settings}
        return run_tap(TapJdbc, config, state=state)

    @property
    def stream(self) -> str:
        return f"{self.name}-orders"

    def changes(self, run: TapRun, stream: str = "") -> list[tuple[Any, ...]]:
        """What happened: `(id, note)` of a row, `(id,)` of a tombstone."""
        return [
            (row["id"],) if row["_sdc_deleted_at"] else (row["id"], row["note"])
            for row in run.records.get(stream or self.stream, [])
        ]

    def skipped(self, run: TapRun) -> list[str]:
        return [one["reason"] for one in run.events if one["event"] == "stream_skipped"]

    def anew(self, run: TapRun) -> list[str]:
        return [one["reason"] for one in run.events if one["event"] == "snapshot_anew"]


@pytest.fixture
def shop(mariadb) -> Iterator[Shop]:
    with mariadb.new_database() as name, mariadb.connect(name) as connection:
        found = Shop(mariadb, name, connection)
        found.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, note varchar(50))",
            "INSERT INTO orders VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        )
        yield found


@pytest.fixture
def open_shop() -> type[Shop]:
    """Makes a shop on a server of the test's own."""
    return Shop
