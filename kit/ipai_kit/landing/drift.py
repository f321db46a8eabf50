# SPDX-License-Identifier: Apache-2.0
"""Drift: how the records of a run differ from their SCHEMA, once per place, with counts.

An event `drift` warns of a wrong place at its first record, and gives its total at the commits by
which that has doubled and at the end. A member that the schema does not list is told once, at the
end: APIs grow. An event names the place, types and one key, no value.
"""

from dataclasses import dataclass
from typing import Final

from ipai_kit.landing.deviations import Deviation, DriftKind
from ipai_kit.landing.events import EventLog

_MOST_PLACES: Final = 500
_MOST_NEWS: Final = 100
"""Members that no SCHEMA lists, told of in one run; they must not hide a wrong type."""
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
        self._wrong = 0
        self._full: set[bool] = set()

    def note(self, stream: str, deviation: Deviation, key: bytes) -> None:
        """Count a difference of one record; the first of its kind is told at once."""
        entry = self._counts.get((stream, deviation))
        is_wrong = deviation.kind != DriftKind.UNKNOWN_FIELD
        if entry is None:
            if self._is_beyond(is_wrong):
                return
            self._wrong += is_wrong
            entry = DriftCount(key[:_KEY_LENGTH].decode("utf-8", "replace"))
            self._counts[stream, deviation] = entry
        entry.count += 1
        if is_wrong and entry.count == 1:
            self._tell(stream, deviation, entry, level="warning")

    def tell_totals(self, *, is_end: bool = False) -> None:
        """Tell of what has doubled since it was told, at the end of all that has changed."""
        for (stream, deviation), entry in self._counts.items():
            has_doubled = (
                deviation.kind != DriftKind.UNKNOWN_FIELD and entry.count >= 2 * entry.told
            )
            if entry.count > entry.told and (is_end or has_doubled):
                self._tell(stream, deviation, entry, level="info")

    def _tell(self, stream: str, deviation: Deviation, entry: DriftCount, *, level: str) -> None:
        entry.told = entry.count
        self._events.emit(
            "drift",
            level=level,
            stream=stream,
            message=str(deviation),
            kind=deviation.kind,
            path=deviation.path,
            expected=deviation.expected,
            seen=deviation.seen,
            count=entry.count,
            example_key=entry.example_key,
        )

    def _is_beyond(self, is_wrong: bool) -> bool:
        """Whether there are too many places of this sort to count one more; told once."""
        if is_wrong:
            known, most, level = self._wrong, _MOST_PLACES, "warning"
        else:
            known, most, level = len(self._counts) - self._wrong, _MOST_NEWS, "info"
        if known < most:
            return False
        if is_wrong not in self._full:
            self._full.add(is_wrong)
            self._events.emit("drift_not_counted", level=level, places=most)
        return True
