# SPDX-License-Identifier: Apache-2.0
"""When schedules are due: on ordinary days, on the days the clocks change, and in long absences."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.scheduler.misfire import due_times
from ipai_orchestrate.scheduler.occurrences import Rule
from ipai_orchestrate.scheduler.schedules import Schedule

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # moves by half an hour
    "Africa/Cairo",  # its gap begins at midnight
    "America/Havana",  # its fold ends at midnight
    "Asia/Kathmandu",
    "Pacific/Apia",  # left out 30 December 2011
    "Asia/Manila",
]


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def between(rule, after, until):
    return sorted(rule.newest_first(after, until))


def shown(moments, zone):
    return [f"{one.astimezone(ZoneInfo(zone)):%m-%d %H:%M%z}" for one in moments]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "until", "expected"),
    [
        (
            "0 6 * * *",
            "UTC",
            "2026-01-01T06:00",
            "2026-01-03T06:00",
            ["01-02 06:00+0000", "01-03 06:00+0000"],
        ),
        # Spring, Berlin: 02:00 to 03:00 is left out on 29 March.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            "2026-03-30T12:00",
            ["03-29 03:00+0200", "03-30 02:30+0200"],
        ),
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00",
            "2026-03-29T12:00",
            ["03-29 03:00+0200"],
        ),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T01:00",
            "2026-03-29T03:30",
            ["03-29 01:30+0100", "03-29 03:00+0200", "03-29 03:30+0200"],
        ),
        # Autumn, Berlin: 02:00 to 03:00 comes twice on 25 October.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            "2026-10-26T12:00",
            ["10-25 02:30+0200", "10-26 02:30+0100"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:00",
            "2026-10-25T03:00",
            ["10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"],
        ),
        # Half an hour in Lord Howe; a gap at midnight in Cairo.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00",
            "2026-10-04T12:00",
            ["10-04 02:30+1100"],
        ),
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00", "2026-04-24T12:00", ["04-24 01:00+0300"]),
        (
            "30 0 * * *",
            "America/Havana",
            "2026-10-31T12:00",
            "2026-11-01T12:00",
            ["11-01 00:30-0400"],
        ),
        # A day that never was: its time is due when the next one begins, once.
        (
            "0 0 30,31 * *",
            "Pacific/Apia",
            "2011-12-29T12:00",
            "2011-12-31T12:00",
            ["12-31 00:00+1400"],
        ),
        # Either of day and weekday, when both are restricted; both, when one is not.
        (
            "0 0 13 * 5",
            "UTC",
            "2026-02-01T00:00",
            "2026-02-16T00:00",
            ["02-06 00:00+0000", "02-13 00:00+0000"],
        ),
        (
            "0 0 1 * *",
            "UTC",
            "2026-01-31T00:00",
            "2026-03-02T00:00",
            ["02-01 00:00+0000", "03-01 00:00+0000"],
        ),
        (
            "0 0 * * sun",
            "UTC",
            "2026-01-01T00:00",
            "2026-01-12T00:00",
            ["01-04 00:00+0000", "01-11 00:00+0000"],
        ),
    ],
)
def test_due_times_are_these(expression, zone, after, until, expected):
    found = between(Rule.parse(expression, zone), at(after, zone), at(until, zone))

    assert expected == shown(found, zone)


@pytest.mark.parametrize("gap", [" ", "\t", "  "])
def test_an_expression_may_name_its_own_zone(gap):
    manila = Rule.parse(f"CRON_TZ=Asia/Manila{gap}0 6 * * *", "UTC")

    assert at("2026-05-01T22:00") == manila.next_after(at("2026-05-01T12:00"))


def test_the_nicknames_of_cron_are_understood():
    tuesday = at("2026-06-30T23:59")

    assert at("2026-07-01T00:00") == Rule.parse("@daily").next_after(tuesday)
    assert at("2026-07-05T00:00") == Rule.parse("TZ=UTC @weekly").next_after(tuesday)


def test_the_rarest_day_is_found():
    assert at("2104-02-29T00:00") == Rule.parse("0 0 29 2 *").next_after(at("2096-03-01T00:00"))


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("61 * * * *", "UTC", "Field minute"),
        ("* * * *", "UTC", "4 fields"),
        ("@nightly", "UTC", "1 field"),
        ("0 0 31 2 *", "UTC", "never fires"),
        ("0 0 * * *", "Europe/Bärlin", "Europe/Bärlin"),
        ("CRON_TZ=../etc 0 0 * * *", "UTC", "Time zone '../etc' is unknown"),
        ("TZ= 0 0 * * *", "UTC", "Time zone '' is unknown"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told(expression, zone, words):
    with pytest.raises(ConfigurationError, match=words):
        Rule.parse(expression, zone)


# -- properties ----------------------------------------------------------------------------------

zones = st.sampled_from(ZONES)
starts = st.integers(0, 20 * 366 * 1440).map(
    lambda minutes: datetime(2010, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@st.composite
def fields(draw, low, high):
    kind = draw(st.sampled_from(["*", "step", "list"]))
    if kind == "step":
        return f"*/{draw(st.integers(1, high))}"
    numbers = draw(st.lists(st.integers(low, high), min_size=1, max_size=4))
    return "*" if kind == "*" else ",".join(map(str, numbers))


daily = st.tuples(fields(0, 59), fields(0, 23)).map(lambda two: f"{two[0]} {two[1]} * * *")
expressions = st.tuples(daily, fields(0, 6)).map(lambda two: two[0].removesuffix("*") + two[1])


@settings(max_examples=60, deadline=None)
@given(expressions, zones, starts, st.integers(1, 60 * 24 * 3), st.integers(0, 100))
def test_a_window_holds_what_its_two_halves_hold(expression, zone, start, minutes, percent):
    rule, end = Rule.parse(expression, zone), start + timedelta(minutes=minutes)
    middle = start + (end - start) * percent / 100
    whole = between(rule, start, end)

    assert whole == between(rule, start, middle) + between(rule, middle, end)
    assert all(earlier < later for earlier, later in pairwise(whole))
    assert all(start < one <= end for one in whole)


@settings(max_examples=60, deadline=None)
@given(expressions, zones, starts)
def test_the_next_due_time_is_the_first_of_the_time_after(expression, zone, start):
    rule = Rule.parse(expression, zone)
    coming = rule.next_after(start)

    assert [coming] == between(rule, start, coming)


@settings(max_examples=40, deadline=None)
@given(daily, zones, starts)
def test_a_minute_is_due_exactly_when_the_clock_shows_it_outside_the_changes(
    expression, zone, start
):
    rule, place = Rule.parse(expression, zone), ZoneInfo(zone)
    begin = start.replace(minute=0, second=0, microsecond=0)
    minutes = [begin + timedelta(minutes=number) for number in range(1, 60 * 26)]
    shifts = {one.astimezone(place).utcoffset() for one in [begin, *minutes]}
    shifts |= {(begin - timedelta(days=1)).astimezone(place).utcoffset()}
    if len(shifts) > 1:
        return
    walls = {one: one.astimezone(place) for one in minutes}
    expected = [
        one
        for one in minutes
        if walls[one].minute in rule.cron.minutes and walls[one].hour in rule.cron.hours
    ]

    assert expected == between(rule, begin, minutes[-1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 59), st.integers(0, 23), zones, st.integers(2012, 2030))
def test_a_time_of_day_is_due_once_every_day_of_the_year(minute, hour, zone, year):
    rule = Rule.parse(f"{minute} {hour} * * *", zone)
    place = ZoneInfo(zone)
    start = datetime(year, 1, 1, tzinfo=place) - timedelta(seconds=1)
    found = between(rule, start, datetime(year, 12, 31, 23, 59, 59, tzinfo=place))
    days = [one.astimezone(place).date() for one in found]

    assert len(set(days)) == len(days) == (366 if year % 4 == 0 else 365)


@settings(max_examples=15, deadline=None)
@given(zones, st.integers(2012, 2030))
def test_every_hour_is_an_hour_of_real_time(zone, year):
    rule = Rule.parse("*/30 * * * *", zone)
    found = between(rule, datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC))

    assert {timedelta(minutes=30)} == {later - earlier for earlier, later in pairwise(found)}


# -- misfires ------------------------------------------------------------------------------------

NOW = at("2026-05-01T12:00:30")


def schedule(**given_settings):
    defaults = {
        "subject": "instance:a", "expression": "*/10 * * * *", "timezone": "UTC", "active": True,
        "misfire": "once", "catch_up_max": 4, "grace_seconds": 60, "jitter_seconds": 0,
        "paused": False, "decided_for": None, "decided_until": None, "last_due": None,
        "next_due": None, "problem": None, "seen_at": NOW,
    }  # fmt: skip
    return Schedule(**{**defaults, **given_settings})


@pytest.mark.parametrize(
    ("misfire", "minutes_away", "late_by", "expected"),
    [
        # Nobody was there for an hour; 12:00 is on time.
        ("skip", 60, 0, ["12:00"]),
        ("once", 60, 0, ["12:00"]),
        ("catch_up", 60, 0, ["11:30", "11:40", "11:50", "12:00"]),
        # As before, found five minutes later: nothing is on time.
        ("skip", 60, 5, []),
        ("once", 60, 5, ["12:00"]),
        ("catch_up", 60, 5, ["11:30", "11:40", "11:50", "12:00"]),
        # Nothing missed.
        ("skip", 5, 0, ["12:00"]),
        ("once", 5, 0, ["12:00"]),
        ("catch_up", 5, 0, ["12:00"]),
        # A year away costs no more than an hour.
        ("catch_up", 525_600, 0, ["11:30", "11:40", "11:50", "12:00"]),
        ("once", 525_600, 5, ["12:00"]),
    ],
)
def test_missed_due_times_are_treated_as_the_policy_says(misfire, minutes_away, late_by, expected):
    seen_at = NOW + timedelta(minutes=late_by)
    found = due_times(
        Rule.parse("*/10 * * * *"),
        schedule(misfire=misfire, seen_at=seen_at),
        NOW - timedelta(minutes=minutes_away),
    )

    assert expected == [f"{one:%H:%M}" for one in found]


def test_all_that_are_on_time_are_due():
    found = due_times(
        Rule.parse("* * * * *"), schedule(grace_seconds=150), NOW - timedelta(minutes=60)
    )

    assert ["11:58", "11:59", "12:00"] == [f"{one:%H:%M}" for one in found]
