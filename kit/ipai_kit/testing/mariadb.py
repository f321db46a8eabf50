# SPDX-License-Identifier: Apache-2.0
"""Real MariaDB servers for tests: one per block, run by an unprivileged user, killable."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest

__all__ = ["MariaDBServer", "running_mariadb"]

_numbers = itertools.count(1)
_SECONDS = 60
_LOG = (
    *("--log-bin=bin", "--server-id=1", "--binlog-format=ROW", "--binlog-row-image=FULL"),
    "--binlog-row-metadata=FULL",
)


@dataclass
class MariaDBServer:
    """A server on a socket of its own, with a binary log of rows."""

    program: str
    home: Path
    flags: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    _user: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if os.geteuid() == 0:
            account = _unprivileged_account()
            os.chown(self.home, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}"]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        command += ["--skip-name-resolve", "--innodb-log-file-size=8M"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._user)

    @property
    def data(self) -> Path:
        """The server's own folder."""
        return self.home / "data"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.home / "socket"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [self.program, "--no-defaults", f"--datadir={self.data}"]
        command += [f"--socket={self.socket}", "--skip-networking", "--skip-name-resolve"]
        command += ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"]
        command += ["--innodb-flush-log-at-trx-commit=0", "--sql-mode=", *_LOG, *self.flags]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
        until = time.monotonic() + _SECONDS
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as door:  # PyMySQL leaves a refused one open
                    door.connect(str(self.socket))
                self.connect().close()
            except (OSError, pymysql.err.OperationalError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server; SIGKILL leaves it as a crash would."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(_SECONDS)
        self.process = None

    def connect(self, database: str | None = None) -> "pymysql.connections.Connection[Any]":
        """Return a connection of the administrator, in UTC."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=True,
            init_command="SET time_zone = '+00:00'",
        )

    def url(self, database: str = "", user: str = "root") -> str:
        """What the kit connects with."""
        return f"mariadb://{user}@localhost/{database}?unix_socket={self.socket}"

    @contextlib.contextmanager
    def new_database(self) -> Iterator[str]:
        """Create a database; it is dropped after the block."""
        name = f"test_{next(_numbers)}"
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            try:
                yield name
            finally:
                cursor.execute(f"DROP DATABASE IF EXISTS {name}")


@contextlib.contextmanager
def running_mariadb(*flags: str) -> Iterator[MariaDBServer]:
    """Run a server; skips the test where there is none."""
    program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("no MariaDB found: install the package mariadb-server")
    home = Path(tempfile.mkdtemp(prefix="ipai-maria-", dir="/tmp"))
    home.chmod(0o755)
    try:
        server = MariaDBServer(program, home, flags)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _unprivileged_account() -> pwd.struct_passwd:
    for name in ("mysql", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("as root, MariaDB needs a user 'mysql' or 'nobody' to run as")
