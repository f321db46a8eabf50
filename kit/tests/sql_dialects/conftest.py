# SPDX-License-Identifier: Apache-2.0
"""One database of each kind that can run here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from ipai_kit.testing.databases import (
    SomeDatabase,
    duckdb_file,
    java_database,
    mariadb_database,
    sqlite_file,
)
from ipai_kit.testing.mariadb import (
    MYSQL_PROGRAM,
    MariaDBServer,
    MySQLServer,
    running_mariadb,
    running_mysql,
)

KINDS = ["mariadb", "sqlite", "duckdb", "h2", "hsqldb"]
if os.environ.get(MYSQL_PROGRAM):
    KINDS.append("mysql")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """A real MariaDB."""
    with running_mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQLServer]:
    """A real MySQL, where one is named."""
    with running_mysql() as server:
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of a database."""
    return str(request.param)


@pytest.fixture
def database(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SomeDatabase]:
    """An empty database of each kind."""
    opened: AbstractContextManager[SomeDatabase]
    if kind in ("mariadb", "mysql"):
        opened = mariadb_database(request.getfixturevalue(kind))
    elif kind == "sqlite":
        opened = sqlite_file(tmp_path_factory.mktemp("sqlite"))
    elif kind == "duckdb":
        opened = duckdb_file(tmp_path_factory.mktemp("duckdb"))
    else:
        opened = java_database(kind)
    with opened as found:
        yield found
