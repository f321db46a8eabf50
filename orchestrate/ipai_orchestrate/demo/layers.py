# SPDX-License-Identifier: Apache-2.0
"""Looks into Bronze, Silver and Gold for the rows of one instance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from ipai_kit.spec import (
    ConnectorSpec,
    bronze_schema,
    bronze_table,
    gold_schema,
    silver_schema,
    silver_table,
)

_TABLES = """
    select c.relname, c.relkind
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid and a.attname = 'instance_id'
    where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
    order by c.relname
"""


@dataclass(frozen=True)
class StreamRows:
    """Rows of one stream; None where a layer has no table for it."""

    stream: str
    bronze: int | None
    silver: int | None


@dataclass(frozen=True)
class Sample:
    """A few rows of a view."""

    view: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def stream_rows(
    connection: Connection[Any], spec: ConnectorSpec, instance_id: str
) -> list[StreamRows]:
    """Rows per stream and layer, without streams that have none."""
    bronze = _counts(connection, bronze_schema(spec.domain), instance_id)
    silver = _counts(connection, silver_schema(spec.domain), instance_id)
    rows = [
        StreamRows(
            one.name,
            bronze.get(bronze_table(spec.source_type, one.name)),
            silver.get(silver_table(spec.source_type, one.name)),
        )
        for one in spec.streams
    ]
    return [one for one in rows if one.bronze or one.silver]


def gold_rows(connection: Connection[Any], spec: ConnectorSpec, instance_id: str) -> dict[str, int]:
    """Rows per Gold view."""
    return _counts(connection, gold_schema(spec.domain), instance_id)


def gold_sample(
    connection: Connection[Any],
    schema: str,
    view: str,
    columns: Sequence[str],
    instance_id: str,
    limit: int = 5,
) -> Sample:
    """The newest weeks of a view."""
    query = sql.SQL(
        "select {} from {} where instance_id = %s and {} is not null "
        "order by week_start desc, repository limit %s"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(schema, view),
        sql.Identifier(columns[-1]),
    )
    rows = connection.execute(query, (instance_id, limit)).fetchall()
    return Sample(view, tuple(columns), tuple(rows))


def forget_rows(connection: Connection[Any], spec: ConnectorSpec, instance_id: str) -> None:
    """Delete the rows of one instance from Bronze and Silver; Gold are views."""
    for schema in (bronze_schema(spec.domain), silver_schema(spec.domain)):
        for table in _tables(connection, schema, kinds={"r", "p"}):
            query = sql.SQL("delete from {} where instance_id = %s")
            connection.execute(query.format(sql.Identifier(schema, table)), (instance_id,))


def _counts(connection: Connection[Any], schema: str, instance_id: str) -> dict[str, int]:
    counts = {}
    for table in _tables(connection, schema):
        query = sql.SQL("select count(*) from {} where instance_id = %s")
        found = connection.execute(
            query.format(sql.Identifier(schema, table)), (instance_id,)
        ).fetchone()
        counts[table] = int(found[0]) if found else 0
    return counts


def _tables(connection: Connection[Any], schema: str, kinds: set[str] | None = None) -> list[str]:
    found = connection.execute(_TABLES, (schema,)).fetchall()
    return [name for name, kind in found if kinds is None or kind in kinds]
