# SPDX-License-Identifier: Apache-2.0
"""When a cron expression is due in its time zone, also on the days the clocks change.

A schedule that names hours means a time on the wall: it is due once a day for each of them. A time
that is left out in spring is due at the first moment after the gap; one that comes twice in autumn
is due the first time. A schedule of every hour (`*/15 * * * *`) means time that passes: it goes on
evenly through both. Day of month and day of week are alternatives when both are restricted, as in
every cron.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ipai_kit.spec import CronError, CronSchedule
from ipai_orchestrate.exceptions import ConfigurationError

_ZONE_PREFIXES = ("CRON_TZ=", "TZ=")
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_DAY = timedelta(days=1)
# 29 February is missing for eight years around the end of most centuries.
_LONGEST_WAIT_DAYS = 366 * 9


@dataclass(frozen=True)
class Rule:
    """A cron expression in a time zone."""

    cron: CronSchedule
    zone: ZoneInfo

    @classmethod
    def parse(cls, expression: str, zone: str = "UTC") -> "Rule":
        """Read an expression, which may name its own zone: `CRON_TZ=Asia/Manila 0 6 * * *`."""
        first, *rest = expression.split(maxsplit=1) or [""]
        for prefix in _ZONE_PREFIXES:
            if first.startswith(prefix):
                zone, expression = first.removeprefix(prefix), "".join(rest)
        fields = _NICKNAMES.get(expression.strip(), expression)
        try:
            return cls(CronSchedule.parse(fields), ZoneInfo(zone))
        except CronError as error:
            raise ConfigurationError(str(error)) from error
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            message = f"Time zone {zone!r} is unknown. Use a name like Europe/Berlin or UTC."
            raise ConfigurationError(message) from error

    def newest_first(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Due times after the one moment and up to the other, in UTC, the last one first."""
        day = until.astimezone(self.zone).date() + _DAY
        earliest = after.astimezone(self.zone).date() - _DAY
        last = None
        while day >= earliest:
            for moment in reversed(self._of_day(day)):
                if after < moment <= until and moment != last:
                    yield moment
                    last = moment
            day -= _DAY

    def next_after(self, after: datetime) -> datetime:
        """The first due time after a moment, in UTC."""
        first = after.astimezone(self.zone).date() - _DAY
        for number in range(_LONGEST_WAIT_DAYS):
            for moment in self._of_day(first + number * _DAY):
                if moment > after:
                    return moment
        message = f"Schedule {self.cron!r} is never due."  # the parser lets none of these through
        raise ConfigurationError(message)

    def _of_day(self, day: date) -> list[datetime]:
        """The due times of a day on the wall, in order."""
        if not self._is_due_on(day):
            return []
        walls = [
            datetime.combine(day, time(hour, minute))
            for hour in sorted(self.cron.hours)
            for minute in sorted(self.cron.minutes)
        ]
        offset = self._offset(datetime.combine(day, time()))
        if offset == self._offset(datetime.combine(day + _DAY, time())):
            return [(wall - offset).replace(tzinfo=UTC) for wall in walls]
        find = self._all_of if len(self.cron.hours) == 24 else self._one_of
        return sorted({moment for wall in walls for moment in find(wall)})

    def _is_due_on(self, day: date) -> bool:
        cron = self.cron
        by_date, by_weekday = day.day in cron.days, day.isoweekday() % 7 in cron.weekdays
        both_restricted = len(cron.days) < 31 and len(cron.weekdays) < 7
        due = by_date or by_weekday if both_restricted else by_date and by_weekday
        return due and day.month in cron.months

    def _offset(self, wall: datetime, fold: int = 0) -> timedelta:
        return wall.replace(tzinfo=self.zone, fold=fold).utcoffset() or timedelta()

    def _all_of(self, wall: datetime) -> list[datetime]:
        """Each moment at which the clock shows this: none in a gap, two in a fold."""
        moments = [(wall - self._offset(wall, fold)).replace(tzinfo=UTC) for fold in (0, 1)]
        return [one for one in moments if one.astimezone(self.zone).replace(tzinfo=None) == wall]

    def _one_of(self, wall: datetime) -> list[datetime]:
        """The first such moment; the end of the gap where there is none."""
        return self._all_of(wall)[:1] or [self._end_of_gap(wall)]

    def _end_of_gap(self, wall: datetime) -> datetime:
        """The clock jumps between what the two offsets make of a time that does not exist."""
        low, high = sorted((wall - self._offset(wall, fold)).replace(tzinfo=UTC) for fold in (0, 1))
        before = low.astimezone(self.zone).utcoffset()
        while high - low > timedelta(seconds=1):
            middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
            if middle.astimezone(self.zone).utcoffset() == before:
                low = middle
            else:
                high = middle
        return high
