# SPDX-License-Identifier: Apache-2.0
"""Reading in two phases: who may, who is refused, and that nothing hides a read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ipai_orchestrate.exceptions import (
    DatabaseUnavailableError,
    LeaseLostError,
    SecretError,
)
from ipai_orchestrate.secrets import RingFile, SecretStore

Connection = psycopg.Connection[Any]
Journal = Callable[[], list[tuple[str, str, str | None]]]

CLIENT = pytest.mark.parametrize("ring", ["client"], indirect=True)
SERVER = pytest.mark.parametrize("ring", ["server"], indirect=True)
NAME = "github-acme/token"
REQUEST = "select grant_id, outcome from connectors.request_secret(%s, %s, %s)"
VALUE = "canary-5ecret-\u00fc/+value"


def test_the_holder_of_a_run_reads_what_its_instance_refers_to(
    store: SecretStore, ring: RingFile, worker: Any, connection: Connection
) -> None:
    store.create(NAME, VALUE)
    reader = worker.reader(ring)

    assert reader([NAME]) == {NAME: VALUE}
    assert VALUE in reader.to_mask
    rows = connection.execute(
        "select action, actor, secret_name, run_id from connectors.secret_audit order by seq"
    ).fetchall()
    me, him = connection.info.user, worker.connection.info.user
    assert rows == [
        ("create", me, NAME, None),
        ("grant", him, NAME, worker.run.id),
        ("read", him, NAME, worker.run.id),
    ]
    assert reader([]) == {}


def test_in_one_transaction_nothing_is_read(store: SecretStore, worker: Any) -> None:
    store.create(NAME, VALUE)
    with (
        pytest.raises(psycopg.Error, match="transaction that is not committed") as caught,
        worker.connection.transaction(),
    ):
        grant, _ = worker.ask()
        worker.read(grant)
    assert caught.value.sqlstate == "PT409"
    with pytest.raises(psycopg.Error, match="not committed"), worker.connection.transaction():
        with worker.connection.transaction():  # a savepoint
            grant, _ = worker.ask()
        worker.read(grant)


def test_a_rollback_takes_the_grant_back_with_its_row_in_the_log(
    store: SecretStore, worker: Any, journal: Journal
) -> None:
    store.create(NAME, VALUE)
    with worker.connection.transaction(force_rollback=True):
        grant, _ = worker.ask()
    assert [action for action, *_ in journal()] == ["create"]
    with pytest.raises(psycopg.Error, match="There is no grant"):
        worker.read(grant)


def test_a_reader_that_rolls_back_has_left_its_grant_in_the_log(
    store: SecretStore, worker: Any, journal: Journal
) -> None:
    store.create(NAME, VALUE)
    grant, _ = worker.ask()
    with worker.connection.transaction(force_rollback=True):
        assert worker.read(grant)["version"] == 1

    assert [action for action, *_ in journal()] == ["create", "grant"]


def test_a_grant_is_good_once(store: SecretStore, worker: Any) -> None:
    store.create(NAME, VALUE)
    grant, _ = worker.ask()
    worker.read(grant)

    with pytest.raises(psycopg.Error, match="was used") as caught:
        worker.read(grant)
    assert caught.value.sqlstate == "PT410"


FAIL = """
    select connectors.fail_connector_job(id, lease_token, 'internal', 'x')
    from connectors.connector_runs"""
BETWEEN = {
    "the grant has expired": (
        "update connectors.secret_grants set expires_at = clock_timestamp()",
        "has expired",
    ),
    "the lease has expired": (
        "update connectors.connector_runs set lease_until = clock_timestamp()",
        "is lost",
    ),
    "the run has ended": (FAIL, "is lost"),
    "the run was claimed by another login": (
        "update connectors.connector_runs set claimed_by = 'another'",
        "is lost",
    ),
    "the secret was deleted": (
        "select connectors.delete_secret('github-acme/token', force => true)",
        "does not exist any more",
    ),
}


@pytest.mark.parametrize("what", BETWEEN)
@CLIENT
def test_what_happens_between_the_phases_counts(
    store: SecretStore, worker: Any, connection: Connection, what: str
) -> None:
    store.create(NAME, VALUE)
    grant, _ = worker.ask()
    statement, problem = BETWEEN[what]
    connection.execute(statement.encode())

    with pytest.raises(psycopg.Error, match=problem):
        worker.read(grant)


@CLIENT
def test_another_login_can_use_neither_a_grant_nor_a_stolen_lease(
    store: SecretStore, make_worker: Callable[..., Any], journal: Journal
) -> None:
    store.create(NAME, VALUE)
    store.create("other/token", VALUE)
    one, thief = make_worker(), make_worker("other", "other/token")
    grant, _ = one.ask()
    stolen = dataclasses.replace(thief, run=one.run)

    with pytest.raises(psycopg.Error, match="There is no grant"):
        stolen.read(grant)
    assert stolen.ask() == (None, "no_lease")
    assert journal()[-1] == ("deny", NAME, "no lease")


@CLIENT
def test_refusals_are_answers_so_that_they_stay_in_the_log(
    store: SecretStore, worker: Any, journal: Journal
) -> None:
    store.create("not/referred", VALUE)
    wrong = (worker.run.id, uuid4(), NAME)
    nobody = (uuid4(), uuid4(), NAME)

    assert worker.ask("not/referred") == (None, "not_referred")
    assert worker.ask() == (None, "unknown")
    assert worker.connection.execute(REQUEST, wrong).fetchone() == (None, "no_lease")
    assert worker.connection.execute(REQUEST, nobody).fetchone() == (None, "no_lease")
    assert journal()[1:] == [
        ("deny", "not/referred", "not referred to"),
        ("deny", NAME, "unknown"),
        ("deny", NAME, "no lease"),
        ("deny", NAME, "no lease"),
    ]


@CLIENT
def test_the_reader_says_what_to_do(
    store: SecretStore, ring: RingFile, worker: Any, connection: Connection
) -> None:
    with pytest.raises(SecretError, match=f"ipai secret set {NAME}"):
        worker.reader(ring)([NAME])
    connection.execute("update connectors.connector_runs set lease_until = clock_timestamp()")
    with pytest.raises(LeaseLostError, match="Write nothing more"):
        worker.reader(ring)([NAME])


@CLIENT
def test_a_database_that_is_busy_or_away_is_told_apart_from_a_missing_secret(
    store: SecretStore, ring: RingFile, worker: Any, connection: Connection
) -> None:
    store.create(NAME, VALUE)
    connection.execute("alter function connectors.append_secret_audit set lock_timeout = '50ms'")
    with connection.transaction():
        connection.execute("select from connectors.secret_audit_head for update")
        with pytest.raises(DatabaseUnavailableError, match="too busy to read a secret"):
            worker.reader(ring)([NAME])
    away = dataclasses.replace(worker, dsn="postgresql://localhost:1/nowhere")
    with pytest.raises(DatabaseUnavailableError, match="connection to the database broke"):
        away.reader(ring)([NAME])


def test_a_worker_reads_no_table_and_no_value_in_any_other_way(
    store: SecretStore, worker: Any
) -> None:
    store.create(NAME, VALUE)
    for statement in (
        "select * from vault.decrypted_secrets",
        "select * from vault.secrets",
        "select * from connectors.secrets",
        "select * from connectors.secret_grants",
        "select * from connectors.secret_audit",
        "select connectors.open_secret('github-acme/token')",
        "select connectors.grant_secret('github-acme/token')",
        "select connectors.secret_list()",
        "select connectors.request_instance_secret('github-acme', 'github-acme/token')",
        "select vault._keys()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.connection.execute(statement.encode())


def test_through_the_rest_interface_the_token_says_who_asks(
    server: Any, database: str, connection: Connection, login: Callable[[str], str]
) -> None:
    """Only its login is believed: any other could set the claims itself."""
    server.execute(sql.SQL("create role authenticator login noinherit in role service_role"))
    worker = login("ipai_worker")
    try:
        for dsn in (database.replace("postgres@", "authenticator@"), worker):
            with psycopg.connect(dsn, autocommit=True) as asking:
                for claims in ('{"sub": "someone", "role": "x"}', '{"role": "service_role"}', ""):
                    asking.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
                    if dsn != worker:
                        asking.execute("set role service_role")
                    asking.execute(REQUEST, (uuid4(), uuid4(), NAME))
        rows = connection.execute("select actor from connectors.secret_audit order by seq")
        assert [actor for (actor,) in rows] == [
            "authenticator/someone",
            "authenticator/service_role",
            "authenticator/anon",
            *["secret_0_ipai_worker"] * 3,
        ]
    finally:
        server.execute(sql.SQL("drop role authenticator"))
