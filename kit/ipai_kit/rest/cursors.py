# SPDX-License-Identifier: Apache-2.0
"""Replication-key values: how they compare, how far to look back, what a bookmark may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

__all__ = ["Cursor"]


class Cursor:
    """The replication key of a stream. Values stay as the source wrote them."""

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self.kind = str((schema or {}).get("format", "")) or "plain"
        if self.kind not in ("date-time", "date"):
            self.kind = "plain"
        self._order: Callable[[Any], Any] = _instant if self.kind == "date-time" else _same

    def order(self, value: Any) -> Any:
        """Return what compares as the value means: timestamps as instants, not as text."""
        return self._order(value)

    def later(self, one: Any, other: Any) -> Any:
        """Return the later of two values; None is before everything."""
        if one is None or other is None:
            return other if one is None else one
        return other if self.order(other) > self.order(one) else one

    def before(self, value: Any, limit: Any) -> bool:
        """Say whether a value lies before the limit; unknown values never do."""
        if value is None or limit is None:
            return False
        return bool(self.order(value) < self.order(limit))

    def back(self, value: Any, lookback: timedelta) -> Any:
        """Return the value moved back by the lookback."""
        if value is None or not lookback or self.kind == "plain":
            return value
        if self.kind == "date":
            return (date.fromisoformat(value) - lookback).isoformat()
        return _text(_instant(value) - lookback)

    def no_later_than(self, value: Any, run_start: datetime) -> Any:
        """Return the value, or the start of the run when the value lies in the future.

        A bookmark in the future would hide everything written until then.
        """
        if value is None or self.kind == "plain":
            return value
        if self.kind == "date":
            return min(value, run_start.date().isoformat())
        return value if _instant(value) <= run_start else _text(run_start)


def _same(value: Any) -> Any:
    return value


def _instant(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
