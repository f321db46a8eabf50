#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How many rows of a PostgreSQL table leave per CPU second: tap-jdbc, its peers, and the limit.

One server of its own; the table has eight columns, about 230 bytes a record as JSON. Counted are
processor seconds of the whole tree of the client's processes and of the server.

    python benchmarks/extraction.py [--rows 1000000] [--turns 3] [--large 10000000] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loading import processes
from loading.environments import SLING, Environments, Peer, cache_home
from loading.places import PROGRAMS
from loading.server import Server, running_server

PAGE = Path(__file__).resolve().parents[1] / "docs/reference/extraction-benchmarks.md"
OURS = "tap-jdbc, Singer lines"
PARQUET = "tap-jdbc, files of Parquet by ADBC"
MELTANO_NAME = "meltanolabs-tap-postgres, Singer lines"
MELTANO = Peer("meltanolabs-tap-postgres", ("meltanolabs-tap-postgres==0.10.0",))
DLT = Peer(
    "dlt-sql",
    (
        "dlt[parquet,filesystem,sql-database]==1.31.0",
        "connectorx==0.4.6",
        "psycopg2-binary==2.9.11",
        "sqlalchemy<2.1",
    ),
)
PEERS = (MELTANO, DLT, SLING)
_MOST_MB = 200
_TIMES = 10
_PARQUET_ROWS = 300_000
_TABLE = """
create table narrow (id bigint, uuid uuid, name text, amount numeric(18, 2), flag boolean,
    created_at timestamptz, updated_at timestamptz, note text)"""
_ROWS = """
insert into narrow select n, md5(n::text)::uuid, 'name ' || n, (n % 1000000) * 0.37, n % 2 = 0,
    timestamptz '2024-01-01' + n * interval '1 second',
    timestamptz '2024-06-01' + n * interval '1 second', 'note ' || md5(n::text)
from generate_series({first}, {last}) as n"""


@dataclass(frozen=True)
class Way:
    """One way to take the rows out."""

    name: str
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    clean: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Line:
    """What one way used; medians of the turns."""

    name: str
    rows: int
    cpu: float = 0.0
    client_cpu: float = 0.0
    wall: float = 0.0
    peak_mb: float = 0.0
    problem: str = ""

    @property
    def per_cpu_second(self) -> float:
        """What is compared."""
        return self.rows / self.cpu if self.cpu else 0.0


# -- who takes the rows out ------------------------------------------------------------------------


def ours(server: Server, folder: Path, environments: Environments) -> Iterator[Way]:
    """Lines, two connections, and files."""
    basic: dict[str, Any] = {"url": server.url, "tables": ["public.narrow"]}
    files = folder / "files"
    lines = {"storage": {"root": str(files)}, "batch_size": 250_000}
    parquet = {**lines, "encoding": {"format": "parquet"}}
    for name, extras, more in (
        (OURS, "", {}),
        ("tap-jdbc, Singer lines, 2 connections", "", {"parallel": 2}),
        ("tap-jdbc, files of JSON lines", "", {"batch_config": lines}),
        (PARQUET, "[arrow]", {"batch_config": parquet}),
    ):
        installed = environments.our_tap("tap-jdbc", extras)
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**basic, **more}))
        yield Way(
            name,
            [[installed.command("tap-jdbc"), "--config", str(path)]],
            problem=installed.problem,
            clean=lambda: shutil.rmtree(files, ignore_errors=True),
        )


def limit(server: Server) -> Way:
    """Only the server's JSON, nothing around it."""
    statement = r"\copy (select row_to_json(n) from narrow n) to '/dev/null'"
    return Way(
        r"limit: psql \copy of row_to_json", [[server.psql, "-q", server.url, "-c", statement]]
    )


