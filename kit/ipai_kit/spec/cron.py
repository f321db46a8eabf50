# SPDX-License-Identifier: Apache-2.0
"""Cron schedules of five fields, as the specs write them."""

import calendar
from dataclasses import dataclass

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _WEEKDAYS),
)
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class CronError(ValueError):
    """The schedule is not a cron expression of five fields."""


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """The minutes, hours and days on which a schedule fires; Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "CronSchedule":
        """Read ``minute hour day month weekday``; ``CronError`` says what is wrong."""
        parts = text.split()
        if len(parts) != len(_FIELDS):
            count = "1 field" if len(parts) == 1 else f"{len(parts)} fields"
            message = (
                f"Schedule {text!r} has {count} instead of 5. "
                "Write minute, hour, day, month and weekday, e.g. '17 * * * *'."
            )
            raise CronError(message)
        sets = [_field(part, *limits) for part, limits in zip(parts, _FIELDS, strict=True)]
        weekdays = frozenset(day % 7 for day in sets[4])
        if parts[4] == "*":
            _refuse_impossible(text, sets[2], sets[3])
        return cls(sets[0], sets[1], sets[2], sets[3], weekdays)


def _field(part: str, name: str, low: int, high: int, words: dict[str, int]) -> frozenset[int]:
    numbers: set[int] = set()
    for item in part.split(","):
        span, slash, step_text = item.partition("/")
        step = _number(step_text, item, name, 1, high, {}) if slash else 1
        if span == "*":
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, item, name, low, high, words)
            last = _number(end, item, name, low, high, words) if dash else first
            if slash and not dash:
                last = high
        if first > last:
            message = f"Field {name} of the schedule runs backwards: {item!r}. Swap its ends."
            raise CronError(message)
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _number(text: str, item: str, name: str, low: int, high: int, words: dict[str, int]) -> int:
    number = words.get(text.lower(), -1)
    if text.isascii() and text.isdigit():
        number = int(text)
    if not low <= number <= high:
        message = (
            f"Field {name} of the schedule is not valid: {item!r}. Use {low} to {high}, or '*'."
        )
        raise CronError(message)
    return number


def _refuse_impossible(text: str, days: frozenset[int], months: frozenset[int]) -> None:
    if min(days) > max(_DAYS_IN_MONTH[month - 1] for month in months):
        message = f"Schedule {text!r} never fires: no such day in that month. Use an earlier day."
        raise CronError(message)
