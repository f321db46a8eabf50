# SPDX-License-Identifier: Apache-2.0
"""The sections of the report: who runs with which loads, and which goals they are held to."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loading import goals, handover_contenders, lake_contenders, postgres_contenders
from loading.contender import Contender, Measure
from loading.environments import PEERS, Environments
from loading.lake_contenders import Lake
from loading.postgres_contenders import Postgres
from loading.processes import environment_of
from loading.race import Rules, medians, race
from loading.server import SETTINGS, running_server
from loading.streams import Load, write_load

_WARM_UP_SHARE = 20
_LIBRARIES = ("msgspec", "psycopg", "pyarrow", "deltalake", "singer-sdk")


def _commit() -> list[str]:
    """What is measured; asked at the start, a long run may see the next commit come."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return [f"this repository at {asked.stdout.strip()}"] if asked.returncode == 0 else []


_COMMIT = _commit()


@dataclass(frozen=True)
class Plan:
    """Sizes and places of a run."""

    rows: int
    nested_rows: int
    pipe_rows: int
    batch_rows: int
    large_rows: int
    rules: Rules
    home: Path
    environments: Environments
    with_peers: bool = True
    who: tuple[str, ...] = ("",)

    def load(self, kind: str, rows: int) -> Load:
        """A stream; kept for the next run."""
        return write_load(kind, rows, self.home / "streams")

    def loads(self) -> list[Load]:
        """The two loads that everybody gets."""
        sizes = {"narrow": self.rows, "nested": self.nested_rows}
        return [self.load(kind, rows) for kind, rows in sizes.items() if rows]

    def race(self, contenders: Sequence[Contender], loads: Sequence[Load]) -> list[Measure]:
        """Warm up with small loads, then measure."""
        small = [self.load(one.kind, max(1, one.rows // _WARM_UP_SHARE)) for one in loads]
        chosen = [one for one in contenders if any(word in one.label for word in self.who)]
        return race(chosen, loads, small, self.rules)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for one section, which another account may enter."""
        folder = Path(tempfile.mkdtemp(prefix="ipai-bench-"))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def postgres(self) -> Iterator[Postgres]:
        """A server for one section."""
        with self.scratch() as folder, running_server(folder / "server") as server:
            yield Postgres(server, folder, self.environments)


@dataclass(frozen=True)
class Section:
    """What was measured, with all that is needed to judge it."""

    lines: list[Measure]
    goals: list[dict[str, Any]]
    cpu_of_runs: dict[str, list[float]]
    about: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For the file beside the page."""
        lines = [asdict(line) for line in self.lines]
        for line, measure in zip(lines, self.lines, strict=True):
            line["rows_per_cpu_second"] = round(measure.rows_per_cpu_second)
            line["cpu_of_runs"] = self.cpu_of_runs[_key(measure)]
        return {**self.about, "lines": lines, "goals": self.goals}


def postgres(plan: Plan) -> Section:
    """Loading into Postgres."""
    with plan.postgres() as place:
        contenders = [*postgres_contenders.ours(place), *postgres_contenders.limit(place)]
        if plan.with_peers:
            contenders += postgres_contenders.peers(place)
        measures = plan.race(contenders, plan.loads())
        return _section(plan, measures, goals.POSTGRES, _server(place))


def lake(plan: Plan) -> Section:
    """Writing Parquet and Delta on a local disk."""
    with plan.scratch() as folder:
        place = Lake(folder, plan.environments)
        contenders = [*lake_contenders.ours(place), *lake_contenders.limits(place)]
        if plan.with_peers:
            contenders += lake_contenders.peers(place)
        return _section(plan, plan.race(contenders, plan.loads()), goals.LAKE)


def pipe(plan: Plan) -> Section:
    """A tap and the target, joined by a kernel pipe."""
    with plan.postgres() as place:
        loads = [plan.load("narrow", plan.pipe_rows)]
        measures = plan.race(handover_contenders.pipe(place), loads)
        return _section(plan, measures, goals.PIPE, _server(place))


def batch(plan: Plan) -> Section:
    """Records as lines against files that are handed over."""
    with plan.postgres() as place, plan.scratch() as folder:
        contenders = [
            *handover_contenders.into_postgres(place),
            *handover_contenders.into_lake(Lake(folder, plan.environments)),
        ]
        measures = plan.race(contenders, [plan.load("narrow", plan.batch_rows)])
        return _section(plan, measures, goals.BATCH, _server(place))


def large(plan: Plan) -> Section:
    """Ten times the rows: what a row costs then, and how much memory is held."""
    small = plan.large_rows // 10
    with plan.postgres() as place:
        contenders = [*postgres_contenders.ours(place)[:2], *postgres_contenders.limit(place)]
        loads = [plan.load("narrow", rows) for rows in (small, plan.large_rows)]
        measures = plan.race(contenders, loads)
        wanted = goals.large_goals(small, plan.large_rows)
        return _section(plan, measures, wanted, _server(place))


def emit(plan: Plan) -> Section:
    """What taps write to /dev/null: singer-sdk as it comes, and ours."""
    program = str(Path(__file__).resolve().parents[1] / "tap_emit.py")
    sizes = ["--records", str(plan.rows), "--repeat", str(plan.rules.turns), "--json"]
    done = subprocess.run(
        [sys.executable, program, *sizes],
        env=environment_of({}),
        check=True,
        stdout=subprocess.PIPE,
    )
    measures = [
        Measure(
            name=row["variant"],
            family="ours" if row["variant"].startswith("ipai") else "peer",
            step="emission",
            kind="narrow",
            rows=plan.rows,
            client_cpu=spent,
        )
        for row in json.loads(done.stdout)["rows"]
        for spent in row["cpu_of_runs"]
    ]
    return _section(plan, measures, goals.EMIT)


SECTIONS: dict[str, Callable[[Plan], Section]] = {
    "postgres": postgres,
    "lake": lake,
    "pipe": pipe,
    "batch": batch,
    "emit": emit,
    "large": large,
}


def _section(
    plan: Plan,
    measures: list[Measure],
    wanted: Sequence[goals.Goal],
    more: dict[str, Any] | None = None,
) -> Section:
    lines = medians(measures)
    runs: dict[str, list[float]] = {}
    for one in measures:
        runs.setdefault(_key(one), []).append(round(one.cpu, 2))
    about = {
        "made_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": _command(),
        "turns": plan.rules.turns,
        "slow": plan.rules.slow,
        "machine": _machine(),
        "versions": _versions(plan),
        **(more or {}),
    }
    return Section(lines, [goal.judge(lines) for goal in wanted], runs, about)


def _key(one: Measure) -> str:
    return f"{one.kind} {one.rows} {one.name}, {one.step}"


def _command() -> str:
    """What was typed, without the options that name folders."""
    words, rest = [], iter(sys.argv[1:])
    for word in rest:
        if word in {"--peers", "--out"}:
            next(rest, "")
        else:
            words.append(word)
    return " ".join(["python benchmarks/bench.py", *words])


def _server(place: Postgres) -> dict[str, Any]:
    shown = place.server.value("select split_part(version(), ' on ', 1)")
    return {"server": f"{shown}, defaults but {SETTINGS}".replace("'", "")}


def _machine() -> str:
    cpus = len(os.sched_getaffinity(0))
    memory = int(Path("/proc/meminfo").read_text().split(maxsplit=2)[1]) >> 20
    return f"{cpus} CPUs, {memory} GiB, {platform.system()}, Python {platform.python_version()}"


def _versions(plan: Plan) -> list[str]:
    ours = [f"{name} {version(name)}" for name in _LIBRARIES]
    peers = [peer.version for peer in PEERS if peer.name in plan.environments.made]
    return [*_COMMIT, *ours, *peers]
