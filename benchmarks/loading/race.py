# SPDX-License-Identifier: Apache-2.0
"""Contenders take turns, so that a busy moment of the machine meets all of them."""

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from loading.contender import Contender, Measure, measure
from loading.streams import Load

_MEDIANS = ("client_cpu", "server_cpu", "wall", "peak_mb", "bytes_per_row")
_COUNTS = ("rows_written", "dead_rows")


@dataclass(frozen=True)
class Rules:
    """How often each runs: what takes more than `slow` CPU seconds once, the rest `turns` times."""

    turns: int = 3
    slow: float = 12.0
    warm_up: bool = True
    patience: float = 600.0


def race(
    contenders: Sequence[Contender], loads: Sequence[Load], warm_up: Sequence[Load], rules: Rules
) -> list[Measure]:
    """All runs but those of the first turn, which has small loads and only warms caches."""
    for load in warm_up if rules.warm_up else ():
        for contender in contenders:
            _tell("warm-up", measure(contender, load, rules.patience))
    measures: list[Measure] = []
    done: set[tuple[str, str]] = set()
    for turn in range(1, rules.turns + 1):
        # A replay needs the load before it: steps of one contender leave the race together.
        out = frozenset(done)
        for load in loads:
            for contender in contenders:
                if (contender.name, load.kind) in out:
                    continue
                one = measure(contender, load, rules.patience)
                _tell(f"turn {turn}", one)
                measures.append(one)
                if one.problem or one.cpu > rules.slow:
                    done.add((contender.name, load.kind))
    return measures


def medians(measures: Iterable[Measure]) -> list[Measure]:
    """One line for each contender, step and load, in the order of their first runs."""
    groups: dict[tuple[str, str, str, int], list[Measure]] = {}
    for one in measures:
        groups.setdefault((one.kind, one.name, one.step, one.rows), []).append(one)
    return [_median(group) for group in groups.values()]


def _median(group: list[Measure]) -> Measure:
    good = [one for one in group if not one.problem] or group
    values = {
        name: round(statistics.median(getattr(one, name) for one in good), 3) for name in _MEDIANS
    }
    counts = {name: max(getattr(one, name) for one in good) for name in _COUNTS}
    problem = next((one.problem for one in group if one.problem), "")
    return replace(good[0], runs=len(good), problem=problem, **values, **counts)


def _tell(turn: str, one: Measure) -> None:
    label = f"{turn:8} {one.kind:7} {one.rows:>9,} {one.name}, {one.step}"
    if one.problem:
        print(f"{label:72} {one.problem}", file=sys.stderr, flush=True)
        return
    figures = f"{one.client_cpu:7.2f} {one.server_cpu:7.2f} {one.rows_per_cpu_second:10,.0f}"
    print(f"{label:72} {figures} {one.peak_mb:6.0f} MB", file=sys.stderr, flush=True)
