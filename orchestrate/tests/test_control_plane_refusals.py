# SPDX-License-Identifier: Apache-2.0
"""What the database stores for nobody, whichever client asks and whichever function it calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.control_plane.errors import passes
from ipai_orchestrate.exceptions import BusyError, ConfigurationError, ConflictError, RefusedError
from ipai_orchestrate.scheduler.occurrences import Rule

Connection = psycopg.Connection[tuple[Any, ...]]
FIELDS = (
    ("*", "0", "59", "60", "*/7", "3-9", "9-3", "x", "1,2,", "1/5", "*/0"),
    ("*", "23", "24", "*/6"),
    ("*", "31", "30", "0", "1-31/2", "L"),
    ("*", "2", "feb", "4,6", "2-12/2", "13", "DEC-jan"),
    ("*", "7", "8", "fri", "mon-wed", "mon#1"),
)
WHOLE = (
    "hello",
    " 17  *\t* * * ",
    "* * * * * *",
    "",
    "@hourly",
    "@reboot",
    "CRON_TZ=Asia/Manila 0 6 * * 1-5",
    "TZ=Nope/Zone 0 6 * * *",
    "CRON_TZ=UTC",
)


def combined() -> list[str]:
    """Each field's values beside a few of the others'."""
    sound = ["*", "0", "31", "4,6", "*"]
    cases = [
        " ".join((*sound[:place], value, *sound[place + 1 :]))
        for place, values in enumerate(FIELDS)
        for value in values
    ]
    days = [f"0 0 {day} {month} *" for day in FIELDS[2] for month in FIELDS[3]]
    return [*WHOLE, *cases, *days]


def test_the_database_takes_the_schedules_that_the_scheduler_can_follow(
    connection: Connection,
) -> None:
    verdicts = dict(
        connection.execute(
            "select s, connectors.schedule_problem(s) is null from unnest(%s::text[]) as s",
            [combined()],
        ).fetchall()
    )

    for expression, is_taken in verdicts.items():
        if is_taken:
            Rule.parse(expression)
        else:
            with pytest.raises(ConfigurationError):
                Rule.parse(expression)
    assert set(verdicts.values()) == {True, False}


def refused(connection: Connection, call: str, values: list[Any], words: str) -> None:
    """Check that the database refuses a call, coded and with what to do next."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(call, values)
    assert (caught.value.sqlstate, bool(caught.value.diag.message_hint)) == ("PT422", True), words
    assert words in str(caught.value)


def test_an_instance_gets_no_schedule_that_nobody_could_follow(
    make_instance: Callable[..., str], connection: Connection
) -> None:
    make_instance("github-acme")
    call = (
        "select connectors.create_connector_instance(%s, 'ipai_connector_github', schedule => %s)"
    )

    for schedule, words in (
        ("61 * * * *", "Field minute of the schedule is not valid: '61'."),
        ("hello", "has 1 field(s) instead of 5."),
        ("CRON_TZ=Nope/Zone 0 6 * * *", "Time zone 'Nope/Zone' is unknown."),
    ):
        refused(connection, call, ["github-acme", schedule], words)
        refused(connection, call, ["github-new", schedule], words)


def test_a_spec_that_the_queue_could_not_work_with_is_refused(connection: Connection) -> None:
    call = "select connectors.create_connector_definition('github', %s, %s)"
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"source_type": "gitlab"}, "is of source 'gitlab', not of 'github'"),
        ({"sla_tier": "gold"}, "SLA tier 'gold' is unknown"),
        ({"streams": "issues"}, "no list of objects"),
        ({"streams": ["issues"]}, "no list of objects"),
        ({"streams": [{"name": "issues"}, {"cursor": "id"}]}, "no list of objects"),
        ({"schedule": "17 * * *"}, "has 4 field(s)"),
        ({"schedule": "17 * * * *", "timezone": "Mars"}, "Time zone 'Mars'"),
    )

    for spec, words in cases:
        refused(connection, call, [json.dumps(spec), Jsonb(spec)], words)


