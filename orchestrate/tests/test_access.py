# SPDX-License-Identifier: Apache-2.0
"""Who may do what: access/*.toml, tried out as a login of each role.

A file of the matrix lists tables (and views) with the roles per verb, and functions with the roles
that may call them. What is not listed is denied; what exists must be listed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]

ROLES = (
    "anon",
    "authenticated",
    "service_role",
    "ipai_admin",
    "ipai_operator",
    "ipai_worker",
    "ipai_agent",
    "ipai_analyst",
)
STRANGER = "stranger"  # a login that is a member of nothing
VERBS = ("select", "insert", "update", "delete", "truncate")
GROUPS = {
    "all": list(ROLES),
    "staff": ["service_role", "ipai_admin", "ipai_operator"],
    "admin": ["service_role", "ipai_admin"],
    "worker": ["service_role", "ipai_worker"],
}
FOLDER = Path(__file__).parent / "access"


@dataclass(frozen=True)
class TableRule:
    """What the matrix says about one table or view."""

    roles: Mapping[str, frozenset[str]]
    columns: Mapping[str, list[str]]
    attempts: Mapping[str, str]
    sees: Mapping[str, int]
    empty: bool


@dataclass
class Matrix:
    """All files, put together; names are qualified by their schema."""

    setups: list[str] = field(default_factory=list)
    schemas: dict[str, frozenset[str]] = field(default_factory=dict)
    tables: dict[str, TableRule] = field(default_factory=dict)
    functions: dict[str, frozenset[str]] = field(default_factory=dict)
    calls: dict[str, str] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add the rules of one file."""
        read = tomllib.loads(text)
        groups = GROUPS | read.get("groups", {})
        self.setups.append(read.get("setup", ""))
        self.calls |= {qualified(name): call for name, call in read.get("calls", {}).items()}
        for schema, roles in read.get("schemas", {}).items():
            self.schemas[schema] = members(roles, groups)
        for name, entry in read.get("tables", {}).items():
            self._put(self.tables, name, table_rule(entry, groups))
        for name, roles in read.get("functions", {}).items():
            self._put(self.functions, name, members(roles, groups))

    def _put(self, place: dict[str, Any], name: str, rule: Any) -> None:
        if qualified(name) in place:
            self.doubled.append(name)
        place[qualified(name)] = rule

    def callers(self, name: str, signature: str) -> frozenset[str]:
        """Return who may call a function: by its whole signature, else by its name."""
        return self.functions.get(signature, self.functions.get(name, frozenset()))


def qualified(name: str) -> str:
    return name if "." in name.split("(")[0] else f"connectors.{name}"


def members(roles: list[str], groups: Mapping[str, list[str]]) -> frozenset[str]:
    found: set[str] = set()
    for role in roles:
        found |= members(groups[role[1:]], groups) if role.startswith("@") else {role}
    assert found <= set(ROLES), f"{found - set(ROLES)} are no roles"
    return frozenset(found)


def table_rule(entry: dict[str, Any], groups: Mapping[str, list[str]]) -> TableRule:
    rest = dict(entry)
    rule = TableRule(
        roles={verb: members(rest.pop(verb, []), groups) for verb in VERBS},
        columns=rest.pop("columns", {}),
        attempts=rest.pop("try", {}),
        sees=rest.pop("sees", {}),
        empty=rest.pop("empty", False),
    )
    assert not rest, f"{sorted(rest)} are no keys of a table"
    return rule


def read_matrix() -> Matrix:
    matrix = Matrix(
        schemas={"connectors": members(["@staff", "ipai_worker", "ipai_agent"], GROUPS)}
    )
    # The queue's setup comes first: the others build on its instance and its run.
    for path in sorted(FOLDER.glob("*.toml"), key=lambda path: (path.stem != "queue", path)):
        matrix.add(path.read_text(encoding="utf-8"))
    return matrix


MATRIX = read_matrix()


@pytest.fixture(scope="module")
def owner(server: Any, migrated_template: str) -> Iterator[Connection]:
    """The owner's connection to a database in which every table has a row."""
    name = server.create(migrated_template)
    try:
        with psycopg.connect(server.dsn_of(name), autocommit=True) as connection:
            for setup in MATRIX.setups:
                connection.execute(setup.encode())
            yield connection
    finally:
        server.drop(name)


