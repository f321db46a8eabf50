# SPDX-License-Identifier: Apache-2.0
"""A login that puts its own types before the system's gets nothing done as the functions' owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ipai_orchestrate.control_plane import ControlPlane

Connection = psycopg.Connection[tuple[Any, ...]]

TYPES = ("bool", "bytea", "int4", "int8", "json", "jsonb", "name", "text", "timestamptz", "uuid")
TRAP = """
create function pg_temp.spring(value pg_catalog.text) returns pg_catalog.bool language plpgsql as $$
begin
    if current_user <> session_user then
        raise warning 'ran as %', current_user;
    end if;
    return true;
end $$"""


@pytest.fixture
def trapper(server: Any, database: str) -> Iterator[tuple[Connection, list[str]]]:
    """A worker's connection with traps for types, and what has run as somebody else in them."""
    server.execute(sql.SQL("create role trapper login in role ipai_worker"))
    caught: list[str] = []
    try:
        with psycopg.connect(database.replace("postgres@", "trapper@"), autocommit=True) as own:
            own.execute(TRAP)
            for name in TYPES:
                own.execute(
                    sql.SQL(
                        "create domain pg_temp.{0} as pg_catalog.{0}"
                        " check (pg_temp.spring(value::pg_catalog.text))"
                    ).format(sql.Identifier(name))
                )
            own.add_notice_handler(lambda said: caught.append(str(said.message_primary)))
            yield own, caught
    finally:
        # The types of a closed connection are gone when its server process is.
        theirs = "from pg_stat_activity where usename = 'trapper'"
        server.execute(f"select pg_terminate_backend(pid, 30000) {theirs}")
        server.execute(sql.SQL("drop role trapper"))


def work(connection: Connection) -> None:
    """Call what a worker calls; what is refused on the way has run as well."""
    for statement in (
        "select * from connectors.claim_connector_job('w')",
        "select connectors.reap_connector_runs()",
        "select connectors.heartbeat_connector_job(gen_random_uuid(), gen_random_uuid())",
        "select connectors.request_secret(gen_random_uuid(), gen_random_uuid(), 'a')",
        "select connectors.read_secret(gen_random_uuid())",
        "select connectors.set_meltano_state('dev:tap-a-to-b', '{}')",
        "select connectors.meltano_state_ids()",
    ):
        try:
            connection.execute(statement.encode())
        except psycopg.Error:
            continue


def hold_a_run(connection: Connection) -> None:
    """Take a run to its end."""
    plane = ControlPlane(connection)
    run = plane.claim(None, "worker")
    assert run is not None
    plane.append_logs(run, [{"message": "working", "fields": {"a": 1}}])
    plane.record_streams(run, [{"stream": "issues", "received": 1}])
    plane.record_schema(run, "issues", {"type": "object"})
    plane.save_state(run, {"bookmarks": {"issues": {"replication_key_value": 1}}})
    plane.complete(run)


def test_types_of_the_caller_are_not_taken_for_the_systems(
    trapper: tuple[Connection, list[str]],
    control_plane: ControlPlane,
    make_instance: Callable[..., str],
) -> None:
    own, caught = trapper
    control_plane.enqueue(make_instance())
    hold_a_run(own)
    work(own)

    assert caught == []


def test_they_would_be_with_a_search_path_that_is_merely_empty(
    trapper: tuple[Connection, list[str]], connection: Connection
) -> None:
    """So the test above can find what it looks for."""
    own, caught = trapper
    connection.execute(
        "alter function connectors.request_secret(uuid, uuid, text) set search_path = ''"
    )
    work(own)

    assert "ran as postgres" in caught
