# SPDX-License-Identifier: Apache-2.0
"""Which due times become runs when nobody was there at some of them."""

from datetime import datetime, timedelta
from itertools import islice, takewhile

from ipai_orchestrate.scheduler.occurrences import Rule
from ipai_orchestrate.scheduler.schedules import Schedule

# More than these cannot be on time: the grace is a day at most.
_MOST_ON_TIME = 1440


def due_times(rule: Rule, schedule: Schedule, since: datetime) -> list[datetime]:
    """The due times after `since` that are to become runs, in order."""
    newest_first = rule.newest_first(since, schedule.seen_at)
    if schedule.misfire == "catch_up":
        return sorted(islice(newest_first, schedule.catch_up_max))
    missed_before = schedule.seen_at - timedelta(seconds=schedule.grace_seconds)
    newest = next(newest_first, None)
    if newest is None or (newest < missed_before and schedule.misfire == "skip"):
        return []
    on_time = takewhile(lambda moment: moment >= missed_before, newest_first)
    return sorted([newest, *islice(on_time, _MOST_ON_TIME)])
