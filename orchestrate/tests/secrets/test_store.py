# SPDX-License-Identifier: Apache-2.0
"""Storing, replacing, revoking and forgetting secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import (
    ConflictError,
    NotFoundError,
    RefusedError,
    SecretError,
)
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.secrets import RingFile, SecretReader, SecretStore

Connection = psycopg.Connection[Any]
Journal = Callable[[], list[tuple[str, str, str | None]]]

CLIENT = pytest.mark.parametrize("ring", ["client"], indirect=True)
SERVER = pytest.mark.parametrize("ring", ["server"], indirect=True)
NAME = "github-acme/token"
VALUE = "canary-5ecret-\u00fc/+value"


def test_a_secret_is_stored_once_replaced_and_forgotten(
    store: SecretStore, ring: RingFile, worker: Any, connection: Connection, journal: Journal
) -> None:
    until = datetime(2027, 1, 31, tzinfo=UTC)
    store.create(NAME, "one", description="For tests.", expires_at=until)
    with pytest.raises(ConflictError, match="exists"):
        store.create(NAME, "two")
    assert store.rotate(NAME, "two").version == 2
    (found,) = store.all()

    assert (found.name, found.version, found.description) == (NAME, 2, "For tests.")
    assert (found.expires_at, found.used_by, found.last_read_at) == (None, ["github-acme"], None)
    assert worker.reader(ring)([NAME]) == {NAME: "two"}
    assert store.all()[0].last_read_at is not None
    with pytest.raises(ConflictError, match="is used by github-acme"):
        store.delete(NAME)
    store.delete(NAME, force=True)
    assert store.all() == []
    assert connection.execute("select count(*) from vault.secrets").fetchone() == (0,)
    assert [action for action, *_ in journal()] == ["create", "rotate", "grant", "read", "delete"]
    with pytest.raises(NotFoundError):
        store.delete("unknown")
    with pytest.raises(NotFoundError):
        store.rotate(NAME, "three")


def test_both_values_are_handed_out_while_they_overlap(
    store: SecretStore, ring: RingFile, worker: Any, connection: Connection
) -> None:
    store.create(NAME, "one")
    store.rotate(NAME, "two", overlap="24h")
    grant, _ = worker.ask()
    both = worker.read(grant)
    assert {"value", "sealed"} & both["previous"].keys()
    assert worker.reader(ring)([NAME]) == {NAME: "two"}
    assert [one.name for one in store.all()] == [NAME]
    connection.execute("update connectors.secrets set previous_until = clock_timestamp()")

    assert "previous" not in worker.read(worker.ask()[0])
    assert connection.execute("select count(*) from vault.secrets").fetchone() == (1,)
    store.rotate(NAME, "three", overlap="1h")
    assert connection.execute("select count(*) from vault.secrets").fetchone() == (2,)
    store.rotate(NAME, "four")
    assert connection.execute("select count(*) from vault.secrets").fetchone() == (1,)


@CLIENT
def test_revoking_cancels_the_runs_that_hold_the_old_value(
    store: SecretStore, make_worker: Callable[..., Any], journal: Journal
) -> None:
    store.create(NAME, "leaked")
    holder, stranger = make_worker(), make_worker("other", "other/token")
    holder.read(holder.ask()[0])

    assert store.rotate(NAME, "clean", revoke=True).cancelled == [holder.run.id]
    assert ControlPlane(holder.connection).heartbeat(holder.run) == "cancel"
    assert ControlPlane(stranger.connection).heartbeat(stranger.run) == "ok"
    assert journal()[-1] == ("rotate", NAME, "version 2, the value before revoked")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("", "x", "is no name"),
        ("two words", "x", "is no name"),
        ("../up", "x", "is no name"),
        ("fine", "", "has no value"),
    ],
)
def test_a_secret_without_name_or_value_is_refused(
    store: SecretStore, name: str, value: str, problem: str
) -> None:
    with pytest.raises(RefusedError, match=problem):
        store.create(name, value)


@CLIENT
@pytest.mark.parametrize(
    "sealed",
    [
        {},
        {"id": "nonsense", "secret": "gcm1.AAAA.AAAA"},
        {"id": str(uuid4()), "secret": "plain"},
    ],
)
def test_what_is_not_sealed_is_not_stored(
    connection: Connection, sealed: dict[str, str], ring: RingFile
) -> None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(
            "select connectors.create_secret('a', sealed => %s::jsonb)", (json.dumps(sealed),)
        )
    assert caught.value.sqlstate == "PT422"
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("insert into vault.secrets (secret) values ('plain text')")


@CLIENT
def test_settings_hold_references_of_both_kinds_and_no_secret(
    make_instance: Callable[..., str], ring: RingFile
) -> None:
    make_instance("a", config={"auth_token": "${secret:a/b.c-d_e}"})
    make_instance("b", config={"auth_token": ["${secret:a}", "${TOKEN}"]})
    for value in (
        "plain",
        "${secret:}",
        "${secret:a} b",
        "${secret:a b}",
        ["${secret:a}", "plain"],
    ):
        with pytest.raises(RefusedError, match="is a secret and is not stored"):
            make_instance("c", config={"auth_token": value})


@CLIENT
def test_an_administrator_checks_an_instance_without_a_run(
    store: SecretStore,
    ring: RingFile,
    make_worker: Callable[..., Any],
    database: str,
    journal: Journal,
) -> None:
    store.create(NAME, VALUE)
    make_worker()
    holding = {"run_id": None, "lease_token": None}

    def reader(instance: str) -> SecretReader:
        asking = {"instance_id": instance}
        return SecretReader(Database(database), "request_for_instance", asking, holding, ring)

    assert reader("github-acme")([NAME]) == {NAME: VALUE}
    assert ("grant", NAME, "instance github-acme") in journal()
    with pytest.raises(SecretError, match="does not refer"):
        reader("nobody")([NAME])


def test_a_secret_that_signs_webhooks_is_not_deleted_by_mistake(
    store: SecretStore, connection: Connection
) -> None:
    store.create("webhook/alerts", "whsec_eA==")
    store.create("webhook/new", "whsec_eQ==")
    create = "select connectors.create_webhook_endpoint('oncall', 'https://h.example.com', %s)"
    connection.execute(create, ("${secret:webhook/alerts}",))

    with pytest.raises(ConflictError, match="'webhook/alerts' is used by webhook oncall"):
        store.delete("webhook/alerts")
    store.delete("webhook/new")
    store.delete("webhook/alerts", force=True)
