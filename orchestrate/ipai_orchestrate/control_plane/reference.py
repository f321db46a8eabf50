# SPDX-License-Identifier: Apache-2.0
"""The reference of the control plane, written from the catalog: what it says is what is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from ipai_orchestrate.control_plane.queries import load_queries

_QUERIES = load_queries()
_HEAD = """# The control plane in SQL

Written by `ipai db reference` from the comments in the database; change those, then write it anew.
The rules behind it are in [the database's README](../../supabase/README.md).

Every function takes named arguments and answers in columns or JSON. From psql and every driver:

```sql
select * from connectors.connector_list(in_env => 'production');
select connectors.run_connector(instance_id => 'github-acme');
```

Over PostgREST, with `connectors` among the exposed schemas, the same as
`POST /rest/v1/rpc/run_connector` with the header `Content-Profile: connectors` and the body
`{"instance_id": "github-acme"}`. Errors carry SQLSTATE, message, detail and hint.
"""
_ROLES = ("ipai_admin", "ipai_operator", "ipai_worker", "ipai_agent", "service_role")


@dataclass(frozen=True, kw_only=True)
class _Function:
    """A function that some role may call."""

    name: str
    arguments: list[str]
    result: str
    comment: str
    roles: list[str]


@dataclass(frozen=True, kw_only=True)
class _Relation:
    """A table or view that some role may read."""

    name: str
    is_view: bool
    comment: str
    roles: list[str]


def render_reference(connection: psycopg.Connection[Any]) -> str:
    """Return the reference of the connected database's control plane as Markdown."""
    named = {"roles": list(_ROLES)}
    with connection.cursor(row_factory=class_row(_Function)) as cursor:
        functions = cursor.execute(_QUERIES["reference_functions"], named).fetchall()
    with connection.cursor(row_factory=class_row(_Relation)) as cursor:
        relations = cursor.execute(_QUERIES["reference_relations"], named).fetchall()
    return "\n".join([_HEAD, *_functions(functions), *_relations(relations)])


def _functions(functions: list[_Function]) -> Iterator[str]:
    yield "## Functions\n"
    for one in functions:
        yield f"### {one.name}\n"
        yield f"{one.comment}\n"
        yield "```sql"
        yield from _signature(one)
        yield "```\n"
        yield f"May call it: {', '.join(one.roles)}.\n"


def _signature(one: _Function) -> Iterator[str]:
    if not one.arguments:
        yield f"connectors.{one.name}()"
    else:
        yield f"connectors.{one.name}("
        yield ",\n".join(f"    {argument}" for argument in one.arguments)
        yield ")"
    yield f"returns {one.result}"


def _relations(relations: list[_Relation]) -> Iterator[str]:
    yield "## Tables and views\n"
    yield "Nobody writes them directly; `\\d+ connectors.<name>` in psql shows their columns.\n"
    yield "| name | what | may read it |"
    yield "|---|---|---|"
    for one in relations:
        kind = " (view)" if one.is_view else ""
        comment = one.comment.replace("|", "\\|")
        yield f"| `{one.name}`{kind} | {comment} | {', '.join(one.roles)} |"
    yield ""
