#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How many changes leave PostgreSQL's log per CPU second as Singer lines, and in how much memory.

One server of its own and one table of eight columns. Each case makes its changes, then a run of the
tap drains them; counted is the whole run, its start included, into a pipe that throws away.

    python benchmarks/cdc.py [--changes 400000] [--turns 3] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from ipai_kit.testing.postgres import PostgresServer, running_postgres
from loading import processes

PAGE = Path(__file__).resolve().parents[1] / "docs/reference/cdc-benchmarks.md"
WANTED = 40_000
TAP = str(Path(sys.executable).parent / "tap-jdbc")
TABLE = """
create table narrow (id bigint primary key, uuid uuid, name text, amount numeric(18, 2),
    flag boolean, created_at timestamptz, updated_at timestamptz, note text)"""
INSERT = """
insert into narrow select n, md5(n::text)::uuid, 'name ' || n, (n % 1000000) * 0.37, n % 2 = 0,
    timestamptz '2024-01-01' + n * interval '1 second', now(), 'note ' || md5(n::text)
from generate_series({first}, {last}) as n"""
LOOP = """
do $$ begin
    for n in 1..{count} loop
        update narrow set amount = amount + 1 where id = n;
        commit;
    end loop;
end $$"""


@dataclass(frozen=True)
class Line:
    """What one case took; medians of the turns."""

    name: str
    changes: int
    wall: float
    client_cpu: float
    cpu: float
    peak_mb: float

    @property
    def per_cpu_second(self) -> float:
        """What is compared: server and tap take turns, so it is changes a second on free cores."""
        return self.changes / self.cpu


@dataclass(frozen=True)
class Case:
    """Changes to make before each measured run."""

    name: str
    statements: Sequence[str]
    changes: int
    again: Sequence[str] = ()
    """What brings the table back; its changes are not measured."""


def cases(count: int) -> list[Case]:
    """Inserts in one transaction and in many, updates, single rows, deletes."""
    step = max(count // 100, 1)
    many = [
        INSERT.format(first=first, last=min(first + step - 1, count))
        for first in range(1, count + 1, step)
    ]
    few = max(count // 10, 1)
    empty = ["delete from narrow"]
    one = [INSERT.format(first=1, last=count)]
    return [
        Case("inserts, one transaction", one, count, empty),
        Case("inserts, 100 transactions", many, count, empty),
        Case("updates", [*one, "update narrow set name = name || 'x'"], 2 * count, empty),
        Case("inserts and deletes", [*one, "delete from narrow"], 2 * count),
        Case("updates, a transaction each", [LOOP.format(count=few)], few),
    ]


def measure(case: Case, server: PostgresServer, folder: Path, turns: int) -> Line:
    """Make the changes and drain them, some times."""
    found = []
    for _ in range(turns):
        with psycopg.connect(server.dsn(), autocommit=True) as source:
            drain(folder)
            for statement in case.statements:
                source.execute(statement.encode())
        state = ["--state", str(folder / "state.json")]
        before = cpu_seconds(server)
        used = processes.run([[TAP, "--config", str(folder / "tap.json"), *state]])
        if used.problem:
            raise SystemExit(used.problem)
        total = used.cpu_seconds + cpu_seconds(server) - before
        found.append((used.wall_seconds, used.cpu_seconds, total, used.peak_mb))
        delivered = drain(folder)
        if delivered != case.changes:
            message = f"{case.name}: {delivered} changes instead of {case.changes}"
            raise SystemExit(message)
        with psycopg.connect(server.dsn(), autocommit=True) as source:
            for statement in case.again:
                source.execute(statement.encode())
    medians = (statistics.median(column) for column in zip(*found, strict=True))
    return Line(case.name, case.changes, *medians)


def cpu_seconds(server: PostgresServer) -> float:
    """What the server and its processes that have ended took; a backend ends with its session."""
    time.sleep(0.5)  # until the server has taken leave of the session
    assert server.process is not None
    text = Path(f"/proc/{server.process.pid}/stat").read_text()
    ticks = sum(map(int, text.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def drain(folder: Path) -> int:
    """Deliver what there is, keep STATE, and count the records."""
    path = folder / "state.json"
    state = ["--state", str(path)] if path.exists() else []
    count, last = 0, b""
    with subprocess.Popen(
        [TAP, "--config", str(folder / "tap.json"), *state],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as tap:
        for line in tap.stdout or ():
            if line.startswith(b'{"type":"RECORD"'):
                count += 1
            elif line.startswith(b'{"type":"STATE"'):
                last = line
    path.write_text(json.dumps(json.loads(last)["value"]))
    return count


def measure_all(options: argparse.Namespace) -> list[Line]:
    """All cases on one server."""
    with (
        running_postgres(max_wal_size="8GB", shared_buffers="128MB") as server,
        tempfile.TemporaryDirectory(prefix="ipai-cdc-") as name,
    ):
        folder = Path(name)
        config: dict[str, Any] = {"url": server.url(), "replication_method": "LOG_BASED"}
        (folder / "tap.json").write_text(json.dumps(config))
        with psycopg.connect(server.dsn(), autocommit=True) as source:
            source.execute(TABLE.encode())
        lines = []
        for case in cases(options.changes):
            print(f"== {case.name}", file=sys.stderr)
            if case.name.endswith("a transaction each"):
                with psycopg.connect(server.dsn(), autocommit=True) as source:
                    source.execute(INSERT.format(first=1, last=case.changes).encode())
            lines.append(measure(case, server, folder, options.turns))
    return lines


def render(lines: Sequence[Line]) -> str:
    """The figures as a table, and what became of the goal."""
    load = os.getloadavg()[1]
    remark = (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {os.cpu_count()} cores; the load of"
        f" the machine over five minutes was {load:.1f} at the end, these processes among it.\n"
    )
    head = "| changes | number | per CPU-second | CPU s, tap | CPU s, all | s | peak MB |"
    rows = [
        f"| {one.name} | {one.changes:,} | {one.per_cpu_second:,.0f} | {one.client_cpu:.2f} |"
        f" {one.cpu:.2f} | {one.wall:.2f} | {one.peak_mb:.0f} |"
        for one in lines
    ]
    first = lines[0]
    met = "met" if first.per_cpu_second >= WANTED else "**missed**"
    goal = f"- {first.per_cpu_second:,.0f} {first.name}, per CPU-second; {WANTED:,} wanted: {met}."
    return "\n".join([remark, head, "|---|--:|--:|--:|--:|--:|--:|", *rows, "", goal]) + "\n"


def write(text: str) -> None:
    """Put the figures into the page, between its marks."""
    before, rest = PAGE.read_text(encoding="utf-8").split("<!-- figures: begin -->\n")
    after = rest.split("<!-- figures: end -->")[1]
    marked = f"<!-- figures: begin -->\n{text}<!-- figures: end -->"
    PAGE.write_text(f"{before}{marked}{after}", encoding="utf-8")


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--changes", type=int, default=400_000)
    parser.add_argument("--turns", type=int, default=3, help="measured runs of each")
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
