# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL for tests: one server per session, one migrated copy per test."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ipai_orchestrate import embedded
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.migrations import migrate

_TEMPLATE = "ipai_template"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class DatabaseServer:
    """The session's server; `dsn` leads to its maintenance database, which stays empty."""

    home: Path
    dsn: str

    def dsn_of(self, database: str, user: str = "postgres") -> str:
        """Return the address of another database, or for another login."""
        return self.dsn.replace("postgres@/postgres?", f"{user}@/{database}?")

    def execute(self, statement: sql.Composable) -> None:
        """Run one statement outside a transaction in the maintenance database."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)

    def create(self, template: str = "template1") -> str:
        """Create a database and return its name."""
        name = f"test_{next(_numbers)}"
        self.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self.execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )


@pytest.fixture(scope="session")
def server() -> Iterator[DatabaseServer]:
    """The embedded server, started for this session in a home of its own."""
    # Not below pytest's own folder: that one is closed to the user who runs the server for root.
    home = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    home.chmod(0o711)
    try:
        with embedded.open_database(home, migrated=False) as dsn:
            # What a test writes need not survive a power cut; copying databases gets faster.
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("alter system set fsync = off")
                connection.execute("select pg_reload_conf()")
            yield DatabaseServer(home, dsn)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Return a function that starts a migrated server on an address; returns its socket."""
    homes: list[Path] = []
    begin = "import sys; from ipai_orchestrate import embedded; embedded.start(sys.argv[1])"

    def start(address: str, network: str, within: Sequence[str] = ()) -> str:
        home = Path(tempfile.mkdtemp(prefix="ipai-test-"))
        homes.append(home)
        home.chmod(0o711)
        with embedded.open_database(home, migrated=False) as dsn:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(f"alter system set listen_addresses = '{address}'".encode())
                row = connection.execute("show hba_file").fetchone()
            with Path(str(row and row[0])).open("a") as rules:
                rules.write(f"host all all {network} trust\n")
        subprocess.run([*within, sys.executable, "-c", begin, str(home)], check=True)
        return embedded.url(home)

    yield start
    for home in homes:
        embedded.stop(home, force=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(server: DatabaseServer) -> str:
    """The name of a database with all migrations, to be copied."""
    server.execute(sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
    migrate(server.dsn_of(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database(server: DatabaseServer, migrated_template: str) -> Iterator[str]:
    """The address of a fresh migrated database of this test alone."""
    name = server.create(migrated_template)
    yield server.dsn_of(name)
    server.drop(name)


@pytest.fixture
def empty_database(server: DatabaseServer) -> Iterator[str]:
    """The address of a fresh database without any migration."""
    name = server.create()
    yield server.dsn_of(name)
    server.drop(name)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """An autocommit connection to the test's database, as its owner."""
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def control_plane(connection: psycopg.Connection[tuple[object, ...]]) -> ControlPlane:
    """The control plane of the test's database."""
    return ControlPlane(connection)


_SPEC: dict[str, Any] = {
    "sync_mode": "incremental",
    "streams": [{"name": "issues"}, {"name": "commits"}, {"name": "labels"}],
    "settings": {"auth_token": {"secret": True}, "repositories": {"secret": False}},
}


@pytest.fixture
def make_instance(
    connection: psycopg.Connection[tuple[object, ...]], control_plane: ControlPlane
) -> Callable[..., str]:
    """Return a function that creates an active instance of a small connector."""

    def make(
        instance_id: str = "github-acme",
        source_type: str = "github",
        spec: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        **settings: str,
    ) -> str:
        whole = json.dumps(_SPEC | dict(spec or {}))
        connection.execute(
            "select * from connectors.register_connector_definition(%s, %s, %s)",
            (source_type, f"source_type: {source_type}\n{spec or ''}", whole),
        )
        control_plane.ensure_instance(
            instance_id,
            f"ipai_connector_{source_type}",
            {"repositories": ["acme/app"], **(config or {})},
            **settings,
        )
        return instance_id

    return make


@dataclass
class Receiver:
    """A webhook endpoint: what it was sent, and what it answers (the last answer is repeated)."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(204, {})])
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def bodies(self) -> list[dict[str, Any]]:
        """What was posted, parsed."""
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server on loopback that takes posts."""
    running = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            running.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            first = len(running.answers) > 1
            status, headers = running.answers.pop(0) if first else running.answers[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    server.shutdown()
    server.server_close()
    thread.join()