def peers(server: Server, folder: Path, environments: Environments) -> Iterator[Way]:
    """The others, as their documentation has them."""
    meltano = environments.of(MELTANO)
    path = folder / "meltano.json"
    path.write_text(
        json.dumps(
            {
                "sqlalchemy_url": server.url,
                "filter_schemas": ["public"],
            }
        )
    )
    command = [meltano.command("tap-postgres"), "--config", str(path)]
    if not meltano.problem:  # it selects nothing by itself
        command += ["--catalog", _selecting(command, folder / "catalog.json")]
    yield Way(MELTANO_NAME, [command], problem=meltano.problem)
    dlt = environments.of(DLT)
    out = folder / "dlt"
    for backend in ("sqlalchemy", "pyarrow", "connectorx"):
        program = [dlt.command("python"), str(PROGRAMS / "dlt_extract.py")]
        yield Way(
            f"dlt sql_database, {backend}, Parquet",
            [[*program, server.url, backend, str(out)]],
            {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"},
            dlt.problem,
            lambda: shutil.rmtree(out, ignore_errors=True),
        )
    sling = environments.of(SLING)
    found = sorted(sling.home.glob("lib/*/site-packages/*/bin/sling-linux-amd64"))
    source = ["run", "--src-conn", "BENCH", "--src-stream", "public.narrow"]
    target = ["--tgt-object", f"file://{folder}/sling.csv"]
    yield Way(
        "sling, CSV",
        [[str(found[0]) if found else "sling", *source, *target]],
        {
            "SLING_HOME_DIR": str(folder / "sling"),
            "SLING_DISABLE_TELEMETRY": "true",
            "BENCH": f"{server.url}?sslmode=disable",
        },
        sling.problem,
    )


def _selecting(tap: list[str], path: Path) -> str:
    """Path of the tap's own catalog with everything selected."""
    found = subprocess.run([*tap, "--discover"], capture_output=True, check=True)
    catalog = json.loads(found.stdout)
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            entry["metadata"]["selected"] = True
    path.write_text(json.dumps(catalog))
    return str(path)


# -- measuring -------------------------------------------------------------------------------------


def fill(server: Server, rows: int) -> None:
    """Make the table have that many rows."""
    server.execute(_TABLE.replace("create table", "create table if not exists"))
    have = server.value("select coalesce(max(id), 0) from narrow")
    for first in range(have + 1, rows + 1, 1_000_000):
        server.execute(_ROWS.format(first=first, last=min(first + 999_999, rows)))
    if not have:
        server.execute("alter table narrow add primary key (id)")
    server.execute("vacuum analyze narrow")
    server.execute("checkpoint")


def measure(way: Way, server: Server, rows: int, turns: int) -> Line:
    """Run a way some times; the medians."""
    if way.problem:
        return Line(way.name, rows, problem=way.problem)
    found = []
    for _ in range(turns):
        before = server.cpu_seconds()
        used = processes.run(way.commands, None, way.environment, 1800)
        client, total = used.cpu_seconds, used.cpu_seconds + server.cpu_seconds() - before
        way.clean()
        if used.problem:
            return Line(way.name, rows, problem=used.problem)
        found.append((total, client, used.wall_seconds, used.peak_mb))
    return Line(way.name, rows, *(statistics.median(column) for column in zip(*found, strict=True)))


def warm(way: Way, rows: int) -> None:
    """Run a way of ours once outside the measurement: the first one compiles what it imports."""
    if way.name in {OURS, MELTANO_NAME}:
        check(way, rows)
    elif way.name == PARQUET:
        processes.run(way.commands, None, way.environment, 1800)
        way.clean()


def check(way: Way, rows: int) -> None:
    """Count the records of a tap of Singer lines."""
    with subprocess.Popen(
        way.commands[0], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as tap:
        count = sum(line[:20].count(b"RECORD") for line in tap.stdout or ())
    if count != rows:
        message = f"{way.name}: {count} records were delivered instead of {rows}"
        raise SystemExit(message)


def measure_all(options: argparse.Namespace) -> list[Line]:
    """All ways on one server, then ours on the large table."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="ipai-extraction-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_server(folder / "server") as server:
            fill(server, options.rows)
            environments = Environments(cache_home() / "peers", is_here_ours=options.installed_here)
            found = list(ours(server, folder, environments))
            ways = [limit(server), *found]
            if not options.without_peers:
                ways += peers(server, folder, environments)
            for way in ways:
                if options.only not in way.name:
                    continue
                print(f"== {way.name}", file=sys.stderr)
                if not way.problem:
                    warm(way, options.rows)
                lines.append(measure(way, server, options.rows, options.turns))
            if options.large:
                fill(server, options.large)
                lines.append(measure(found[0], server, options.large, 1))
    return lines


# -- telling ---------------------------------------------------------------------------------------


def render(lines: Sequence[Line]) -> str:
    """The figures as a table, and what became of the goals."""
    our = next(line for line in lines if line.name == OURS)
    peer = next((line for line in lines if line.name == MELTANO_NAME and line.cpu), None)
    load = os.getloadavg()[1]
    remark = (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {os.cpu_count()} cores; the load of"
        f" the machine over five minutes was {load:.1f} at the end, these processes among it.\n"
    )
    out = [
        remark,
        "| way | rows | rows per CPU-second | CPU s, client | CPU s, all | rows/s | peak MB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in lines:
        if one.problem:
            out.append(f"| {one.name} | {one.rows:,} | {one.problem} | | | | |")
            continue
        out.append(
            f"| {one.name} | {one.rows:,} | {one.per_cpu_second:,.0f} | {one.client_cpu:.2f} |"
            f" {one.cpu:.2f} | {one.rows / one.wall:,.0f} | {one.peak_mb:.0f} |"
        )
    out.append("")
    if peer:
        times = our.per_cpu_second / peer.per_cpu_second
        met = "met" if times >= _TIMES else "**missed**"
        out.append(f"- {times:.1f} times {MELTANO_NAME} per CPU-second; {_TIMES} wanted: {met}.")
    parquet = next((line for line in lines if line.name == PARQUET and line.cpu), None)
    if parquet:
        rate = parquet.rows / parquet.wall
        met = "met" if rate >= _PARQUET_ROWS else "**missed**"
        out.append(f"- {rate:,.0f} rows/s to Parquet; {_PARQUET_ROWS:,} wanted: {met}.")
    largest = max((one for one in lines if one.name == OURS), key=lambda one: one.rows)
    met = "met" if largest.peak_mb < _MOST_MB else "**missed**"
    out.append(
        f"- {largest.peak_mb:.0f} MB at {largest.rows:,} rows; below {_MOST_MB} wanted: {met}."
    )
    return "\n".join(out) + "\n"


def write(text: str) -> None:
    """Put the figures into the page, between its marks."""
    before, rest = PAGE.read_text(encoding="utf-8").split("<!-- figures: begin -->\n")
    after = rest.split("<!-- figures: end -->")[1]
    marked = f"<!-- figures: begin -->\n{text}<!-- figures: end -->"
    PAGE.write_text(f"{before}{marked}{after}", encoding="utf-8")


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3, help="measured runs of each")
    parser.add_argument("--large", type=int, default=0, help="rows for the memory of ours; 0: none")
    parser.add_argument("--without-peers", action="store_true", help="only ours and the limit")
    parser.add_argument("--only", default="", help="part of the names of the ways to measure")
    parser.add_argument("--installed-here", action="store_true", help="do not install ours anew")
    parser.add_argument("--write", action="store_true", help="write the figures into docs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    lines = measure_all(options)
    text = render(lines)
    print(json.dumps([asdict(line) for line in lines], indent=1) if options.json else text)
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
