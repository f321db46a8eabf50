# SPDX-License-Identifier: Apache-2.0
"""Who may do what, tried as that role; and rules every table and function of the schema keeps."""

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
TABLES = {
    "connector_definitions",
    "connector_instances",
    "connector_runs",
    "run_streams",
    "connector_state",
    "connector_state_history",
    "run_logs",
    "dead_letters",
    "stream_schemas",
}
# Everything that is not listed is denied.
TABLE_RULES: dict[tuple[str, str], set[str]] = {
    **{(table, "select"): STAFF for table in TABLES},
    ("dead_letters", "select"): STAFF | {"ipai_worker"},
    ("dead_letters", "insert"): {"service_role", "ipai_worker"},
    ("dead_letters", "update"): STAFF | {"ipai_worker"},
    ("ipai_connector_config", "select"): STAFF,
    ("ipai_connector_run", "select"): STAFF,
}
ADMIN = {"service_role", "ipai_admin"}
WORKER = {"service_role", "ipai_worker"}
FUNCTION_RULES: dict[str, set[str]] = {
    "register_connector_definition": ADMIN,
    "create_connector_instance": ADMIN,
    "set_instance_status": ADMIN,
    "purge_run_logs": ADMIN,
    "enqueue_connector_job": STAFF,
    "run_connector": STAFF | {"ipai_agent"},
    "cancel_connector_job": STAFF | {"ipai_agent"},
    "connector_list": STAFF | {"ipai_agent"},
    "connector_status": STAFF | {"ipai_agent"},
    "connector_logs": STAFF | {"ipai_agent"},
    "connector_runs_list": STAFF | {"ipai_agent"},
    "reap_connector_runs": STAFF | {"ipai_worker"},
    "get_connector_state": STAFF,
    "set_connector_state": STAFF,
    "rollback_connector_state": STAFF,
    "connector_state_versions": STAFF,
    "get_meltano_state": STAFF | {"ipai_worker"},
    "set_meltano_state": STAFF | {"ipai_worker"},
    "delete_meltano_state": STAFF | {"ipai_worker"},
    "meltano_state_ids": STAFF | {"ipai_worker"},
    "claim_connector_job": WORKER,
    "heartbeat_connector_job": WORKER,
    "complete_connector_job": WORKER,
    "fail_connector_job": WORKER,
    "save_connector_state": WORKER,
    "append_connector_logs": WORKER,
    "record_run_streams": WORKER,
    "record_stream_schema": WORKER,
}


def allowed(connection: Connection, role: str, statement: str) -> bool:
    """Try a statement as a role and take it back; any other error than `denied` is a yes."""
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        try:
            with connection.transaction():
                connection.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            return False
        except psycopg.Error:
            return True
        return True


def attempts(connection: Connection, table: str) -> dict[str, str]:
    """One statement per verb, whose outcome depends on rights alone."""
    row = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum = 1",
        (f"connectors.{table}",),
    ).fetchone()
    assert row is not None
    column, insert = row[0], f"insert into connectors.{table} default values"
    if table == "dead_letters":
        column = "replayed_at"
        insert = (
            "insert into connectors.dead_letters (instance_id, reason, raw) values ('a', 'b', '')"
        )
    return {
        "select": f"select * from connectors.{table}",
        "insert": insert,
        "update": f"update connectors.{table} set {column} = default where false",
        "delete": f"delete from connectors.{table} where false",
        "truncate": f"truncate connectors.{table}",
    }


@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_role_does_to_each_table_what_is_listed_and_nothing_else(
    connection: Connection, role: str
) -> None:
    relations = TABLES | {"ipai_connector_config", "ipai_connector_run"}
    granted = {
        (table, verb)
        for table in relations
        for verb in ("select", "insert", "update", "delete", "truncate")
        if connection.execute(
            "select has_schema_privilege(%(role)s, 'connectors', 'usage') and"
            " (has_table_privilege(%(role)s, %(table)s, %(verb)s) or (%(verb)s in"
            " ('select', 'insert', 'update') and has_any_column_privilege("
            "%(role)s, %(table)s, %(column_verb)s)))",
            {
                "role": role,
                "table": f"connectors.{table}",
                "verb": verb,
                "column_verb": verb if verb in ("select", "insert", "update") else "select",
            },
        ).fetchone()
        == (True,)
    }

    assert granted == {rule for rule, roles in TABLE_RULES.items() if role in roles}


