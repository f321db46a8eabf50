#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How many no-op jobs a second the queue carries, beside procrastinate's in the same run.

Eight processes, each with one connection, take jobs from the embedded server and end them at once.
The peer's queue lives in a database of its own on the same server; both sides are driven by the
same loop over their SQL functions, in turns, and medians are shown. Also: how a claim fares
with many finished runs, how many log lines are stored a second, and what the outbox costs.

    python benchmarks/control_plane.py [--quick] [--only SECTION …] [--write] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg

from queueing import (
    OURS,
    THEIRS,
    cycle_rate,
    fill,
    finished_runs,
    peer_database,
    rate_of,
    server,
)

PAGE = Path(__file__).resolve().parents[1] / "docs/reference/control-plane-benchmarks.md"
GOAL_CYCLES, GOAL_OF_PEER, GOAL_LINES, GOAL_FLAT = 400.0, 0.8, 20_000.0, 1.5
QUEUED_TRIGGERS = ("connector_runs_event_of_insert", "connector_runs_event_of_update")


@dataclass(frozen=True)
class Line:
    """One figure; `goal` is what it must reach, or may at most be."""

    section: str
    name: str
    value: float
    unit: str
    runs: int = 1
    goal: str = ""
    met: bool | None = None


# -- sections --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    jobs: int
    turns: int
    finished: tuple[int, ...]
    lines: int
    with_peer: bool


def measure_cycles(plan: Plan) -> list[Line]:
    """Claim and complete, alone and with enqueue, ours and the peer's in turns."""
    with server() as dsn:
        fill(dsn)
        theirs, problem = peer_database(dsn) if plan.with_peer else ("", "left out")
        rates: dict[tuple[str, bool], list[float]] = {}
        for _ in range(plan.turns):
            for enqueue in (False, True):
                ours = cycle_rate(dsn, OURS, plan.jobs, enqueue=enqueue)
                rates.setdefault(("ours", enqueue), []).append(ours)
                if theirs:
                    peers = cycle_rate(theirs, THEIRS, plan.jobs, enqueue=enqueue)
                    rates.setdefault(("procrastinate", enqueue), []).append(peers)
    lines = []
    for (who, enqueue), found in rates.items():
        name = f"{who}: {'enqueue, ' if enqueue else ''}claim and complete"
        lines.append(Line("cycles", name, statistics.median(found), "jobs/s", len(found)))
    if problem:
        print(f"procrastinate: {problem}", file=sys.stderr)
    return [*lines, *_ratios(rates)]


def _ratios(rates: dict[tuple[str, bool], list[float]]) -> list[Line]:
    found = {key: statistics.median(values) for key, values in rates.items()}
    lines = []
    for enqueue, goal in ((False, f"{GOAL_OF_PEER} or {GOAL_CYCLES:.0f} jobs/s"), (True, "")):
        if ("procrastinate", enqueue) in found:
            ratio = found["ours", enqueue] / found["procrastinate", enqueue]
            met = ratio >= GOAL_OF_PEER or found["ours", enqueue] >= GOAL_CYCLES
            name = f"{'with enqueue' if enqueue else 'claim and complete'}, of procrastinate's rate"
            lines.append(Line("cycles", name, ratio, "times", 1, goal, met if goal else None))
    return lines