def test_no_run_and_no_secret_names_a_moment_that_never_comes(
    control_plane: ControlPlane, make_instance: Callable[..., str], connection: Connection
) -> None:
    make_instance("github-acme")
    refused(
        connection,
        "select connectors.enqueue_connector_job('github-acme', run_after => 'infinity')",
        [],
        "never begins",
    )
    refused(
        connection,
        "insert into connectors.secrets (name, secret_id, created_by, expires_at)"
        " values ('a', gen_random_uuid(), 'me', '-infinity')",
        [],
        "cannot expire at -infinity",
    )

    run = control_plane.claim(control_plane.enqueue("github-acme"), "worker")
    assert run is not None
    connection.execute(
        "select connectors.fail_connector_job("
        "%s, %s, 'try_again_later', 'full', retry_at => 'infinity')",
        [run.id, run.lease_token],
    )

    assert {one.status for one in control_plane.runs()} == {"failed", "queued"}


def test_a_run_that_fails_after_it_was_cancelled_is_not_tried_again(
    control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    make_instance("github-acme")
    run = control_plane.claim(control_plane.enqueue("github-acme"), "worker")
    assert run is not None
    assert control_plane.cancel(run.id) == "running"

    control_plane.fail(run, "tap", "It broke first.")

    (only,) = control_plane.runs()
    assert (only.status, only.error_class) == ("cancelled", "cancelled")
    assert only.error_summary == "It broke first."


def test_a_run_cannot_have_processed_less_than_nothing(
    control_plane: ControlPlane, make_instance: Callable[..., str], connection: Connection
) -> None:
    make_instance("github-acme")
    run = control_plane.claim(control_plane.enqueue("github-acme"), "worker")
    assert run is not None

    refused(
        connection,
        "select connectors.complete_connector_job(%s, %s, -5, stateless => true)",
        [run.id, run.lease_token],
        "cannot have processed -5 rows",
    )


def test_a_state_without_bookmarks_leaves_those_there_are(
    control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    make_instance("github-acme")
    marks = {"bookmarks": {"issues": {"replication_key_value": 5}}}
    control_plane.state_set("github-acme", marks)
    run = control_plane.claim(control_plane.enqueue("github-acme"), "worker")
    assert run is not None

    control_plane.save_state(run, {"currently_syncing": "issues"})

    stored = control_plane.state_get("github-acme")
    assert stored is not None
    assert stored.state_json == {**marks, "currently_syncing": "issues"}


def test_bookmarks_that_are_no_object_are_not_stored(
    control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    make_instance("github-acme")

    with pytest.raises(RefusedError, match="no JSON object"):
        control_plane.state_set("github-acme", {"bookmarks": 3})


# How conflicts end without anybody doing something: exit code 75 instead of 78.
PASSING = {
    "Cancel the run, or wait for its end, then archive.",
    "Leave the run to the workers: it goes on by itself after that.",
    "Read it again.",
    "Read the state again and repeat.",
    "Try again.",
    "Wait for its end or cancel it. If the worker died, the instance is free when the lease ends.",
    "Wait for its end, or cancel it with cancel_pipeline(run_id).",
    "Wait for its end, or cancel it.",
    "Wait for one of them to end.",
    "Wait for one to end, or raise the limit with set_source_limit(source_type, max_running).",
}


def test_it_is_known_of_every_conflict_whether_it_passes_by_itself(connection: Connection) -> None:
    hints = r"""
        select distinct h.words[1] from pg_proc as p
        join pg_namespace as n on n.oid = p.pronamespace and n.nspname = 'connectors',
            regexp_matches(p.prosrc, 'raise sqlstate ''PT409''.*?;\s*\n', 'g') as r (raised),
            regexp_matches(r.raised[1], 'hint = ''((?:[^'']|'''')*)''') as h (words)
    """
    found = {hint for (hint,) in connection.execute(hints).fetchall()}

    assert len(found) > len(PASSING)
    assert {hint for hint in found if passes(hint)} == PASSING


def test_a_conflict_that_passes_is_told_from_one_that_somebody_must_end(
    control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    name = make_instance()
    assert control_plane.claim(control_plane.enqueue(name), "worker")
    with pytest.raises(BusyError, match="has the active run") as busy:
        control_plane.claim(control_plane.enqueue(name), "worker")
    control_plane.set_instance_status(name, "paused")
    with pytest.raises(ConflictError, match="is paused") as paused:
        control_plane.enqueue(name)

    assert (busy.value.exit_code, paused.value.exit_code) == (75, 78)
