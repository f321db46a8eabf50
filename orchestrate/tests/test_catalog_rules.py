# SPDX-License-Identifier: Apache-2.0
"""Rules that every table, view and function of the control plane keeps, asked of the catalog."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

Connection = psycopg.Connection[tuple[Any, ...]]

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
