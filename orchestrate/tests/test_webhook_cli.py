# SPDX-License-Identifier: Apache-2.0
"""`ipai webhook` and `ipai notifier` as their users meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from psycopg import sql
from standardwebhooks.webhooks import Webhook

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.notify.signature import new_secret

SECRET = new_secret()
REF = "${HOOK_SECRET}"


@pytest.fixture
def ipai(database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`ipai` in this process, on a database of its own; asserts the exit code."""
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    monkeypatch.setenv("HOOK_SECRET", SECRET)

    def run(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, [str(one) for one in arguments])
        assert code == done.exit_code, done.output
        return done.stdout if "--json" in arguments else done.output

    return run


@pytest.fixture
def endpoint(ipai: Callable[..., str], receiver: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("IPAI_WEBHOOK_ALLOW", receiver.url.removesuffix("/hook"))
    assert "ipai webhook test one" in ipai("webhook", "add", "one", receiver.url, "--secret", REF)
    return "one"


def test_an_endpoint_is_added_tested_told_and_removed(
    ipai: Callable[..., str],
    endpoint: str,
    receiver: Any,
    control_plane: ControlPlane,
    make_instance: Callable[..., str],
) -> None:
    tested = ipai("webhook", "test", "one")
    control_plane.cancel(control_plane.enqueue(make_instance()))
    report = json.loads(ipai("notifier", "--once", "--json"))
    listed = json.loads(ipai("webhook", "list", "--json"))

    assert "is delivered. The endpoint took it." in tested
    assert report == {"delivered": 2, "failed": 0, "dead": 0}
    for headers, body in receiver.got:
        Webhook(SECRET).verify(body, headers)
    assert [(one["id"], one["pending"], one["dead"]) for one in listed] == [("one", 0, 0)]
    assert "every status" in ipai("webhook", "list")
    assert "run.cancelled" in ipai("webhook", "deliveries", "one", "--status", "delivered")
    assert "0 delivered" in ipai("notifier", "--once")
    assert "Removed one" in ipai("webhook", "remove", "one")
    assert "No endpoints yet" in ipai("webhook", "list")
    assert "No deliveries" in ipai("webhook", "deliveries")
    assert "ipai webhook list" in ipai("webhook", "remove", "one", code=1)


def test_what_the_endpoint_refuses_is_shown_and_sent_again(
    ipai: Callable[..., str], endpoint: str, receiver: Any
) -> None:
    receiver.answers = [(500, {}), (500, {}), (204, {})]
    assert "is pending. Answered 500." in ipai("webhook", "test", "one", code=1)
    ipai("webhook", "add", "one", receiver.url, "--secret", REF, "--wait", 0, "--status", "failed")
    number = json.loads(ipai("webhook", "deliveries", "--json"))[0]["id"]
    ipai("webhook", "retry", number)
    ipai("notifier", "--once")

    assert "1 will be sent again" in ipai("webhook", "retry", number)
    assert "failed" in ipai("webhook", "list")
    ipai("notifier", "--once")
    assert json.loads(ipai("webhook", "deliveries", "--json"))[0]["status"] == "delivered"
    assert json.loads(ipai("webhook", "retry", "--dead-of", "one", "--json")) == {"retried": 0}
    assert "Nothing is named" in ipai("webhook", "retry", code=78)


def test_an_endpoint_is_paused_resumed_and_rotated(ipai: Callable[..., str], endpoint: str) -> None:
    assert "is paused" in ipai("webhook", "set", "one", "--status", "paused")
    assert "Both secrets sign until" in ipai(
        "webhook", "rotate", "one", "--secret", "${NEW_SECRET}"
    )
    assert "another secret" in ipai(
        "webhook", "add", "one", "https://x.example.com", "--secret", REF, code=78
    )
    assert "ipai webhook rotate ENDPOINT" in ipai(
        "webhook", "add", "one", "https://x.example.com", "--secret", REF, code=78
    )
    assert "disabled by" in (
        ipai("webhook", "set", "one", "--status", "disabled") and ipai("webhook", "list")
    )
    assert "ipai webhook set ENDPOINT --status active" in ipai("webhook", "test", "one", code=78)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["add", "one", "https://x.example.com", "--secret", SECRET],
            78,
            "not given as a reference",
        ),
        (
            ["add", "one", "file:///etc/passwd", "--secret", REF],
            78,
            "https://hooks.example.com/ipai",
        ),
        (["test", "nobody"], 1, "ipai webhook list"),
        (["rotate", "nobody", "--secret", REF], 1, "'nobody' does not exist"),
    ],
)
def test_mistakes_are_told_with_the_next_step(
    ipai: Callable[..., str], arguments: list[str], code: int, words: str
) -> None:
    said = ipai("webhook", *arguments, code=code)

    assert words in said
    assert SECRET not in said


def test_an_address_inside_is_refused_where_it_is_not_allowed(ipai: Callable[..., str]) -> None:
    ipai("webhook", "add", "one", "https://127.0.0.1:9/x", "--secret", REF)

    assert "IPAI_WEBHOOK_ALLOW" in ipai("webhook", "test", "one", code=1)
    assert "is not an origin" in ipai("notifier", "--once", "--allow", "everything", code=78)


def test_an_operator_queues_a_test_that_a_notifier_posts(
    ipai: Callable[..., str],
    endpoint: str,
    receiver: Any,
    database: str,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.execute(sql.SQL("create role only_operator login in role ipai_operator"))
    try:
        monkeypatch.setenv("IPAI_DATABASE_URL", database.replace("postgres@", "only_operator@"))
        said = ipai("webhook", "test", "one")
        assert "is pending. A notifier will post it." in said
        assert "may not do this" in ipai("webhook", "set", "one", "--status", "paused", code=78)
        assert receiver.got == []
        monkeypatch.setenv("IPAI_DATABASE_URL", database)
        assert "1 delivered" in ipai("notifier", "--once")
    finally:
        server.execute(sql.SQL("drop role only_operator"))


def test_a_test_that_is_told_to_come_back_later_does(
    ipai: Callable[..., str], endpoint: str, receiver: Any
) -> None:
    receiver.answers = [(503, {"retry-after": "86400"})]
    assert "is pending. Answered 503." in ipai("webhook", "test", "one", code=1)

    ipai("notifier", "--once")

    assert len(receiver.got) == 1


def test_a_fresh_secret_is_one_that_receivers_understand(ipai: Callable[..., str]) -> None:
    made = ipai("webhook", "secret").strip()

    assert made.startswith("whsec_")
    assert Webhook(made).sign("id", datetime.now(UTC), "{}").startswith("v1,")
