# SPDX-License-Identifier: Apache-2.0
"""A vault of each kind, and workers with logins of their own that hold runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.secrets import RingFile, SecretReader, SecretStore
from ipai_orchestrate.secrets.key_ring import FILE_NAME

Connection = psycopg.Connection[Any]

NAME = "github-acme/token"
REQUEST = "select grant_id, outcome from connectors.request_secret(%s, %s, %s)"
READ = "select connectors.read_secret(%s, %s, %s)"


@pytest.fixture
def pgcrypto(server: Any) -> None:
    """Some servers come without it and leave sealing to clients."""
    with psycopg.connect(server.dsn) as connection:
        query = "select from pg_available_extensions where name = 'pgcrypto'"
        if connection.execute(query).fetchone() is None:
            pytest.skip("this server comes without pgcrypto")


@pytest.fixture(params=["server", "client"])
def ring(request: pytest.FixtureRequest, server: Any, tmp_path: Path) -> Iterator[RingFile]:
    """A key file: beside the server's data, so that it seals; or where only clients find it."""
    if request.param == "client":
        yield RingFile(tmp_path / FILE_NAME)
        return
    request.getfixturevalue("pgcrypto")
    file = RingFile(home_of(server.home).server / FILE_NAME)
    file.create()
    yield file
    file.path.unlink()


@pytest.fixture
def store(connection: Connection, ring: RingFile) -> SecretStore:
    """The secrets of the test's database, as its owner."""
    return SecretStore(connection, ring)


@pytest.fixture
def login(server: Any, database: str) -> Iterator[Callable[[str], str]]:
    """Return a function that makes a login of a role and returns the address for it."""
    made: list[str] = []

    def make(role: str) -> str:
        name = f"secret_{len(made)}_{role}"
        server.execute(
            sql.SQL("create role {} login in role {}").format(
                sql.Identifier(name), sql.Identifier(role)
            )
        )
        made.append(name)
        return database.replace("postgres@", f"{name}@")

    yield make
    for name in made:
        server.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@dataclass(frozen=True)
class Worker:
    """A worker with a login of its own, and the run it holds."""

    connection: Connection
    dsn: str
    run: ClaimedRun

    def ask(self, name: str = NAME) -> tuple[UUID | None, str]:
        """Phase 1."""
        found = self.connection.execute(REQUEST, (self.run.id, self.run.lease_token, name))
        answer = found.fetchone()
        assert answer is not None
        return answer[0], answer[1]

    def read(self, grant: UUID | None) -> dict[str, Any]:
        """Phase 2."""
        found = self.connection.execute(READ, (grant, self.run.id, self.run.lease_token))
        answer = found.fetchone()
        assert answer is not None
        return dict(answer[0])

    def reader(self, ring: RingFile) -> SecretReader:
        """Both, as a run does it."""
        lease = {"run_id": self.run.id, "lease_token": self.run.lease_token}
        return SecretReader(Database(self.dsn), "request", lease, lease, ring)


@pytest.fixture
def make_worker(
    login: Callable[[str], str], control_plane: ControlPlane, make_instance: Callable[..., str]
) -> Iterator[Callable[..., Worker]]:
    """Return a function that lets a worker of its own login claim a run of an instance."""
    opened: list[Connection] = []

    def make(instance: str = "github-acme", name: str = NAME) -> Worker:
        config = {"auth_token": f"${{secret:{name}}}", "repositories": ["acme/app"]}
        run_id = control_plane.enqueue(make_instance(instance, config=config))
        dsn = login("ipai_worker")
        opened.append(psycopg.connect(dsn, autocommit=True))
        run = ControlPlane(opened[-1]).claim(run_id, "worker")
        assert run is not None
        return Worker(opened[-1], dsn, run)

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    """A worker whose run may read github-acme/token."""
    return make_worker()


@pytest.fixture
def journal(connection: Connection) -> Callable[[], list[tuple[str, str, str | None]]]:
    """Return a function that returns what the log says: action, secret, detail."""

    def read() -> list[tuple[str, str, str | None]]:
        query = "select action, secret_name, detail from connectors.secret_audit order by seq"
        return connection.execute(query).fetchall()

    return read
