# SPDX-License-Identifier: Apache-2.0
"""One database of each kind that can run here."""

from __future__ import annotations

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
from ipai_kit.testing.mariadb import MariaDBServer, running_mariadb

KINDS = ("mariadb", "sqlite", "duckdb", "h2", "hsqldb")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """A real MariaDB."""
    with running_mariadb() as server:
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
    if kind == "mariadb":
        opened = mariadb_database(request.getfixturevalue("mariadb"))
    elif kind == "sqlite":
        opened = sqlite_file(tmp_path_factory.mktemp("sqlite"))
    elif kind == "duckdb":
        opened = duckdb_file(tmp_path_factory.mktemp("duckdb"))
    else:
        opened = java_database(kind)
    with opened as found:
        yield found