@pytest.fixture(scope="module")
def as_role(owner: Connection) -> Iterator[Callable[[str], Connection]]:
    """Return a function that returns a connection of a login that has taken on a role."""
    with ExitStack() as stack:
        opened: dict[str, Connection] = {}

        def connect(role: str) -> Connection:
            if role not in opened:
                opened[role] = stack.enter_context(_login(owner, role, stack))
            return opened[role]

        yield connect


def _login(owner: Connection, role: str, stack: ExitStack) -> Connection:
    """Make a login without rights of its own that may become the role, as PostgREST's is."""
    login = sql.Identifier(f"access_{role}")
    owner.execute(sql.SQL("create role {} login noinherit").format(login))
    stack.callback(owner.execute, sql.SQL("drop role {}").format(login))
    dsn = owner.info.dsn.replace("user=postgres", f"user=access_{role}")
    connection = psycopg.connect(dsn, autocommit=True)
    if role != STRANGER:
        owner.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), login))
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    return connection


def attempt(connection: Connection, statement: str) -> int | None:
    """Run a statement and take it back: the rows it touched, or None when it was denied.

    Any other error than a missing right means that the role got as far as the rules inside.
    """
    with connection.transaction(force_rollback=True):
        try:
            with connection.transaction():
                return connection.execute(statement.encode()).rowcount
        except psycopg.errors.InsufficientPrivilege as error:
            text = error.diag.message_primary or ""
            denied = text.startswith("permission denied") or "row-level security" in text
            return None if denied else 0
        except (
            psycopg.errors.ObjectNotInPrerequisiteState,  # a view that nobody can write
            psycopg.errors.WrongObjectType,  # a view that nobody can truncate
        ):
            return None
        except psycopg.Error:
            return 0


def columns_of(owner: Connection, table: str) -> list[str]:
    rows = owner.execute(
        "select quote_ident(attname) from pg_attribute where attrelid = %s::regclass"
        " and attnum > 0 and not attisdropped and attgenerated = '' and attidentity = ''"
        " order by attnum",
        (table,),
    ).fetchall()
    return [name for (name,) in rows]


def attempts(owner: Connection, table: str, rule: TableRule) -> dict[str, str]:
    """One statement per verb that touches every row the role is allowed to touch."""
    columns = columns_of(owner, table)
    updated = rule.columns.get("update", columns)[:1]
    inserted = rule.columns.get("insert")
    shown = ", ".join(rule.columns.get("select", ["*"]))
    insert = f"insert into {table} default values"
    if inserted:
        values = ", ".join(["default"] * len(inserted))
        insert = f"insert into {table} ({', '.join(inserted)}) values ({values})"
    return {
        "select": f"select {shown} from {table}",
        "insert": insert,
        "update": f"update {table} set {updated[0]} = default",
        "delete": f"delete from {table}",
        "truncate": f"truncate {table}",
        **rule.attempts,
    }


def existing(owner: Connection, query: str) -> set[str]:
    rows = owner.execute(query.encode(), {"schemas": [*MATRIX.schemas, "vault"]}).fetchall()
    return {name for (name,) in rows}


RELATIONS = """
    select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = any (%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and not c.relispartition"""
FUNCTIONS = """
    select quote_ident(n.nspname) || '.' || quote_ident(p.proname)
    from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = any (%(schemas)s)"""
SIGNATURES = """
    select quote_ident(n.nspname) || '.' || quote_ident(p.proname),
        array(select format_type(t, null) from unnest(p.proargtypes) as t), p.oid
    from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = any (%s)
    order by 1, 2"""


def test_every_table_view_and_function_is_in_one_file_of_the_matrix(owner: Connection) -> None:
    assert MATRIX.doubled == []
    assert existing(owner, RELATIONS) == MATRIX.tables.keys()
    listed = {re.sub(r"\(.*", "", name) for name in MATRIX.functions}
    assert existing(owner, FUNCTIONS) == listed


def test_the_setup_leaves_a_row_in_every_table(owner: Connection) -> None:
    empty = {
        table
        for table, rule in MATRIX.tables.items()
        if not rule.empty
        and owner.execute(f"select from {table} limit 1".encode()).fetchone() is None
    }

    assert empty == set()


