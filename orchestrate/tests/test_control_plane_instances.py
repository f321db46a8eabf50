# SPDX-License-Identifier: Apache-2.0
"""Definitions, instances, logs and the constraints that make wrong states impossible."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ipai_kit.spec import parse_spec
from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import (
    ConflictError,
    ControlPlaneError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
)

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]

SPEC = """
spec_version: 1
name: ipai_connector_demo
source_type: demo
title: Demo
description: Reads nothing in particular.
domain: devops
owner: data platform
api:
  version: "1"
  docs_url: https://example.com/docs
  sunset: null
  base_urls: [https://api.example.com]
tos: {url: https://example.com/terms, reviewed_at: 2026-11-01}
auth:
  methods:
    - {type: bearer, settings: [auth_token]}
sync_mode: incremental
schedule: "17 * * * *"
settings:
  auth_token: {type: string, secret: true, description: Token of the account.}
  projects: {type: array, items: {type: string}, description: What to read.}
streams:
  - {name: things, description: The things., cursor: updated_at, lookback: P1D}
"""


def test_a_spec_is_registered_once_and_a_changed_one_is_a_new_version(
    control_plane: ControlPlane, connection: Connection
) -> None:
    spec = parse_spec(SPEC)
    first = control_plane.register_definition(SPEC, spec)
    again = control_plane.register_definition(SPEC, spec)
    changed = control_plane.register_definition(SPEC + "# reviewed\n", spec)

    assert (first.id, first.version, first.created) == ("ipai_connector_demo", 1, True)
    assert (again.version, again.created) == (1, False)
    assert (changed.version, changed.created) == (2, True)
    row = connection.execute(
        "select type, yaml_spec, enabled, spec -> 'settings' -> 'auth_token' -> 'secret',"
        " spec -> 'streams' -> 0 ->> 'name' from connectors.connector_definitions where version = 1"
    ).fetchone()
    assert row == ("demo", SPEC, True, True, "things")


def test_a_registered_version_does_not_change(
    control_plane: ControlPlane, connection: Connection
) -> None:
    control_plane.register_definition(SPEC, parse_spec(SPEC))
    connection.execute("update connectors.connector_definitions set enabled = false")
    with pytest.raises(psycopg.Error, match="Version 1 of 'ipai_connector_demo' cannot be changed"):
        connection.execute("update connectors.connector_definitions set yaml_spec = 'other'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("GitHub", "x", "{}"), "Source type 'GitHub' is not a name"),
        (("github", " ", "{}"), "is empty or no object"),
        (("github", "x", "[]"), "is empty or no object"),
    ],
)
def test_a_definition_that_cannot_be_is_refused(
    connection: Connection, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(psycopg.Error, match=words) as refusal:
        connection.execute("select connectors.register_connector_definition(%s, %s, %s)", arguments)
    assert refusal.value.sqlstate == "PT422"


def test_an_instance_is_created_once_and_brought_up_to_date(control_plane: ControlPlane) -> None:
    control_plane.register_definition(SPEC, parse_spec(SPEC))
    first = control_plane.ensure_instance("demo-a", "ipai_connector_demo", {"projects": ["a"]})
    same = control_plane.ensure_instance("demo-a", "ipai_connector_demo", {"projects": ["a"]})
    control_plane.register_definition(SPEC + "# reviewed\n", parse_spec(SPEC))
    newer = control_plane.ensure_instance(
        "demo-a", "ipai_connector_demo", {"projects": ["b"]}, schedule="0 * * * *"
    )

    assert (first.version, first.instance_status, first.created) == (1, "active", True)
    assert (same.version, same.created) == (1, False)
    assert (newer.version, newer.created) == (2, False)
    (listed,) = control_plane.instances()
    assert (listed.definition_version, listed.schedule, listed.source_type) == (
        2,
        "0 * * * *",
        "demo",
    )
    run = control_plane.claim(control_plane.enqueue("demo-a"), "worker")
    assert run is not None
    assert run.config == {"projects": ["b"]}


BAD_INSTANCES: list[tuple[dict[str, Any], type[ControlPlaneError], str]] = [
    ({"instance_id": "Demo A"}, RefusedError, "'Demo A' is not a slug"),
    ({"definition_id": "ipai_connector_other"}, NotFoundError, "is not registered"),
    ({"definition_version": 9}, NotFoundError, "version 9 is not registered"),
    ({"env": "No Env"}, RefusedError, "Environment 'No Env' is not a name"),
    ({"config": {"auth_token": "s3cret"}}, RefusedError, "'auth_token' is a secret"),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), BAD_INSTANCES)
def test_an_instance_that_cannot_be_is_refused_without_repeating_a_secret(
    control_plane: ControlPlane,
    arguments: dict[str, Any],
    kind: type[ControlPlaneError],
    words: str,
) -> None:
    control_plane.register_definition(SPEC, parse_spec(SPEC))
    good: dict[str, Any] = {
        "instance_id": "demo-a",
        "definition_id": "ipai_connector_demo",
        "config": {},
    }
    with pytest.raises(kind, match=words) as refusal:
        control_plane.ensure_instance(**(good | arguments))
    assert refusal.value.hint
    assert "s3cret" not in str(refusal.value)


def test_an_instance_keeps_its_connector_and_environment(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance("mine", "github")
    with pytest.raises(ConflictError, match="exists as ipai_connector_github in environment 'dev'"):
        make_instance("mine", "gitlab")
    with pytest.raises(ConflictError, match="environment 'dev'"):
        control_plane.ensure_instance("mine", "ipai_connector_github", {}, env="production")
    control_plane.set_instance_status("mine", "archived")
    with pytest.raises(ConflictError, match="'mine' is archived"):
        make_instance("mine", "github")


STATUSES = ("draft", "active", "paused", "archived")
MOVES = {
    ("draft", "active"),
    ("draft", "archived"),
    ("active", "paused"),
    ("paused", "active"),
    ("active", "archived"),
    ("paused", "archived"),
}


@pytest.mark.parametrize("start", STATUSES)
@pytest.mark.parametrize("goal", STATUSES)
def test_an_instance_moves_only_along_its_state_machine(
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
    start: str,
    goal: str,
) -> None:
    make_instance("mine")
    connection.execute("alter table connectors.connector_instances disable trigger user")
    connection.execute("update connectors.connector_instances set status = %s", (start,))
    connection.execute("alter table connectors.connector_instances enable trigger user")

    if start == goal or (start, goal) in MOVES:
        control_plane.set_instance_status("mine", goal)
    else:
        with pytest.raises(ConflictError, match=f"is {start} and cannot become {goal}"):
            control_plane.set_instance_status("mine", goal)


def test_status_changes_that_cannot_be_are_refused(
    control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance("mine")
    with pytest.raises(NotFoundError):
        control_plane.set_instance_status("nobody", "active")
    with pytest.raises(RefusedError, match="Status 'sleepy' is unknown"):
        control_plane.set_instance_status("mine", "sleepy")
    control_plane.claim(control_plane.enqueue("mine"), "worker")
    with pytest.raises(ConflictError, match="has the active run"):
        control_plane.set_instance_status("mine", "archived")


# What the tables themselves make impossible, whoever writes.

IMPOSSIBLE = {
    "running without a lease": "update connectors.connector_runs set status = 'running'",
    "running without a worker": "update connectors.connector_runs set status = 'running',"
    " started_at = now(), lease_token = gen_random_uuid(), lease_until = now(), attempt = 1",
    "succeeded from the queue": "update connectors.connector_runs set status = 'succeeded',"
    " started_at = now(), ended_at = now()",
    "cancelled without an end": "update connectors.connector_runs set status = 'cancelled'",
    "queued with a lease": "update connectors.connector_runs set lease_token = gen_random_uuid()",
    "negative rows": "update connectors.connector_runs set rows_processed = -1",
    "an unknown mode": "update connectors.connector_runs set mode = 'sideways'",
    "a status of free text": "update connectors.connector_instances set status = 'fine'",
    "settings that are no object": "update connectors.connector_instances set config = '[]'",
    "an instance of nothing": "update connectors.connector_instances set definition_id = 'x'",
    "an instance with another id": "update connectors.connector_instances set id = 'other'",
    "a definition named for another type": "insert into connectors.connector_definitions"
    " (id, type, yaml_spec, version, spec, spec_hash)"
    " values ('ipai_connector_a', 'b', 'x', 1, '{}', repeat('0', 64))",
    "a state that is no object": "insert into connectors.connector_state (instance_id, state_json)"
    " values ('github-acme', '[]')",
    "a definition removed under its instance": "delete from connectors.connector_definitions",
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_wrong_state_cannot_be_written_even_by_the_owner(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance, what: str
) -> None:
    control_plane.enqueue(make_instance())
    with pytest.raises(psycopg.Error):
        connection.execute(IMPOSSIBLE[what].encode())


@pytest.mark.parametrize(
    "change",
    [
        "status = 'running', ended_at = null",
        "rows_processed = 99",
        "error_summary = 'rewritten'",
        "ended_at = ended_at + interval '1 hour'",
    ],
)
def test_a_finished_run_is_final(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance, change: str
) -> None:
    run = control_plane.claim(control_plane.enqueue(make_instance()), "worker")
    assert run is not None
    control_plane.fail(run, "tap", "It broke.")
    with pytest.raises(psycopg.Error, match="has failed and cannot be changed"):
        connection.execute(f"update connectors.connector_runs set {change}".encode())


# Logs


@pytest.fixture
def run(control_plane: ControlPlane, make_instance: MakeInstance) -> ClaimedRun:
    claimed = control_plane.claim(control_plane.enqueue(make_instance()), "worker")
    assert claimed is not None
    return claimed


def test_log_lines_are_numbered_and_read_on_from_a_number(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    assert control_plane.append_logs(run, [{"message": f"line {n}"} for n in (1, 2, 3)]) == 3
    assert control_plane.append_logs(run, [{"message": "line 4"}]) == 4

    page = control_plane.logs(run.id, limit=2)
    rest = control_plane.logs(run.id, after_seq=page[-1].seq)
    assert [line.message for line in page + rest] == ["line 1", "line 2", "line 3", "line 4"]
    assert [line.seq for line in page + rest] == [1, 2, 3, 4]


def test_log_lines_keep_what_they_say(control_plane: ControlPlane, run: ClaimedRun) -> None:
    at = datetime.now(UTC) - timedelta(milliseconds=1)
    line = {
        "at": max(at, control_plane.run_status(run.id).started_at or at).isoformat(),
        "level": "error",
        "stream": "issues",
        "source": "tap",
        "message": "HTTP 500",
        "fields": {"status": 500},
    }
    control_plane.append_logs(run, [line])

    (kept,) = control_plane.logs(run.id)
    assert (kept.level, kept.stream, kept.source) == ("error", "issues", "tap")
    assert (kept.message, kept.fields, kept.at.isoformat()) == (
        "HTTP 500",
        {"status": 500},
        line["at"],
    )


def test_foreign_levels_and_odd_times_are_fitted_in(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    control_plane.append_logs(
        run,
        [
            {"level": "WARN", "message": "a"},
            {"level": "NOTICE", "message": "b", "fields": [1]},
            {"level": "fatal", "message": "c", "at": "1999-01-01T00:00:00Z"},
            {"message": "d", "at": "2999-01-01T00:00:00Z"},
        ],
    )

    lines = control_plane.logs(run.id)
    assert [line.level for line in lines] == ["warning", "info", "critical", "info"]
    assert lines[1].fields == {}
    assert all(abs(line.at - datetime.now(UTC)) < timedelta(minutes=10) for line in lines)


def test_log_lines_are_chosen_by_severity_and_stream(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    levels = ("debug", "info", "warning", "error", "critical")
    control_plane.append_logs(
        run,
        [
            {"level": level, "stream": stream, "message": f"{level} {stream}"}
            for level in levels
            for stream in ("issues", "labels")
        ],
    )

    assert len(control_plane.logs(run.id, level="warning")) == 6
    assert [
        line.message for line in control_plane.logs(run.id, level="error", stream="labels")
    ] == [
        "error labels",
        "critical labels",
    ]
    with pytest.raises(RefusedError, match="Level 'loud' is unknown"):
        control_plane.logs(run.id, level="loud")


def test_the_last_lines_may_arrive_after_the_end(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    control_plane.fail(run, "tap", "It broke.")
    control_plane.append_logs(run, [{"message": "the end"}])

    assert [line.message for line in control_plane.logs(run.id)] == ["the end"]
    assert control_plane.run_status(run.id).log_seq == 1


def test_logs_of_a_run_that_waits_or_is_unknown_are_refused(
    control_plane: ControlPlane, connection: Connection, run: ClaimedRun
) -> None:
    connection.execute("delete from connectors.connector_runs")
    with pytest.raises(LeaseLostError):
        control_plane.append_logs(run, [{"message": "x"}])
    with pytest.raises(NotFoundError):
        control_plane.logs(run.id)
    with pytest.raises(NotFoundError):
        control_plane.run_status(run.id)


def partitions(connection: Connection) -> list[date]:
    rows = connection.execute(
        "select to_date(right(c.relname, 8), 'YYYYMMDD') from pg_inherits as i"
        " join pg_class as c on c.oid = i.inhrelid"
        " where i.inhparent = 'connectors.run_logs'::regclass order by 1"
    ).fetchall()
    return [row[0] for row in rows]


def test_a_partition_of_each_day_needed_is_made_when_it_is_needed(
    connection: Connection, run: ClaimedRun
) -> None:
    assert run is not None
    today = datetime.now(UTC).date()

    assert partitions(connection) == [today + timedelta(days=n) for n in (-1, 0, 1)]
    assert connection.execute("select connectors.ensure_log_partitions(3)").fetchone() == (2,)
    assert connection.execute("select connectors.ensure_log_partitions(3)").fetchone() == (0,)


def test_days_past_the_retention_are_dropped_and_the_last_kept_day_is_not(
    connection: Connection,
) -> None:
    today = datetime.now(UTC).date()
    for age in (89, 90, 91, 400):
        connection.execute(
            "select connectors.create_log_partition(%s)", (today - timedelta(days=age),)
        )

    dropped = connection.execute("select connectors.purge_run_logs()").fetchall()

    assert [row[0] for row in dropped] == [
        f"run_logs_{today - timedelta(days=age):%Y%m%d}" for age in (400, 91)
    ]
    assert partitions(connection) == [today - timedelta(days=age) for age in (90, 89)]


@pytest.mark.parametrize("days", ["89", "0", "null"])
def test_logs_are_kept_ninety_days_at_least(connection: Connection, days: str) -> None:
    with pytest.raises(psycopg.Error, match="at least 90 days"):
        connection.execute(f"select connectors.purge_run_logs({days})".encode())


# Names of the IPAI Databricks tasks


def test_the_other_names_show_the_same_rows(
    control_plane: ControlPlane, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance()
    row = connection.execute(
        "select connectors.run_connector(instance_id => 'github-acme', streams => '{issues}',"
        " dedupe_key => 'k')"
    ).fetchone()
    assert row is not None

    config = connection.execute(
        "select connector, source_type, status from connectors.ipai_connector_config"
    ).fetchall()
    runs = connection.execute(
        "select run_id, status, job_name from connectors.ipai_connector_run"
    ).fetchall()
    assert config == [("ipai_connector_github", "github", "active")]
    assert runs == [(row[0], "queued", "sync_github_issues_incremental")]
    assert control_plane.runs()[0].triggered_by == "rpc"


def test_lists_are_paged(control_plane: ControlPlane, make_instance: MakeInstance) -> None:
    for name in ("a", "b", "c"):
        control_plane.enqueue(make_instance(name))

    assert [one.id for one in control_plane.instances(after="a", limit=1)] == ["b"]
    assert control_plane.instances(status="paused") == []
    assert control_plane.instances(env="production") == []
    newest, middle = control_plane.runs(limit=2)
    assert (newest.instance_id, middle.instance_id) == ("c", "b")
    assert [one.instance_id for one in control_plane.runs(before=middle.queued_at)] == ["a"]
    assert [one.instance_id for one in control_plane.runs(instance="b")] == ["b"]