@pytest.mark.parametrize("role", sorted(ROLES))
def test_what_is_granted_works_and_what_is_not_is_denied_when_tried(
    connection: Connection, role: str
) -> None:
    outcomes = {
        (table, verb): allowed(connection, role, statement)
        for table in TABLES
        for verb, statement in attempts(connection, table).items()
    }

    assert {rule for rule, outcome in outcomes.items() if outcome} == {
        rule for rule, roles in TABLE_RULES.items() if role in roles and rule[0] in TABLES
    }


@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_role_calls_the_functions_that_are_listed_and_no_other(
    connection: Connection, role: str
) -> None:
    functions = connection.execute(
        "select p.proname, array(select format_type(t, null) from unnest(p.proargtypes) as t)"
        " from pg_proc as p where p.pronamespace = 'connectors'::regnamespace"
    ).fetchall()
    assert {name for name, _ in functions} >= FUNCTION_RULES.keys()

    callable_ones = set()
    for name, types in functions:
        arguments = ", ".join(f"null::{one}" for one in types)
        if allowed(connection, role, f"select connectors.{name}({arguments})"):
            callable_ones.add(name)
    assert callable_ones == {name for name, roles in FUNCTION_RULES.items() if role in roles}


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


CATALOG_RULES = {
    "every table has row security, enabled and forced": """
        select relname from pg_class
        where relnamespace = 'connectors'::regnamespace and relkind in ('r', 'p')
            and not (relrowsecurity and relforcerowsecurity)""",
    "every table has a policy": """
        select relname from pg_class as c
        where relnamespace = 'connectors'::regnamespace and relkind in ('r', 'p')
            and not exists (select from pg_policy where polrelid = c.oid)""",
    "no policy is for public": """
        select polname from pg_policy where polroles = '{0}'""",
    "every table has a primary key": """
        select relname from pg_class as c
        where relnamespace = 'connectors'::regnamespace and relkind in ('r', 'p') and not exists (
            select from pg_index where indrelid = c.oid and indisprimary)""",
    "every function has an empty search path": """
        select proname from pg_proc where pronamespace = 'connectors'::regnamespace
            and not coalesce(proconfig @> array['search_path=""'], false)""",
    "no function is executable by everybody": """
        select proname
        from pg_proc as p, aclexplode(coalesce(proacl, acldefault('f', proowner))) as a
        where pronamespace = 'connectors'::regnamespace and a.grantee = 0""",
    "nothing is granted to anon, authenticated or everybody": """
        select relname from pg_class as c, aclexplode(c.relacl) as a
        where relnamespace = 'connectors'::regnamespace and (a.grantee = 0
            or a.grantee in ('anon'::regrole, 'authenticated'::regrole))""",
    "every view runs with the rights of who asks": """
        select relname from pg_class where relnamespace = 'connectors'::regnamespace
            and relkind = 'v' and not coalesce('security_invoker=on' = any (reloptions), false)""",
    "every table and view has a comment": """
        select relname from pg_class where relnamespace = 'connectors'::regnamespace
            and relkind in ('r', 'p', 'v') and obj_description(oid, 'pg_class') is null""",
    "every column of a table has a comment": """
        select c.relname || '.' || a.attname from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where relnamespace = 'connectors'::regnamespace and relkind in ('r', 'p')
            and not c.relispartition and col_description(c.oid, a.attnum) is null""",
    "every function has a comment": """
        select proname from pg_proc where pronamespace = 'connectors'::regnamespace
            and obj_description(oid, 'pg_proc') is null""",
    "every layer has a comment that names its owner": """
        select nspname from pg_namespace where nspname ~ '^ipai_'
            and coalesce(obj_description(oid, 'pg_namespace'), '') !~ 'Owner:'""",
    "every foreign key has an index that begins with it": """
        select conname from pg_constraint as k
        where contype = 'f' and connamespace = 'connectors'::regnamespace and not exists (
            select from pg_index as i where i.indrelid = k.conrelid
                and coalesce(pg_get_expr(i.indpred, i.indrelid), '')
                    in ('', '(retry_of IS NOT NULL)')
                and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)""",
    "every time is a point in time": """
        select c.relname || '.' || a.attname
        from pg_class as c join pg_attribute as a on a.attrelid = c.oid
        where relnamespace = 'connectors'::regnamespace and a.atttypid = 'timestamp'::regtype""",
}


@pytest.mark.parametrize("rule", CATALOG_RULES)
def test_the_schema_keeps_the_rule(connection: Connection, rule: str) -> None:
    connection.execute("select connectors.ensure_log_partitions(1)")

    assert connection.execute(CATALOG_RULES[rule].encode()).fetchall() == [], rule


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
