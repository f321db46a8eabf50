# SPDX-License-Identifier: Apache-2.0
"""A contender: a loader, how it is started, where its rows end up; and one measured run of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from loading import processes
from loading.places import Place
from loading.streams import Load

Family = Literal["ours", "peer", "limit"]
Step = Literal["first load", "replay", "append", "emission"]
Pipeline = Sequence[Sequence[str]]


def nothing(load: Load) -> None:
    """Leave the place as it is."""


@dataclass(frozen=True)
class Contender:
    """A loader in one of its settings, for one step."""

    name: str
    family: Family
    step: Step
    place: Place
    pipeline: Callable[[Load], Pipeline]
    stdin: Callable[[Load], Path] | None = None
    prepare: Callable[[Load], None] = nothing
    environment: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def label(self) -> str:
        """Name and step."""
        return f"{self.name}, {self.step}"


@dataclass(frozen=True)
class Measure:
    """One run of a contender, or the median of its runs."""

    name: str
    family: str
    step: str
    kind: str
    rows: int
    runs: int = 1
    client_cpu: float = 0.0
    server_cpu: float = 0.0
    wall: float = 0.0
    peak_mb: float = 0.0
    bytes_per_row: float = 0.0
    rows_written: int = 0
    dead_rows: int = 0
    problem: str = ""

    @property
    def cpu(self) -> float:
        """Processor seconds, client and server."""
        return self.client_cpu + self.server_cpu

    @property
    def rows_per_cpu_second(self) -> float:
        """What is compared."""
        return self.rows / self.cpu if self.cpu else 0.0


def measure(contender: Contender, load: Load, patience: float) -> Measure:
    """Run a contender once."""
    about = (contender.name, contender.family, contender.step, load.kind, load.rows)
    if contender.problem:
        return Measure(*about, problem=contender.problem)
    contender.prepare(load)
    before = contender.place.before(load)
    stdin = contender.stdin(load) if contender.stdin else None
    used = processes.run(contender.pipeline(load), stdin, contender.environment, patience)
    if used.problem:
        return Measure(*about, wall=used.wall_seconds, problem=used.problem)
    after = contender.place.after(load)
    written = after.rows_written - before.rows_written
    problem = "" if after.rows == load.rows else f"{after.rows} rows instead of {load.rows}"
    if contender.family == "ours" and contender.step == "replay" and written:
        problem = problem or f"{written} rows written by a replay"
    return Measure(
        *about,
        client_cpu=used.cpu_seconds,
        server_cpu=after.server_cpu - before.server_cpu,
        wall=used.wall_seconds,
        peak_mb=used.peak_mb,
        bytes_per_row=(after.bytes_written - before.bytes_written) / load.rows,
        rows_written=max(written, 0),
        dead_rows=after.dead_rows,
        problem=problem,
    )