def measure_history(plan: Plan) -> list[Line]:
    """One process claims and completes beside ever more finished runs."""
    lines: list[Line] = []
    with server() as dsn:
        fill(dsn)
        for upto in plan.finished:
            finished_runs(dsn, upto)
            claims = [_claim_times(dsn, plan.jobs // 8) for _ in range(plan.turns)]
            value = statistics.median(statistics.median(one) for one in claims) * 1000
            lines.append(Line("history", f"claim, {upto:,} finished runs", value, "ms", plan.turns))
    flat = lines[-1].value / lines[0].value
    goal = f"at most {GOAL_FLAT}"
    return [
        *lines,
        Line("history", "last against first", flat, "times", 1, goal, flat <= GOAL_FLAT),
    ]


def _claim_times(dsn: str, jobs: int) -> list[float]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(OURS.bulk, {"count": jobs})
        taken = []
        for _ in range(jobs):
            began = time.monotonic()
            job = connection.execute(OURS.claim, {"worker": "bench"}).fetchone()
            taken.append(time.monotonic() - began)
            connection.execute(OURS.finish, {"one": job[0], "two": job[1]})  # type: ignore[index]
    return taken


LOG_LINES = 500


def _write_logs(
    dsn: str, run: list[Any], number: int, calls: int, gate: Barrier, ends: Any
) -> None:
    line = {
        "at": datetime.now(UTC).isoformat(),
        "level": "info",
        "stream": "issues",
        "source": "tap",
        "message": "read page 17 of repository acme/app, 100 records, 4,873 requests left",
        "fields": {"page": 17, "records": 100, "seconds": 0.18},
    }
    lines = json.dumps([line] * LOG_LINES)
    with psycopg.connect(dsn, autocommit=True) as connection:
        gate.wait()
        for _ in range(calls):
            connection.execute(
                "select connectors.append_connector_logs(%s, %s, %s)", (*run[number], lines)
            )
        ends.put((time.monotonic(), calls * LOG_LINES))


def measure_logs(plan: Plan) -> list[Line]:
    """Lines a second through append_connector_logs, as the runner calls it: 500 at a time."""
    lines = []
    with server() as dsn:
        fill(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(OURS.bulk, {"count": 4})
            runs = [connection.execute(OURS.claim, {"worker": "b"}).fetchone() for _ in range(4)]
        for writers in (1, 4):
            calls = max(1, plan.lines // writers // LOG_LINES)
            rates = [rate_of(_write_logs, writers, dsn, runs, calls) for _ in range(plan.turns)]
            best = statistics.median(rates)
            goal = (f"{GOAL_LINES:,.0f}", best >= GOAL_LINES) if writers == 4 else ("", None)
            name = f"log lines, {writers} run{'s' if writers > 1 else ''} at once"
            lines.append(Line("logs", name, best, "lines/s", len(rates), *goal))
    return lines


def measure_outbox(plan: Plan) -> list[Line]:
    """The same cycles with and without the triggers that write events."""
    rates: dict[str, list[float]] = {"with": [], "without": []}
    with server() as dsn:
        fill(dsn)
        for _ in range(plan.turns):
            for name, verb in (("with", "enable"), ("without", "disable")):
                with psycopg.connect(dsn, autocommit=True) as connection:
                    for trigger in QUEUED_TRIGGERS:
                        connection.execute(
                            f"alter table connectors.connector_runs {verb} trigger {trigger}"
                        )
                rates[name].append(cycle_rate(dsn, OURS, plan.jobs, enqueue=True))
    found = {name: statistics.median(values) for name, values in rates.items()}
    cost = 1000 / found["with"] - 1000 / found["without"]
    return [
        Line("outbox", "with events", found["with"], "jobs/s", plan.turns),
        Line("outbox", "without", found["without"], "jobs/s", plan.turns),
        Line("outbox", "three events of a job", cost, "ms of the server"),
    ]


SECTIONS = {
    "cycles": measure_cycles,
    "history": measure_history,
    "logs": measure_logs,
    "outbox": measure_outbox,
}


# -- the command -----------------------------------------------------------------------------------


def render(lines: list[Line], remark: str) -> str:
    """The figures as a table."""
    rows = [f"{remark}\n", "| what | measured | goal | |", "|---|--:|--:|---|"]
    for line in lines:
        met = {None: "", True: "met", False: "**missed**"}[line.met]
        shown = f"{line.value:,.0f}" if line.value >= 100 else f"{line.value:.2f}"
        rows.append(f"| {line.name} | {shown} {line.unit} | {line.goal} | {met} |")
    return "\n".join(rows) + "\n"


def write(text: str) -> None:
    """Put the figures into the page, between its marks."""
    before, rest = PAGE.read_text(encoding="utf-8").split("<!-- figures: begin -->\n")
    after = rest.split("<!-- figures: end -->")[1]
    marked = f"<!-- figures: begin -->\n{text}<!-- figures: end -->"
    PAGE.write_text(f"{before}{marked}{after}", encoding="utf-8")


def main() -> None:
    """Measure the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few jobs, once")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--turns", type=int, help="measured runs of each; 3")
    parser.add_argument("--without-peer", action="store_true", help="only ours")
    parser.add_argument("--write", action="store_true", help="write the figures into docs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    small = options.quick
    plan = Plan(
        jobs=150 if small else 4_000,
        turns=options.turns or (1 if small else 3),
        finished=(0, 1_000) if small else (0, 100_000, 1_000_000),
        lines=2_000 if small else 100_000,
        with_peer=not options.without_peer,
    )
    lines: list[Line] = []
    for name in options.only:
        print(f"== {name}", file=sys.stderr)
        lines += SECTIONS[name](plan)
    load = os.getloadavg()[1]
    remark = (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {os.cpu_count()} cores; the load"
        f" of the machine over five minutes was {load:.1f} at the end, these processes among it."
    )
    text = render(lines, remark)
    print(json.dumps([asdict(line) for line in lines], indent=1) if options.json else text)
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
