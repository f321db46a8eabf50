# SPDX-License-Identifier: Apache-2.0
"""What logins of the roles do in earnest; access/*.toml says what each role may at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ConfigurationError

Connection = psycopg.Connection[tuple[Any, ...]]

STAFF = {"service_role", "ipai_admin", "ipai_operator"}
ROLES = STAFF | {"ipai_worker", "ipai_agent", "ipai_analyst", "anon", "authenticated"}


@pytest.fixture
def login(server: Any, database: str) -> Iterator[Callable[[str], str]]:
    """Return a function that makes a login of some roles and returns the address for it."""
    made: list[str] = []

    def make(*roles: str) -> str:
        name = f"login_{len(made)}_{database.rsplit('/', 1)[-1].split('?')[0]}"
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute(
                sql.SQL("create role {} login in role {}").format(
                    sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, roles))
                )
            )
        made.append(name)
        return database.replace("postgres@", f"{name}@")

    yield make
    with psycopg.connect(database, autocommit=True) as owner:
        for name in made:
            owner.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
            owner.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_a_worker_login_takes_a_run_through_its_life(
    login: Callable[..., str], control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    run_id = control_plane.enqueue(make_instance())
    with ControlPlane.connect(login("ipai_worker")) as worker:
        run = worker.claim(None, "worker")
        assert run is not None
        assert worker.heartbeat(run) == "ok"
        worker.append_logs(run, [{"message": "working"}])
        worker.record_streams(run, [{"stream": "issues", "received": 1}])
        worker.save_state(run, {"bookmarks": {"issues": {}}})
        worker.complete(run)
        with pytest.raises(ConfigurationError, match="may not do this"):
            worker.enqueue("github-acme")
        with pytest.raises(ConfigurationError, match="may not do this"):
            worker.run_status(run_id)

    status = control_plane.run_status(run_id)
    assert (status.status, status.rows_processed) == ("succeeded", 1)


def test_an_agent_login_starts_and_follows_runs_and_changes_nothing_else(
    login: Callable[..., str], control_plane: ControlPlane, make_instance: Callable[..., str]
) -> None:
    make_instance()
    with psycopg.connect(login("ipai_agent"), autocommit=True) as agent:
        row = agent.execute("select connectors.run_connector('github-acme')").fetchone()
        assert row is not None
        plane = ControlPlane(agent)
        assert plane.run_status(row[0]).status == "queued"
        assert plane.instances()[0].last_run_id == row[0]
        assert plane.cancel(row[0]) == "cancelled"
        with pytest.raises(ConfigurationError):
            plane.state_get("github-acme")

        login_name = agent.info.user

    assert control_plane.runs()[0].error_summary == f"cancelled by {login_name}"


def test_the_rows_are_seen_by_staff_only(
    connection: Connection, make_instance: Callable[..., str]
) -> None:
    make_instance()
    seen = {}
    for role in sorted(STAFF):
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            row = connection.execute(
                "select count(*) from connectors.ipai_connector_config"
            ).fetchone()
            seen[role] = row
    assert seen == dict.fromkeys(sorted(STAFF), (1,))


def test_without_its_policy_even_the_owner_sees_nothing(connection: Connection) -> None:
    """Row security is forced: the functions work because of a policy, not around it."""
    connection.execute(
        "create role plain_owner nologin; alter table connectors.dead_letters owner to plain_owner;"
        "grant usage on schema connectors to plain_owner;"
        "insert into connectors.dead_letters (instance_id, reason, raw) values ('a', 'b', '')"
    )
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("set local role plain_owner")
            rows = connection.execute("select * from connectors.dead_letters").fetchall()
    finally:
        connection.execute("drop owned by plain_owner; drop role plain_owner")

    assert rows == []


def test_layers_are_closed_to_strangers_and_open_for_the_worker(connection: Connection) -> None:
    rows = connection.execute(
        "select n.nspname, r.rolname from pg_namespace as n, pg_roles as r"
        " where n.nspname ~ '^ipai_' and r.rolname = any (%s)"
        " and has_schema_privilege(r.rolname, n.nspname, 'usage')",
        (sorted(ROLES),),
    ).fetchall()
    readers: dict[str, set[str]] = {}
    for schema, role in rows:
        readers.setdefault(schema, set()).add(role)

    assert len(readers) == 13
    for schema, roles in readers.items():
        expected = STAFF | {"ipai_worker"} | ({"ipai_analyst"} if "_gold_" in schema else set())
        assert roles == expected, schema
