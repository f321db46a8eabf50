# SPDX-License-Identifier: Apache-2.0
"""The outbox: what is written when a run changes, and for whom."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import (
    ConflictError,
    ControlPlaneError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
)
from ipai_orchestrate.notify import Outbox

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]
SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "run_event.schema.json"
REF = "${HOOK_SECRET}"
URL = "https://hooks.example.com/ipai"


@pytest.fixture
def outbox(connection: Connection) -> Outbox:
    return Outbox(connection)


def run_through(plane: ControlPlane, instance: str = "github-acme") -> Any:
    run = plane.claim(plane.enqueue(instance), "worker")
    assert run is not None
    plane.complete(run, stateless=True)
    return run.id


def types(outbox: Outbox, **which: Any) -> list[str]:
    return [one.type for one in reversed(outbox.events(**which))]


def test_every_change_of_a_run_is_an_event_and_nothing_else_is(
    outbox: Outbox, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = control_plane.claim(control_plane.enqueue(make_instance()), "worker")
    assert run is not None
    control_plane.heartbeat(run)
    control_plane.append_logs(run, [{"message": "hello"}])
    control_plane.save_state(run, {"bookmarks": {"issues": {}}})
    control_plane.complete(run)
    control_plane.cancel(control_plane.enqueue("github-acme"))

    assert types(outbox) == [
        "run.queued",
        "run.running",
        "run.succeeded",
        "run.queued",
        "run.cancelled",
    ]
    assert types(outbox, for_run=run.id) == ["run.queued", "run.running", "run.succeeded"]
    assert types(outbox, for_instance="nobody") == []


def test_events_keep_the_published_schema_and_say_what_happened(
    outbox: Outbox, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run_through(control_plane, make_instance())
    run = control_plane.claim(control_plane.enqueue("github-acme", streams=["issues"]), "worker")
    assert run is not None
    control_plane.fail(run, "credentials", "The source refuses the token.", 77)
    outbox.create_endpoint("one", URL, REF)
    outbox.send_test("one")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.FormatChecker(["uuid"])
    )
    validator.check_schema(schema)
    events = outbox.events()

    assert [e.message for event in events for e in validator.iter_errors(event.payload)] == []
    assert {event.type for event in events} <= set(schema["properties"]["type"]["enum"])
    failed = next(event.payload for event in events if event.type == "run.failed")
    assert failed["id"] == str(next(event.id for event in events if event.type == "run.failed"))
    facts = ("status", "previous_status", "error_class", "exit_code", "source", "env", "streams")
    assert [failed["data"][name] for name in facts] == [
        "failed",
        "running",
        "credentials",
        77,
        "github",
        "dev",
        ["issues"],
    ]
    assert failed["data"]["definition_version"] == 1


def test_the_event_of_a_failed_run_names_its_retry(
    outbox: Outbox, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run = control_plane.claim(control_plane.enqueue(make_instance(), max_attempts=2), "worker")
    assert run is not None
    retry = control_plane.fail(run, "tap", "It broke.").retry_id
    failed = next(one for one in outbox.events() if one.type == "run.failed")

    assert retry is not None
    assert failed.payload["data"]["retried_as"] == str(retry)
    queued = outbox.events(for_run=retry)[0].payload["data"]
    assert (queued["retry_of"], queued["triggered_by"]) == (str(run.id), "retry")


def test_what_is_rolled_back_is_not_told(
    outbox: Outbox, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance()
    outbox.create_endpoint("one", URL, REF)
    with connection.transaction(force_rollback=True):
        connection.execute("select connectors.run_connector('github-acme')")
        connection.execute("set constraints all immediate")
        assert types(outbox) == ["run.queued"]

    assert (types(outbox), outbox.deliveries()) == ([], [])


FILTERS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"statuses": ["failed", "succeeded"]}, True),
    ({"statuses": ["failed"]}, False),
    ({"envs": ["staging", "dev"]}, True),
    ({"envs": ["production"]}, False),
    ({"sources": ["github"]}, True),
    ({"sources": ["odoo"]}, False),
    ({"instances": ["github-acme"]}, True),
    ({"instances": ["github-other"], "statuses": ["succeeded"]}, False),
]


@pytest.mark.parametrize(("filters", "passes"), FILTERS)
def test_an_endpoint_is_told_what_passes_its_filters(
    outbox: Outbox,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
    filters: dict[str, Any],
    passes: bool,
) -> None:
    outbox.create_endpoint("one", URL, REF, **filters)
    run_through(control_plane, make_instance())
    told = [one.event_type for one in outbox.deliveries("one")]

    assert ("run.succeeded" in told) is passes


def test_paused_endpoints_keep_what_waits_and_disabled_ones_are_told_nothing(
    outbox: Outbox, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    for name in ("paused", "disabled"):
        outbox.create_endpoint(name, URL, REF, statuses=["succeeded"])
        outbox.set_status(name, name)
    run_through(control_plane, make_instance())

    assert [one.endpoint_id for one in outbox.deliveries()] == ["paused"]
    assert outbox.claim("n") == []
    outbox.set_status("paused", "active")
    assert [one.endpoint_id for one in outbox.claim("n")] == ["paused"]
    outbox.set_status("paused", "disabled")
    assert "disabled by" in (outbox.endpoints()[1].disabled_reason or "")


def test_removing_an_endpoint_does_not_disturb_a_run_that_ends_now(
    outbox: Outbox,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
    database: str,
) -> None:
    make_instance()
    outbox.create_endpoint("one", URL, REF)
    ended: list[Any] = []
    with psycopg.connect(database) as other:
        other.execute("select connectors.delete_webhook_endpoint('one')")
        thread = threading.Thread(target=lambda: ended.append(run_through(control_plane)))
        thread.start()
        thread.join(0.3)  # it waits for the removal, which is not committed yet
        other.commit()
    thread.join()

    assert len(ended) == 1
    assert outbox.deliveries() == []


BAD_ENDPOINTS: list[tuple[dict[str, Any], str]] = [
    ({"secret_ref": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "not given as a reference"),
    ({"secret_ref": ""}, "not given as a reference"),
    ({"endpoint_id": "My Hook"}, "'My Hook' is not a slug"),
    ({"url": "ftp://example.com/x"}, "no plain http"),
    ({"url": "https://user:pw@example.com/"}, "no plain http"),
    ({"url": "https://example.com/#part"}, "no plain http"),
    ({"url": "https://example.com/a b"}, "no plain http"),
    ({"url": "https:///path"}, "no plain http"),
    ({"url": "https://example.com\\@inside/"}, "no plain http"),
    ({"url": "https://example.com/" + "x" * 2000}, "no plain http"),
    ({"statuses": ["finished"]}, "not all known"),
    ({"timeout_seconds": 60}, "60 s is not possible"),
    ({"timeout_seconds": 1}, "1 s is not possible"),
    ({"retry_seconds": [5, -1]}, "not possible"),
    ({"retry_seconds": [1] * 21}, "not possible"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_ENDPOINTS)
def test_an_endpoint_that_cannot_be_is_refused_with_the_next_step(
    outbox: Outbox, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(RefusedError, match=words) as refusal:
        outbox.create_endpoint(**{"endpoint_id": "one", "url": URL, "secret_ref": REF, **arguments})

    assert refusal.value.hint
    assert "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" not in str(refusal.value)
    assert outbox.endpoints() == []


def test_an_empty_filter_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.Error, match="nothing passes"):
        connection.execute(
            "select connectors.create_webhook_endpoint('one', %s, %s, envs => '{}')", (URL, REF)
        )


def test_an_endpoint_is_created_once_and_changed_after(outbox: Outbox) -> None:
    first = outbox.create_endpoint("one", URL, REF)
    again = outbox.create_endpoint("one", URL + "/2", REF, statuses=["failed"])
    (listed,) = outbox.endpoints()

    assert (first.created, again.created) == (True, False)
    assert (listed.url, listed.statuses, listed.retry_seconds[-1]) == (
        URL + "/2",
        ["failed"],
        86400,
    )
    with pytest.raises(ConflictError, match="another secret"):
        outbox.create_endpoint("one", URL, "${OTHER}")
    assert outbox.delete_endpoint("one")
    assert not outbox.delete_endpoint("one")


def test_calls_for_what_is_not_there_say_so(outbox: Outbox, connection: Connection) -> None:
    outbox.create_endpoint("one", URL, REF)
    calls: list[tuple[type[ControlPlaneError], Callable[[], object]]] = [
        (NotFoundError, lambda: outbox.send_test("nobody")),
        (NotFoundError, lambda: outbox.set_status("nobody", "active")),
        (NotFoundError, lambda: outbox.retry(None, "nobody")),
        (RefusedError, lambda: outbox.set_status("one", "asleep")),
        (RefusedError, lambda: outbox.retry()),
        (RefusedError, lambda: outbox.claim(" ")),
        (RefusedError, lambda: outbox.claim("n", lease_seconds=0)),
        (RefusedError, lambda: outbox.purge(0)),
    ]
    for expected, call in calls:
        with pytest.raises(expected):
            call()


def test_a_delivery_is_handed_to_one_notifier_and_finished_by_it_alone(
    outbox: Outbox, connection: Connection
) -> None:
    outbox.create_endpoint("one", URL, REF)
    outbox.send_test("one")
    (mine,) = outbox.claim("first")

    assert outbox.claim("second") == []
    connection.execute(  # the lease of the first one ends
        "update connectors.webhook_deliveries set next_attempt_at = now() - interval '1 s'"
    )
    (theirs,) = outbox.claim("second")
    assert (theirs.attempt, theirs.event_id) == (2, mine.event_id)
    with pytest.raises(LeaseLostError, match="claim on delivery"):
        outbox.finish(mine, 204)
    assert outbox.finish(theirs, 204).status == "delivered"


def test_a_claim_that_was_the_last_try_ends_as_dead_letter(
    outbox: Outbox, connection: Connection
) -> None:
    outbox.create_endpoint("one", URL, REF, retry_seconds=[])
    outbox.send_test("one")
    (lost,) = outbox.claim("first")
    connection.execute(
        "update connectors.webhook_deliveries set next_attempt_at = now() - interval '1 s'"
    )

    assert outbox.claim("second") == []
    (dead,) = outbox.deliveries(in_status="dead")
    assert (dead.id, dead.error) == (lost.delivery_id, "Notifier first was lost while sending.")


def test_waits_grow_with_full_jitter_between_nothing_and_the_limit(
    outbox: Outbox, connection: Connection
) -> None:
    limits = [5, 30, 120, 600, 3600, 21600, 86400]
    outbox.create_endpoint("one", URL, REF)
    outbox.send_test("one")
    waits = []
    for _ in limits:
        (claimed,) = outbox.claim("n")
        finished = outbox.finish(claimed, 500, "Answered 500.")
        row = connection.execute(
            "select extract(epoch from %s - clock_timestamp())", (finished.next_attempt_at,)
        ).fetchone()
        waits.append(float(row[0]))
        connection.execute("update connectors.webhook_deliveries set next_attempt_at = now()")
    (last,) = outbox.claim("n")

    assert all(wait <= limit for wait, limit in zip(waits, limits, strict=True)), waits
    assert (last.attempt, last.max_attempts) == (8, 8)
    assert outbox.finish(last, 500, "Answered 500.").status == "dead"


def test_an_endpoint_that_asks_for_patience_gets_it(outbox: Outbox, connection: Connection) -> None:
    outbox.create_endpoint("one", URL, REF, retry_seconds=[0])
    outbox.send_test("one")
    (claimed,) = outbox.claim("n")
    finished = outbox.finish(claimed, 429, "Answered 429.", 600.0)
    row = connection.execute(
        "select %s > clock_timestamp() + interval '9 minutes'", (finished.next_attempt_at,)
    ).fetchone()

    assert row == (True,)


def test_a_hanging_endpoint_takes_its_share_of_a_notifier_and_not_all_of_it(outbox: Outbox) -> None:
    for name in ("hanging", "quick"):
        outbox.create_endpoint(name, URL, REF)
    for _ in range(10):
        outbox.send_test("hanging")
    outbox.send_test("quick")
    claimed = [one.endpoint_id for one in outbox.claim("n", 100, per_endpoint=3)]

    assert sorted(claimed) == ["hanging"] * 3 + ["quick"]
    assert outbox.claim("n", 100, per_endpoint=3) == []


def test_dead_letters_are_sent_again_with_all_their_tries(outbox: Outbox) -> None:
    outbox.create_endpoint("one", URL, REF, retry_seconds=[])
    for _ in range(2):
        outbox.send_test("one")
    for claimed in outbox.claim("n"):
        outbox.finish(claimed, 500, "Answered 500.")

    assert [one.status for one in outbox.deliveries()] == ["dead", "dead"]
    assert outbox.retry(of_endpoint="one") == 2
    again = outbox.claim("n")
    assert [one.attempt for one in again] == [1, 1]
    for claimed in again:
        outbox.finish(claimed, 200)
    assert outbox.retry([again[0].delivery_id]) == 1
    outbox.set_status("one", "disabled")
    assert [one.status for one in outbox.deliveries()] == ["delivered", "dead"]
    with pytest.raises(ConflictError, match="disabled"):
        outbox.retry(of_endpoint="one")
    with pytest.raises(ConflictError, match="disabled"):
        outbox.send_test("one")


def test_old_events_go_unless_they_are_still_to_be_told(
    outbox: Outbox, connection: Connection, control_plane: ControlPlane, make_instance: MakeInstance
) -> None:
    run_through(control_plane, make_instance())
    outbox.create_endpoint("one", URL, REF)
    outbox.send_test("one")
    connection.execute("update connectors.connector_events set at = at - interval '31 days'")

    assert outbox.purge() == 3
    assert types(outbox) == ["webhook.test"]


def test_eight_notifiers_at_once_share_the_work_and_none_takes_what_another_has(
    outbox: Outbox, database: str
) -> None:
    outbox.create_endpoint("one", URL, REF)
    numbers = {outbox.send_test("one") for _ in range(120)}
    taken: list[int] = []
    failures: list[BaseException] = []

    def notifier(name: str) -> None:
        try:
            with psycopg.connect(database, autocommit=True) as own:
                mine = Outbox(own)
                while claimed := mine.claim(name, 5, per_endpoint=1000):
                    for one in claimed:
                        mine.finish(one, 200)
                        taken.append(one.delivery_id)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=notifier, args=(f"n{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert sorted(taken) == sorted(numbers)


def test_listeners_are_woken_only_when_somebody_is_to_be_told(
    outbox: Outbox, control_plane: ControlPlane, make_instance: MakeInstance, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as listening:
        Outbox(listening).listen()
        run_through(control_plane, make_instance())
        assert list(listening.notifies(timeout=0.1)) == []
        outbox.create_endpoint("one", URL, REF, statuses=["succeeded"])
        run_through(control_plane)
        assert len(list(listening.notifies(timeout=5, stop_after=1))) == 1
