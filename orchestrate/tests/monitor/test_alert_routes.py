# SPDX-License-Identifier: Apache-2.0
"""One outage is one alert, told to those whose syncs suffer, in the chats they read."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ConfigurationError, NotFoundError, RefusedError
from ipai_orchestrate.journal import Journal
from ipai_orchestrate.monitor import AlertBook
from ipai_orchestrate.notify import Notifier, NotifierOptions, Outbox
from ipai_orchestrate.notify.chat import message_of, tell
from ipai_orchestrate.notify.records import ClaimedDelivery
from ipai_orchestrate.notify.signing_secrets import SigningSecrets
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]
SCHEMA = Path(__file__).resolve().parents[3] / "schemas" / "alert_event.schema.json"
HOOK = ("https://hooks.example.com/ipai", "${HOOK_SECRET}")
TOLD = (
    "select e.payload #>> '{data,change}', d.endpoint_id, e.payload #> '{data,instances}'"
    " from connectors.webhook_deliveries as d"
    " join connectors.connector_events as e on e.id = d.event_id"
    " where e.type like 'alert.%' order by d.id"
)


@pytest.fixture
def book(connection: Connection) -> AlertBook:
    return AlertBook(connection)


def fail(plane: ControlPlane, instance: str, error_class: Any = "tap") -> None:
    run = plane.claim(plane.enqueue(instance, max_attempts=1), "worker")
    assert run is not None
    plane.fail(run, error_class, "It broke.")


def succeed(plane: ControlPlane, instance: str) -> None:
    run = plane.claim(plane.enqueue(instance), "worker")
    assert run is not None
    plane.complete(run, stateless=True)


def changes(book: AlertBook) -> list[tuple[str, str]]:
    return [(one.subject, one.change) for one in book.check()]


def test_one_outage_over_many_instances_is_one_alert_until_all_are_well(
    book: AlertBook,
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
) -> None:
    names = [make_instance(f"shop-{number}") for number in range(5)]
    Outbox(connection).create_endpoint("all", *HOOK, statuses=["opened", "resolved"])
    for name in names:
        fail(control_plane, name)

    assert changes(book) == [("shop-0", "opened")]
    (alert,) = book.all()
    assert alert.instances == names
    assert alert.summary.startswith("5 syncs of github have failed for good since ")
    assert alert.summary.endswith("Sync shop-0 has failed for good: It broke.")
    facts = ("members", "source", "credential", "error_class")
    assert [alert.details[key] for key in facts] == [5, "github", "default", "tap"]
    assert [one["instance"] for one in alert.details["first"]] == names
    succeed(control_plane, "shop-0")
    fail(control_plane, "shop-3")
    assert changes(book) == []
    (alert,) = book.all()
    assert (alert.subject, alert.instances) == ("shop-1", names[1:])
    for name in names[1:]:
        succeed(control_plane, name)
    assert changes(book) == [("shop-1", "resolved")]
    assert [(change, instances) for change, _, instances in connection.execute(TOLD)] == [
        ("opened", names),
        ("resolved", names),
    ]
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for event in Outbox(connection).events():
        if event.type.startswith("alert."):
            assert [e.message for e in validator.iter_errors(event.payload)] == []


def test_what_has_another_reason_or_began_much_later_is_an_alert_of_its_own(
    book: AlertBook,
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
) -> None:
    for name in ("early", "late", "other-class"):
        make_instance(name)
    make_instance("other-source", "odoo")
    make_instance("other-account", config={"auth_token": "${OTHER}"})
    fail(control_plane, "early")
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            "update connectors.connector_runs set queued_at = queued_at - interval '16 minutes',"
            " started_at = started_at - interval '16 minutes',"
            " ended_at = ended_at - interval '16 minutes'"
        )
    for name in ("late", "other-source", "other-account"):
        fail(control_plane, name)
    fail(control_plane, "other-class", "credentials")

    everyone = ["early", "late", "other-account", "other-class", "other-source"]
    assert changes(book) == [(name, "opened") for name in everyone]


@pytest.mark.parametrize("error_class", ["database", "worker_lost"])
def test_failures_of_the_platform_are_one_alert_whatever_the_source(
    book: AlertBook, control_plane: ControlPlane, make_instance: MakeInstance, error_class: str
) -> None:
    for number, source in enumerate(("github", "odoo")):
        make_instance(f"one-{number}", source)
        fail(control_plane, f"one-{number}", error_class)

    failed = [one for one in book.check() if one.condition == "sync_failed"]
    assert [one.subject for one in failed] == ["one-0"]
    assert failed[0].summary.startswith("2 syncs have failed for good since ")


def test_while_an_outage_spreads_that_is_told_now_and_then(
    book: AlertBook,
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
) -> None:
    for name in ("a", "b", "c"):
        make_instance(name)
    fail(control_plane, "a")
    assert changes(book) == [("a", "opened")]
    fail(control_plane, "b")
    assert changes(book) == []
    connection.execute("update connectors.alerts set notified_at = now() - interval '301 seconds'")
    assert changes(book) == [("a", "grown")]
    fail(control_plane, "c")
    assert changes(book) == []


def test_late_syncs_of_one_source_are_one_alert_and_grouping_can_be_turned_off(
    book: AlertBook,
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
) -> None:
    for name in ("a", "b"):
        make_instance(name, schedule="0 * * * *")
        control_plane.enqueue(name, triggered_by="schedule", dedupe_key=f"schedule:{name}")
    connection.execute(
        "update connectors.connector_runs set dedupe_key = 'schedule:'"
        " || to_char(now() - interval '3 hours', 'YYYY-MM-DD HH24:MI:SSOF')"
    )
    assert changes(book) == [("a", "opened")]
    assert book.all()[0].summary.startswith("2 syncs of github are late since ")
    book.set_grouping("sla_breached", timedelta(0))
    assert changes(book) == [("b", "opened")]
    with pytest.raises(RefusedError, match="is not possible"):
        book.set_grouping("sla_breached", timedelta(minutes=-1))
    with pytest.raises(NotFoundError, match="No alert is raised for 'rain'"):
        book.set_grouping("rain", timedelta(minutes=1))


def test_an_endpoint_with_routes_hears_only_what_they_lead_to_it(
    book: AlertBook,
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
) -> None:
    outbox = Outbox(connection)
    for name in ("all", "web", "data", "grave", "quotas", "dev"):
        envs = ["dev"] if name == "dev" else None
        outbox.create_endpoint(name, *HOOK, statuses=["opened", "resolved"], envs=envs)
    book.route("web", "web")
    book.route("data@example.com", "data", conditions=["sync_failed", "sla_breached"])
    book.route("*", "grave", min_severity="critical")
    book.route("*", "quotas", conditions=["quota_exceeded"])
    book.route("*", "dev")
    spec = {"owner": "data@example.com"}
    make_instance("theirs", spec=spec, env="staging")
    make_instance("ours", spec=spec, env="staging")
    make_instance("grave", "odoo", {"sla_tier": "critical"}, env="staging")
    book.set_owner("ours", "web")

    def heard(instance: str) -> list[str]:
        fail(control_plane, instance)
        book.check()
        found = connection.execute(TOLD).fetchall()
        connection.execute("delete from connectors.webhook_deliveries")
        return [endpoint for _, endpoint, _ in found]

    book.set_grouping("sync_failed", timedelta(0))
    assert heard("theirs") == ["all", "data"]
    assert heard("ours") == ["all", "web"]
    assert heard("grave") == ["all", "grave"]
    book.set_owner("ours", "")
    told = [one.endpoint_id for one in book.recipients(instance_id="ours")]
    assert told == ["all", "data"]
    named = book.recipients(owner="web", severity="critical")
    assert [(one.endpoint_id, one.owners) for one in named] == [
        (name, ["web"]) for name in ("all", "grave", "web")
    ]


def test_routes_and_owners_that_make_no_sense_are_refused(
    book: AlertBook, connection: Connection, make_instance: MakeInstance
) -> None:
    Outbox(connection).create_endpoint("hook", *HOOK)
    make_instance()
    for owner, severity in ((" ", "warning"), ("me", "loud")):
        with pytest.raises(RefusedError, match="is not possible"):
            book.route(owner, "hook", min_severity=severity)
    with pytest.raises(NotFoundError, match="No alert is raised for 'rain'"):
        book.route("me", "hook", conditions=["rain"])
    with pytest.raises(NotFoundError, match="'nowhere' does not exist"):
        book.route("me", "nowhere")
    with pytest.raises(RefusedError, match="is no name"):
        book.set_owner("github-acme", "x" * 300)
    for call in (lambda: book.set_owner("x", "me"), lambda: book.recipients(instance_id="x")):
        with pytest.raises(NotFoundError, match="Instance 'x' does not exist"):
            call()


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_a_chat_hears_of_an_alert_and_of_its_end(
    book: AlertBook,
    database: str,
    control_plane: ControlPlane,
    connection: Connection,
    make_instance: MakeInstance,
    receiver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    address = receiver.url.replace("http://", "mmost://").replace("/hook", "/t0ken-of-a-chat")
    monkeypatch.setenv("CHAT", address)
    receiver.answers = [(200, {})]

    def ipai(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == code, result.output
        assert "t0ken" not in result.output
        return result.output

    ipai("alerts", "channel", "team", "--url", "${CHAT}", "--owner", "web", "--owner", "data")
    assert "Delivery 1 is delivered" in ipai("webhook", "test", "team")
    make_instance(spec={"owner": "web"})
    assert "team  web" in ipai("alerts", "test", "github-acme")
    assert "Nobody" in ipai("alerts", "test", "--owner", "others", code=1)
    fail(control_plane, "github-acme")
    book.check()
    succeed(control_plane, "github-acme")
    book.check()
    options = NotifierOptions(secrets=SigningSecrets({"CHAT": address}), once=True, concurrency=1)
    said = io.StringIO()
    Notifier(Database(database), options, Stop(), Journal(said, as_json=True)).work()
    texts = [body["text"] for body in receiver.bodies()]

    assert "Endpoint team is reached." in texts[0]
    first, last = sorted(texts[1:], key=lambda text: "RESOLVED" in text)
    assert first.startswith("WARNING sync_failed: github-acme")
    assert "Sync github-acme has failed for good: It broke." in first
    assert "Owners: web" in first
    assert "Look after it: ipai alerts ack 1" in first
    assert last.startswith("RESOLVED sync_failed: github-acme")
    assert "ack" not in last
    assert "t0ken" not in said.getvalue()


def delivery(**event: Any) -> ClaimedDelivery:
    about: Any = dict.fromkeys(ClaimedDelivery.__dataclass_fields__)
    return ClaimedDelivery(**{**about, "body": json.dumps(event)})


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["syslog://"], "Service 'syslog' is not one of discord, "),
        (["t0ken"], "Service 't0ken' is not one of"),
        (["slack://t0ken"], "The address of a 'slack' chat is not whole"),
        ([" "], "chat's address is empty"),
    ],
)
def test_an_address_that_leads_to_no_chat_is_refused_without_being_named(
    addresses: list[str], reason: str
) -> None:
    test = delivery(type="webhook.test", data={"endpoint_id": "team"})

    with pytest.raises(ConfigurationError, match=reason) as raised:
        tell(test, addresses)
    assert "slack://" not in str(raised.value).removesuffix("slack://…")


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_a_chat_that_is_away_or_unknown_to_this_installation_is_an_outcome(
    monkeypatch: pytest.MonkeyPatch, receiver: Any
) -> None:
    test = delivery(type="webhook.test", data={"endpoint_id": "team"})
    receiver.answers = [(500, {})]
    address = receiver.url.replace("http://", "json://")

    assert tell(test, [address]) == "The chat did not take it, or could not be reached."
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigurationError, match="pip install 'ipai-connectors\\[alerts\\]'"):
        tell(test, [address])


RUN = {
    "run_id": "r1",
    "instance_id": "acme",
    "env": "dev",
    "attempt": 2,
    "max_attempts": 3,
    "rows_processed": 7,
    "error_class": "tap",
    "error_summary": "It broke.",
}


@pytest.mark.parametrize(
    ("status", "title", "body", "kind"),
    [
        ("succeeded", "SUCCEEDED acme (dev)", "7 rows. Run r1", "info"),
        ("queued", "QUEUED acme (dev)", "Run r1", "info"),
        (
            "failed",
            "FAILED acme (dev)",
            "attempt 2 of 3: tap: It broke.\nLook: ipai logs r1",
            "failure",
        ),
    ],
)
def test_events_of_runs_are_told_in_words(status: str, title: str, body: str, kind: str) -> None:
    told = message_of({"type": f"run.{status}", "data": {**RUN, "status": status}})

    assert (told.title, told.body, told.kind) == (title, body, kind)


def test_routes_are_set_listed_and_removed_by_commands(
    database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def ipai(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["alerts", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "There are no routes" in ipai("routes")
    Outbox(connection).create_endpoint("hook", *HOOK)
    ipai("route", "hook", "--severity", "critical")
    ipai("route", "hook", "--owner", "me", "--condition", "worker_lost")
    assert [one["owner"] for one in json.loads(ipai("routes", "--json"))] == ["*", "me"]
    assert "worker_lost" in ipai("routes")
    ipai("route", "hook", "--owner", "me", "--remove")
    assert len(json.loads(ipai("routes", "--json"))) == 1
    told = json.loads(ipai("test", "--severity", "critical", "--send", "--json"))
    assert told == [{"endpoint_id": "hook", "owners": []}]
    assert len(Outbox(connection).deliveries("hook")) == 1
    ipai("set", "sync_failed", "--group-minutes", "0")
    rules = {one["condition"]: one for one in json.loads(ipai("rules", "--json"))}
    assert rules["sync_failed"]["group_within"] is None
    assert rules["sla_breached"]["group_within"] == "0:15:00"
    assert "does not exist" in ipai("owner", "nobody", "me", code=1)
