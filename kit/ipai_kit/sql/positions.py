# SPDX-License-Identifier: Apache-2.0
"""Positions in ordered rows: taken from blocks, moved back by a lookback, compared for STATE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from ipai_kit.sql.database import Block, Position

__all__ = ["CursorValue", "last_position"]

_decode = msgspec.json.Decoder().decode
_A_DAY = timedelta(days=1)  # beyond any difference between zones that a plain timestamp hides


def last_position(block: Block, order: Sequence[str]) -> Position:
    """Return the position of the last row of a block."""
    if block.batch is not None:
        record = block.batch.slice(block.count - 1).to_pylist()[0]
    elif block.rows:
        record = block.rows[-1]
    else:
        begin = block.lines.rfind(b"\n", 0, -1) + 1
        record = _decode(memoryview(block.lines)[begin:])
    return tuple(_plain(record[name]) for name in order)


def _plain(value: Any) -> Any:
    """What STATE can hold: the value as it stands in the record's JSON."""
    return _decode(msgspec.json.encode(value)) if not isinstance(value, str | int) else value


class CursorValue:
    """How the values of a cursor column compare, as far as a bookmark needs it.

    The database does the real comparing. Here a value must only be kept from going back, and from
    lying in the future, where it would hide what is written until then.
    """

    def __init__(self, schema: Mapping[str, Any], native_type: str) -> None:
        native = native_type.lower()
        self._is_zoned = schema.get("format") == "date-time"
        self._is_date = schema.get("format") == "date"
        self._is_time = self._is_zoned or self._is_date or native.startswith(("timestamp", "datet"))
        self._is_number = schema.get("format") == "x-singer.decimal" or "integer" in str(
            schema.get("type")
        )

    @property
    def is_time(self) -> bool:
        """Whether the values are moments or days."""
        return self._is_time

    def later(self, one: Any, other: Any) -> Any:
        """Return the later of two values; the second where they do not compare."""
        if one is None or other is None:
            return other if one is None else one
        first, second = self._order(one), self._order(other)
        if first is None or second is None:
            return other
        return one if first > second else other

    def no_later_than_now(self, value: Any, now: datetime) -> Any:
        """Return the value, or now when the value lies in the future."""
        if not self._is_time or value is None:
            return value
        limit = now if self._is_zoned else now + _A_DAY
        moment = self._order(value)
        if moment is not None and moment <= limit:
            return value
        if moment is None and self._is_past(value):
            return value
        return self._text(limit)

    def back(self, value: Any, lookback: timedelta | int | None) -> Any:
        """Return the value moved back by the lookback."""
        if not lookback or value is None:
            return value
        if isinstance(lookback, int):
            return value - lookback if isinstance(value, int) else value
        moment = self._order(value) if self._is_time else None
        if moment is None:
            return value
        try:
            return self._text(moment - lookback)
        except OverflowError:
            return value

    def _order(self, value: Any) -> Any:
        try:
            if self._is_date:
                return datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
            if self._is_time:
                moment = datetime.fromisoformat(value)
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return Decimal(value) if self._is_number else None
        except (ValueError, TypeError, InvalidOperation):
            return None

    @staticmethod
    def _is_past(value: Any) -> bool:
        """Say whether a value that no calendar of ours holds lies long ago."""
        text = str(value)
        return text.endswith("BC") or text.startswith(("-", "0000-"))

    def _text(self, moment: datetime) -> str:
        if self._is_date:
            return moment.date().isoformat()
        moment = moment.astimezone(UTC)
        return (moment if self._is_zoned else moment.replace(tzinfo=None)).isoformat()
