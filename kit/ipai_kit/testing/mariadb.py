# SPDX-License-Identifier: Apache-2.0
"""Real MariaDB servers for tests: one per block, run by an unprivileged user, killable.

MySQL likewise, where the environment variable IPAI_TEST_MYSQLD names the program.
"""

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
from typing import Any, TypeVar

import pymysql
import pytest

__all__ = ["MYSQL_PROGRAM", "MariaDBServer", "MySQLServer", "running_mariadb", "running_mysql"]

MYSQL_PROGRAM = "IPAI_TEST_MYSQLD"

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
        subprocess.run(
            self.install_command(), check=True, capture_output=True, cwd="/", **self._user
        )

    def install_command(self) -> list[str]:
        """What makes the server's folder."""
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}"]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        return [*command, "--skip-name-resolve", "--innodb-log-file-size=8M"]

    def own_flags(self) -> list[str]:
        """Flags that other servers of this family do not know."""
        return ["--innodb-log-file-size=8M"]

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
        command += ["--innodb-buffer-pool-size=32M", *self.own_flags()]
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


class MySQLServer(MariaDBServer):
    """A MySQL with global transaction ids."""

    def install_command(self) -> list[str]:
        """What makes the server's folder."""
        command = [self.program, "--no-defaults", "--initialize-insecure"]
        return [*command, f"--datadir={self.data}", "--innodb-redo-log-capacity=16M"]

    def own_flags(self) -> list[str]:
        """Flags that MariaDB does not know."""
        flags = ["--innodb-redo-log-capacity=16M", "--mysqlx=OFF", "--secure-file-priv=NULL"]
        return [*flags, "--gtid-mode=ON", "--enforce-gtid-consistency=ON"]

    def url(self, database: str = "", user: str = "root") -> str:
        """What the kit connects with."""
        return f"mysql://{user}@localhost/{database}?unix_socket={self.socket}"


@contextlib.contextmanager
def running_mariadb(*flags: str) -> Iterator[MariaDBServer]:
    """Run a server; skips the test where there is none."""
    program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("no MariaDB found: install the package mariadb-server")
    with _running(MariaDBServer, program, flags) as server:
        yield server


@contextlib.contextmanager
def running_mysql(*flags: str) -> Iterator["MySQLServer"]:
    """Run the MySQL that the environment names; skips the test where it names none."""
    program = os.environ.get(MYSQL_PROGRAM)
    if not program:
        pytest.skip(f"MySQL is in no package of Debian's releases: {MYSQL_PROGRAM} names a mysqld")
    with _running(MySQLServer, program, flags) as server:
        yield server


_Server = TypeVar("_Server", bound=MariaDBServer)


@contextlib.contextmanager
def _running(kind: type[_Server], program: str, flags: Sequence[str]) -> Iterator[_Server]:
    home = Path(tempfile.mkdtemp(prefix="ipai-maria-", dir="/tmp"))
    home.chmod(0o755)
    try:
        server = kind(program, home, flags)
        try:
            server.start()
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
