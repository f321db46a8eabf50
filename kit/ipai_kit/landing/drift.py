# SPDX-License-Identifier: Apache-2.0
"""Drift: how the records of a run differ from their SCHEMA, once per place, with counts.

An event `drift` tells of a place at its first record and again, with its total, at the commits
by which the total has doubled and at the end. It names the place, types and one key, no value.
"""

from dataclasses import dataclass
from typing import Final

from ipai_kit.landing.deviations import Deviation
from ipai_kit.landing.events import EventLog

_MOST_PLACES: Final = 500
_KEY_LENGTH: Final = 200


@dataclass
class DriftCount:
    """How often one difference came, and how often when it was last told."""

    example_key: str
    count: int = 0
    told: int = 0


class Drift:
    """Counts differences over a run."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._counts: dict[tuple[str, Deviation], DriftCount] = {}
        self._is_full = False

    def note(self, stream: str, deviation: Deviation, key: bytes) -> None:
        """Count a difference of one record; the first of its kind is told at once."""
        entry = self._counts.get((stream, deviation))
        if entry is None:
            if len(self._counts) >= _MOST_PLACES:
                self._tell_full()
                return
            entry = DriftCount(key[:_KEY_LENGTH].decode("utf-8", "replace"))
            self._counts[stream, deviation] = entry
        entry.count += 1
        if entry.count == 1:
            self._tell(stream, deviation, entry, level="warning")

    def tell_totals(self, *, is_end: bool = False) -> None:
        """Tell of what has doubled since it was told, at the end of all that has changed."""
        for (stream, deviation), entry in self._counts.items():
            if entry.count > entry.told and (is_end or entry.count >= 2 * entry.told):
                self._tell(stream, deviation, entry, level="info")

    def _tell(self, stream: str, deviation: Deviation, entry: DriftCount, *, level: str) -> None:
        entry.told = entry.count
        self._events.emit(
            "drift",
            level=level,
            stream=stream,
            kind=deviation.kind,
            path=deviation.path,
            expected=deviation.expected,
            seen=deviation.seen,
            count=entry.count,
            example_key=entry.example_key,
        )

    def _tell_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            self._events.emit("drift_not_counted", level="warning", places=_MOST_PLACES)
