# SPDX-License-Identifier: Apache-2.0
"""What we want to reach, as ratios within one run, and what was reached."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from loading import handover_contenders as handover
from loading import lake_contenders as lake
from loading import postgres_contenders as postgres
from loading.contender import Measure
from loading.environments import MELTANO, PIPELINEWISE

_INSTALLED, _BEST = f"{MELTANO.name}, as installed", f"{MELTANO.name}, at its best"
_PARQUETS = ("target-parquet (estrategiahq)", "target-parquet (Automattic)")


@dataclass(frozen=True)
class Figure:
    """A figure of a line: who, doing what, with which records."""

    name: str
    step: str = "first load"
    kind: str = "narrow"
    of: Callable[[Measure], float] = lambda line: line.cpu / line.rows
    rows: int = 0

    def find(self, lines: Sequence[Measure]) -> float | None:
        """The figure, if the line is there and did not fail."""
        for line in lines:
            same = (line.name, line.step, line.kind) == (self.name, self.step, self.kind)
            if same and not line.problem and self.rows in (0, line.rows):
                return self.of(line)
        return None


@dataclass(frozen=True)
class Goal:
    """A bound for one figure, or for the ratio of two."""

    words: str
    figure: Figure
    against: Figure | None
    bound: float
    at_most: bool = False
    unit: str = "times"

    def judge(self, lines: Sequence[Measure]) -> dict[str, Any]:
        """The goal beside what was reached; both sides of a ratio must have been measured."""
        above, below = self.figure.find(lines), 1.0
        if self.against is not None:
            below = self.against.find(lines) or 0.0
        reached = None if above is None or not below else round(above / below, 2)
        met = reached is not None and (
            reached <= self.bound if self.at_most else reached >= self.bound
        )
        side = "at most" if self.at_most else "at least"
        bound = {"bound": self.bound, "unit": self.unit, "side": side}
        return {"goal": self.words, **bound, "reached": reached, "met": met}


def _peak(line: Measure) -> float:
    return line.peak_mb


def _ours(step: str = "first load", kind: str = "narrow") -> Figure:
    return Figure(postgres.OURS, step, kind)


def _times(words: str, peer: str, step: str, kind: str, bound: float) -> Goal:
    """How many times the processor time of ours a peer takes."""
    compared = "first load" if step == "append" else step
    return Goal(words, Figure(peer, compared, kind), _ours(step, kind), bound)


def _copy_goals() -> Iterator[Goal]:
    copy = Figure(postgres.COPY)
    yield Goal("first load, against \\copy", _ours(), copy, 2.5, at_most=True)
    yield Goal("append, against \\copy", _ours("append"), copy, 1.5, at_most=True)


def _replay_goals() -> Iterator[Goal]:
    replay, kind = postgres.OURS, "narrow"
    for words, bound, unit, of in (
        ("rows written by a replay", 0, "rows", lambda line: line.rows_written),
        ("dead rows after a replay", 0, "rows", lambda line: line.dead_rows),
        ("log written by a replay", 5, "bytes a row", lambda line: line.bytes_per_row),
    ):
        figure = Figure(replay, "replay", kind, of)
        yield Goal(words, figure, None, bound, at_most=True, unit=unit)


POSTGRES: tuple[Goal, ...] = (
    *(
        _times(f"{step}, {kind}: {peer}", peer, step, kind, bound)
        for step, kind, peer, bound in (
            ("first load", "narrow", _INSTALLED, 16),
            ("first load", "narrow", _BEST, 8),
            ("first load", "narrow", PIPELINEWISE.name, 4),
            ("first load", "narrow", postgres.SLING_UPSERT, 2.2),
            ("replay", "narrow", _INSTALLED, 18),
            ("replay", "narrow", _BEST, 8),
            ("replay", "narrow", PIPELINEWISE.name, 5),
            ("replay", "narrow", postgres.SLING_UPSERT, 2.8),
            ("append", "narrow", _INSTALLED, 25),
            ("first load", "nested", _INSTALLED, 10),
            ("first load", "nested", PIPELINEWISE.name, 3.5),
            ("first load", "nested", postgres.SLING_UPSERT, 3),
        )
    ),
    *_copy_goals(),
    *_replay_goals(),
)


def _lake_goals() -> Iterator[Goal]:
    for kind in ("narrow", "nested"):
        for ours, form in ((lake.DELTA, "Delta"), (lake.PARQUET, "Parquet")):
            figure = Figure(ours, kind=kind)
            for peer, bound in ((_PARQUETS[0], 12), (_PARQUETS[1], 12), (lake.DLT_ARROW, 4)):
                yield Goal(f"{form}, {kind}: {peer}", Figure(peer, kind=kind), figure, bound)
            raw = Figure(lake.RAW_PARQUET, kind=kind)
            words = f"{form}, {kind}: against raw lines by pyarrow"
            yield Goal(words, figure, raw, 1.3, at_most=True)
            peak = Figure(ours, kind=kind, of=_peak)
            words = f"{form}, {kind}: peak memory"
            yield Goal(words, peak, None, 300, at_most=True, unit="MB")


LAKE: tuple[Goal, ...] = tuple(_lake_goals())
PIPE: tuple[Goal, ...] = (
    Goal(
        "tap alone, records per CPU second",
        Figure("tap of JSON lines", "emission", of=lambda line: line.rows_per_cpu_second),
        None,
        100_000,
        unit="records",
    ),
)


_ITERATOR = Figure("ipai_kit, local iterator", "emission", of=lambda line: line.rows_per_cpu_second)
EMIT: tuple[Goal, ...] = (
    Goal("local iterator, records per CPU second", _ITERATOR, None, 100_000, unit="records"),
)


def _batch_goals() -> Iterator[Goal]:
    for target in (postgres.OURS, lake.OURS):
        lines = Figure(handover.path_name(target, "lines"))
        for form in ("jsonl", "parquet"):
            files = handover.path_name(target, form)
            yield Goal(f"{files}, against lines", lines, Figure(files), 5)


BATCH: tuple[Goal, ...] = tuple(_batch_goals())


def large_goals(small: int, large: int) -> tuple[Goal, ...]:
    """What ten times the rows may cost."""
    figure = Figure(postgres.OURS, rows=large)
    words = f"cost of a row at {large:,} rows against {small:,}"
    peak = Figure(postgres.OURS, of=_peak, rows=large)
    return (
        Goal(words, figure, Figure(postgres.OURS, rows=small), 1.2, at_most=True),
        Goal(f"peak memory at {large:,} rows", peak, None, 200, at_most=True, unit="MB"),
    )