@pytest.mark.parametrize("role", [*ROLES, STRANGER])
def test_each_role_does_to_each_table_what_is_listed_and_nothing_else(
    owner: Connection, as_role: Callable[[str], Connection], role: str
) -> None:
    connection = as_role(role)
    outcomes = {
        (table, verb): attempt(connection, statement) is not None
        for table, rule in MATRIX.tables.items()
        for verb, statement in attempts(owner, table, rule).items()
    }

    assert outcomes == {
        (table, verb): role in rule.roles[verb]
        for table, rule in MATRIX.tables.items()
        for verb in VERBS
    }


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_and_reaches_every_row_of_what_it_may_read_and_change(
    owner: Connection, as_role: Callable[[str], Connection], role: str
) -> None:
    """A grant without a policy shows and changes nothing."""
    reached, expected = {}, {}
    for table, rule in MATRIX.tables.items():
        if role not in rule.roles["select"]:
            continue
        row = owner.execute(f"select count(*) from {table}".encode()).fetchone()
        assert row is not None
        statements = {"select": attempts(owner, table, rule)["select"]}
        if role in rule.roles["update"]:
            column = rule.columns.get("update", columns_of(owner, table))[0]
            statements["update"] = f"update {table} set {column} = {column}"
        for verb, statement in statements.items():
            expected[table, verb] = rule.sees.get(role, row[0])
            reached[table, verb] = attempt(as_role(role), statement)

    assert reached == expected


@pytest.mark.parametrize("role", ROLES)
def test_no_role_holds_a_right_that_is_not_listed(owner: Connection, role: str) -> None:
    """Asked of the catalog: also what no statement shows, such as references and triggers."""
    granted = {
        (table, verb)
        for table in MATRIX.tables
        for verb in (*VERBS, "references", "trigger")
        if _holds(owner, role, table, verb)
    }

    assert granted == {
        (table, verb)
        for table, rule in MATRIX.tables.items()
        for verb in VERBS
        if role in rule.roles[verb]
    }


def _holds(owner: Connection, role: str, table: str, verb: str) -> bool:
    row = owner.execute(
        "select has_table_privilege(%(role)s, %(table)s, %(verb)s)"
        " or has_any_column_privilege(%(role)s, %(table)s, %(column_verb)s)",
        {
            "role": role,
            "table": table,
            "verb": verb,
            "column_verb": verb if verb in {"select", "insert", "update"} else "references",
        },
    ).fetchone()
    return row == (True,)


@pytest.mark.parametrize("role", ROLES)
def test_a_right_on_columns_covers_those_columns_alone(owner: Connection, role: str) -> None:
    wrong = {}
    for table, rule in MATRIX.tables.items():
        for verb, listed in rule.columns.items():
            held = [
                column
                for column in columns_of(owner, table)
                if owner.execute(
                    "select has_column_privilege(%s, %s, %s, %s)", (role, table, column, verb)
                ).fetchone()
                == (True,)
            ]
            if held != (listed if role in rule.roles[verb] else []):
                wrong[table, verb] = held

    assert wrong == {}


@pytest.mark.parametrize("role", [*ROLES, STRANGER])
def test_each_role_calls_the_functions_that_are_listed_and_no_other(
    owner: Connection, as_role: Callable[[str], Connection], role: str
) -> None:
    connection = as_role(role)
    outcomes, expected = {}, {}
    for name, types, oid in owner.execute(SIGNATURES, ([*MATRIX.schemas],)).fetchall():
        signature = f"{name}({', '.join(types)})"
        call = MATRIX.calls.get(name) or call_with_nulls(name, types)
        held = owner.execute(
            "select has_function_privilege(%s, %s::oid, 'execute')",
            (role if role != STRANGER else "access_stranger", oid),
        ).fetchone()
        outcomes[signature] = (attempt(connection, f"select {call}") is not None, held == (True,))
        may = role in MATRIX.callers(name, signature)
        expected[signature] = (may, may)

    assert outcomes == expected


def call_with_nulls(name: str, types: list[str]) -> str:
    """The call, its nulls hidden from the planner, which would not even call a strict function."""
    if not types:
        return f"{name}()"
    given = ", ".join(f"null::{one} as a{number}" for number, one in enumerate(types))
    names = ", ".join(f"a{number}" for number in range(len(types)))
    return f"{name}({names}) from (select {given} offset 0) as given"


@pytest.mark.parametrize("role", ROLES)
def test_each_role_enters_the_schemas_that_are_listed(owner: Connection, role: str) -> None:
    entered = {
        schema
        for schema in MATRIX.schemas
        if owner.execute("select has_schema_privilege(%s, %s, 'usage')", (role, schema)).fetchone()
        == (True,)
    }

    assert entered == {schema for schema, roles in MATRIX.schemas.items() if role in roles}
