# SPDX-License-Identifier: Apache-2.0
"""Alerts: each condition opens one, tells it once, and resolves it when it is over."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from click.testing import CliRunner
from standardwebhooks.webhooks import Webhook

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import ConflictError, NotFoundError, RefusedError
from ipai_orchestrate.journal import Journal
from ipai_orchestrate.monitor import AlertBook, read_metrics
from ipai_orchestrate.notify import Notifier, NotifierOptions, Outbox
from ipai_orchestrate.notify.address_guard import AddressGuard
from ipai_orchestrate.notify.sending import Sender
from ipai_orchestrate.notify.signature import new_secret
from ipai_orchestrate.notify.signing_secrets import SigningSecrets
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.scheduler.rounds import Scheduler
from ipai_orchestrate.services import LifeSign

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]
SCHEMA = Path(__file__).resolve().parents[3] / "schemas" / "alert_event.schema.json"
URL, REF = "https://hooks.example.com/ipai", "${HOOK_SECRET}"

EXPIRING = """
    insert into connectors.secrets (name, secret_id, created_by, created_at, expires_at)
    values
        (%(name)s, gen_random_uuid(), 'me', now() - %(age)s::interval, now() + %(left)s::interval)
"""


@pytest.fixture
def book(connection: Connection) -> AlertBook:
    return AlertBook(connection)


def claimed(plane: ControlPlane, instance: str, **how: Any) -> ClaimedRun:
    run = plane.claim(plane.enqueue(instance, **how), "worker")
    assert run is not None
    return run


def fail(plane: ControlPlane, instance: str, attempts: int = 1) -> ClaimedRun:
    run = claimed(plane, instance, max_attempts=attempts)
    plane.fail(run, "tap", "It broke.")
    return run


def succeed(plane: ControlPlane, instance: str) -> None:
    plane.complete(claimed(plane, instance), stateless=True)


def changes(book: AlertBook) -> list[tuple[str, str, str, str]]:
    return [(one.condition, one.subject, one.severity, one.change) for one in book.check()]


def age_runs(connection: Connection, interval: str) -> None:
    """Let all runs have happened that much earlier."""
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            "update connectors.connector_runs set queued_at = queued_at - %(by)s::interval,"
            " run_after = run_after - %(by)s::interval, started_at = started_at - %(by)s::interval,"
            " ended_at = ended_at - %(by)s::interval",
            {"by": interval},
        )


def test_nothing_is_wrong_at_first(book: AlertBook) -> None:
    assert changes(book) == []
    assert book.all(only_open=False) == []


def test_a_sync_that_failed_for_good_is_told_once_and_its_success_too(
    book: AlertBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    make_instance()
    run = fail(control_plane, "github-acme")

    assert changes(book) == [("sync_failed", "github-acme", "warning", "opened")]
    fail(control_plane, "github-acme")
    assert changes(book) == []
    (alert,) = book.all()
    assert alert.instances == ["github-acme"]
    assert alert.summary == "Sync github-acme has failed for good: It broke."
    assert alert.details["error_class"] == "tap"
    assert alert.details["run_id"] != str(run.id)
    succeed(control_plane, "github-acme")
    assert changes(book) == [("sync_failed", "github-acme", "warning", "resolved")]
    assert book.all() == []
    assert [one.type for one in Outbox(connection).events() if "alert" in one.type] == [
        "alert.resolved",
        "alert.opened",
    ]


def test_only_a_run_that_does_the_same_work_makes_a_failure_good(
    book: AlertBook, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance()
    run = claimed(control_plane, "github-acme", streams=["issues"], max_attempts=1)
    control_plane.fail(run, "tap", "It broke.")
    assert [change for *_, change in changes(book)] == ["opened"]
    for streams, expected in ((["labels"], []), (["issues", "labels"], ["resolved"])):
        later = claimed(control_plane, "github-acme", streams=streams)
        control_plane.complete(later, stateless=True)
        assert [change for *_, change in changes(book)] == expected, streams


def test_no_alert_while_a_retry_is_to_come_and_none_for_a_paused_instance(
    book: AlertBook, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    make_instance()
    make_instance("other")
    fail(control_plane, "github-acme", attempts=2)
    fail(control_plane, "other")
    control_plane.set_instance_status("other", "paused")

    assert changes(book) == []


@pytest.mark.parametrize(
    ("tier", "on_time", "late", "severity"),
    [
        ("critical", "14 minutes", "16 minutes", "critical"),
        ("standard", "119 minutes", "121 minutes", "warning"),
        ("best_effort", "23 hours", "25 hours", "warning"),
    ],
)
def test_data_that_is_later_than_the_tier_allows_is_an_alert(
    book: AlertBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
    tier: str,
    on_time: str,
    late: str,
    severity: str,
) -> None:
    make_instance(spec={"sla_tier": tier}, schedule="0 * * * *")
    queued = control_plane.enqueue("github-acme", triggered_by="schedule", dedupe_key="odd")

    def due(ago: str) -> None:
        """Move the due time that the run stands for; an unreadable key counts as its queueing."""
        connection.execute(
            "update connectors.connector_runs set dedupe_key = 'schedule:'"
            " || to_char(now() - %s::interval, 'YYYY-MM-DD HH24:MI:SSOF')",
            (ago,),
        )

    assert changes(book) == []
    due(on_time)
    assert changes(book) == []
    due(late)
    assert changes(book) == [("sla_breached", "github-acme", severity, "opened")]
    assert control_plane.run_status(queued).status == "queued"
    run = control_plane.claim(queued, "worker")
    assert run is not None
    assert changes(book) == []
    control_plane.complete(run, stateless=True)
    assert changes(book) == [("sla_breached", "github-acme", severity, "resolved")]


def test_what_is_paused_or_cancelled_is_not_late(
    book: AlertBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    make_instance("cancelled", schedule="0 * * * *")
    make_instance("paused", schedule="0 * * * *")
    for name in ("cancelled", "paused"):
        run = control_plane.enqueue(name, triggered_by="schedule", dedupe_key="schedule:x")
        if name == "cancelled":
            control_plane.cancel(run)
    age_runs(connection, "1 day")
    assert changes(book) == [("sla_breached", "paused", "warning", "opened")]
    connection.execute("select connectors.set_schedule('instance:paused', paused => true)")

    assert changes(book) == [("sla_breached", "paused", "warning", "resolved")]


@pytest.mark.parametrize(
    ("age", "expires_in", "severity"),
    [
        ("30 days", "23 hours", "warning"),
        ("30 days", "25 hours", None),
        ("30 days", "-1 hours", "critical"),
        ("10 minutes", "50 minutes", None),  # renewed by a program every hour
        ("2 hours", "-1 hours", "critical"),
    ],
)
def test_a_secret_that_expires_within_a_day_is_an_alert(
    book: AlertBook,
    connection: Connection,
    make_instance: MakeInstance,
    age: str,
    expires_in: str,
    severity: str | None,
) -> None:
    make_instance(config={"auth_token": "${secret:github/token}"})
    connection.execute(
        EXPIRING,
        {"name": "github/token", "age": age, "left": expires_in},
    )
    expected = [("secret_expiring", "github/token", severity, "opened")] if severity else []

    assert changes(book) == expected
    assert [one.instances for one in book.all()] == [["github-acme"]] * len(expected)
    connection.execute(
        "update connectors.secrets set expires_at = now() + interval '90 days',"
        " rotated_at = now(), rotated_by = 'me'"
    )
    assert [change for *_, change in changes(book)] == ["resolved"] * len(expected)


def test_an_alert_that_becomes_critical_is_told_again(
    book: AlertBook, connection: Connection
) -> None:
    connection.execute(EXPIRING, {"name": "token", "age": "9 days", "left": "1 hour"})
    assert changes(book) == [("secret_expiring", "token", "warning", "opened")]
    connection.execute("update connectors.secrets set expires_at = now() - interval '1 second'")

    assert changes(book) == [("secret_expiring", "token", "critical", "worsened")]
    assert changes(book) == []


def test_a_quota_that_will_not_last_is_an_alert_which_does_not_flap(
    book: AlertBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    make_instance(spec={"quota": {"requests_per_second": 8}})
    run = claimed(control_plane, "github-acme")
    control_plane.record_quota(run, {"requests": 90})
    limit = (
        "select connectors.set_quota_limit('github', window_requests => %s, window_seconds => %s)"
    )
    connection.execute(limit, (1_000_000, 86400 * 365))
    assert changes(book) == []
    connection.execute(limit, (91, 86400 * 365))

    assert changes(book) == [("quota_exceeded", "github/default", "warning", "opened")]
    connection.execute(limit, (1_000_000_000, 60))
    assert changes(book) == []
    connection.execute(
        "update connectors.alerts set opened_at = opened_at - interval '20 minutes',"
        " last_seen_at = last_seen_at - interval '16 minutes'"
    )
    assert changes(book) == [("quota_exceeded", "github/default", "warning", "resolved")]


def test_a_worker_that_is_gone_with_its_runs_is_one_alert_until_a_while_after_they_are_taken_over(
    book: AlertBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    for name in ("one", "two"):
        make_instance(name)
        claimed(control_plane, name, max_attempts=3)
    LifeSign("worker", "worker").give(connection, 2)
    LifeSign("idle", "worker").give(connection)
    assert changes(book) == []
    connection.execute("update connectors.services set seen_at = now() - interval '61 seconds'")

    assert changes(book) == [("worker_lost", "worker", "critical", "opened")]
    assert book.all()[0].instances == ["one", "two"]
    connection.execute("update connectors.connector_runs set lease_until = now() - interval '1 s'")
    assert len(control_plane.reap()) == 2
    assert changes(book) == []
    age_runs(connection, "16 minutes")
    assert changes(book) == [("worker_lost", "worker", "critical", "resolved")]


def test_an_alert_is_repeated_after_its_interval_until_somebody_looks_after_it(
    book: AlertBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    fail(control_plane, make_instance())
    book.check()
    book.set_rule("sync_failed", repeat_every=timedelta(hours=1))
    later = "update connectors.alerts set notified_at = notified_at - interval '61 minutes'"
    connection.execute(later)
    assert changes(book) == [("sync_failed", "github-acme", "warning", "repeated")]
    assert changes(book) == []
    (alert,) = book.all()
    assert alert.notifications == 2
    connection.execute(later)
    book.ack(alert.id)
    book.ack(alert.id)

    assert changes(book) == []
    assert book.all()[0].acked_by
    succeed(control_plane, "github-acme")
    assert [change for *_, change in changes(book)] == ["resolved"]
    with pytest.raises(ConflictError, match="is over since"):
        book.ack(alert.id)


def test_rules_are_turned_off_and_on_and_refuse_nonsense(
    book: AlertBook, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    fail(control_plane, make_instance())
    book.check()
    book.set_rule("sync_failed", enabled=False, repeat_every=timedelta(0))

    assert [change for *_, change in changes(book)] == ["resolved"]
    assert changes(book) == []
    rule = next(one for one in book.rules() if one.condition == "sync_failed")
    assert (rule.enabled, rule.repeat_every) == (False, None)
    book.set_rule("sync_failed", enabled=True)
    assert [change for *_, change in changes(book)] == ["opened"]
    with pytest.raises(NotFoundError, match="No alert is raised for 'rain'"):
        book.set_rule("rain")
    with pytest.raises(RefusedError, match="a minute or more"):
        book.set_rule("sync_failed", repeat_every=timedelta(seconds=1))
    with pytest.raises(NotFoundError, match="Alert 999 does not exist"):
        book.ack(999)


def test_events_keep_the_published_schema_and_reach_the_endpoints_of_those_who_suffer(
    book: AlertBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    outbox = Outbox(connection)
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        "opened": {"statuses": ["opened"]},
        "mine": {"instances": ["github-acme"], "envs": ["staging"], "sources": ["github"]},
        "failed": {"statuses": ["failed"]},
        "theirs": {"instances": ["other"]},
        "dev": {"envs": ["dev"]},
        "odoo": {"sources": ["odoo"]},
    }
    for name, which in filters.items():
        outbox.create_endpoint(name, URL, REF, **which)
    make_instance(spec={"owner": "data@example.com"}, env="staging")
    fail(control_plane, "github-acme")
    book.check()
    succeed(control_plane, "github-acme")
    book.check()
    events = [one for one in outbox.events() if one.type.startswith("alert.")]
    told = connection.execute(
        "select e.type, array_agg(d.endpoint_id order by d.endpoint_id)"
        " from connectors.webhook_deliveries as d"
        " join connectors.connector_events as e on e.id = d.event_id"
        " where e.type like 'alert.%' group by e.type"
    ).fetchall()

    assert dict(told) == {
        "alert.opened": ["all", "mine", "opened"],
        "alert.resolved": ["all", "mine"],
    }
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert [e.message for one in events for e in validator.iter_errors(one.payload)] == []
    assert {one.instance_id for one in events} == {"github-acme"}
    data = events[0].payload["data"]
    assert (data["owners"], data["sources"], data["envs"]) == (
        ["data@example.com"],
        ["github"],
        ["staging"],
    )
    assert (data["status"], data["change"]) == ("resolved", "resolved")


def test_a_notifier_posts_alerts_signed(
    book: AlertBook,
    database: str,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
    receiver: Any,
) -> None:
    secret = new_secret()
    Outbox(connection).create_endpoint("oncall", receiver.url, REF, statuses=["opened", "resolved"])
    fail(control_plane, make_instance())
    book.check()
    succeed(control_plane, "github-acme")
    book.check()
    sender = Sender(AddressGuard.allowing([receiver.url.removesuffix("/hook")]))
    secrets = SigningSecrets({"HOOK_SECRET": secret})
    options = NotifierOptions(sender=sender, secrets=secrets, once=True)
    journal = Journal(io.StringIO(), as_json=True)
    Notifier(Database(database), options, Stop(), journal).work()
    verified = [Webhook(secret).verify(body, headers) for headers, body in receiver.got]

    assert sorted(one["type"] for one in verified) == ["alert.opened", "alert.resolved"]
    assert {one["data"]["subject"] for one in verified} == {"github-acme"}


def test_only_one_scheduler_looks_at_a_time(
    book: AlertBook,
    database: str,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    fail(control_plane, make_instance())
    with psycopg.connect(database) as other:
        assert len(AlertBook(other).check()) == 1
        assert changes(book) == []
    assert changes(book) == []
    assert len(book.all()) == 1


def test_a_scheduler_looks_in_every_round_and_goes_on_if_that_fails(
    database: str,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    fail(control_plane, make_instance())
    said = io.StringIO()
    scheduler = Scheduler(Database(database), Stop(), Journal(said, as_json=True))
    scheduler.once()
    connection.execute("alter table connectors.alerts rename column summary to said")
    scheduler.once()
    events = [json.loads(line)["event"] for line in said.getvalue().splitlines()]

    assert events == ["alert_opened", "alerts_unchecked"]


def test_the_commands_list_acknowledge_and_set(
    database: str,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def ipai(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["alerts", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "Nothing is wrong" in (unwatched := ipai("list"))
    assert "no scheduler is at work" in unwatched
    connection.execute("select connectors.report_service('host:1', 'scheduler')")
    assert ipai("list").splitlines() == ["Nothing is wrong."]
    assert "Nothing has changed" in ipai("check")
    fail(control_plane, make_instance())
    assert "opened" in ipai("check")
    (alert,) = json.loads(ipai("list", "--json"))
    assert "open  " in ipai("list")
    assert json.loads(ipai("ack", str(alert["id"]), "--json")) == {"acknowledged": [alert["id"]]}
    assert "seen to by postgres" in ipai("list")
    assert "does not exist" in ipai("ack", "999", code=1)
    ipai("set", "worker_lost", "--off", "--repeat-hours", "0")
    rule = next(x for x in json.loads(ipai("rules", "--json")) if x["condition"] == "worker_lost")
    assert (rule["enabled"], rule["repeat_every"]) == (False, None)
    assert "never" in ipai("rules")
    assert _open(connection) == {"sync_failed": 1}
    succeed(control_plane, "github-acme")
    assert "resolved" in ipai("check")
    assert "over" in ipai("list", "--all")
    assert _open(connection) == {}


def _open(connection: Connection) -> dict[str, float]:
    return {
        one.labels["condition"]: one.value
        for one in read_metrics(connection)
        if one.name == "ipai_alerts_open" and one.value
    }
