# SPDX-License-Identifier: Apache-2.0
"""Rules that every table, view and function of the control plane keeps, asked of the catalog.

Each rule stands beside a change that breaks it, so that a rule that finds nothing any more fails.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.migrations.files import supabase_folder

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Rule:
    """A query that finds what breaks the rule, and a change that does."""

    finds: str
    broken_by: str


# Ours, and the stand-in for Supabase's where that extension is not installed.
OURS = "select n.oid from pg_namespace as n where n.nspname in ('connectors', 'vault')"
RELATION = f"""
    select c.oid, c.relnamespace::regnamespace || '.' || c.relname as name, c.relkind,
        c.relispartition, c.relrowsecurity and c.relforcerowsecurity as secured, c.reloptions,
        c.relacl, c.relowner
    from pg_class as c where c.relnamespace in ({OURS})"""
FUNCTION = f"""
    select p.*, p.oid::regprocedure::text as name
    from pg_proc as p where p.pronamespace in ({OURS})"""

RULES = {
    "every schema has a comment": Rule(
        f"select nspname from pg_namespace where oid in ({OURS})"
        " and obj_description(oid, 'pg_namespace') is null",
        "comment on schema connectors is null",
    ),
    "every table and view has a comment": Rule(
        f"select name from ({RELATION}) as r where relkind in ('r', 'p', 'v', 'm', 'f')"
        " and obj_description(oid, 'pg_class') is null",
        "create table connectors.plain ()",
    ),
    "every column of a table has a comment": Rule(
        f"select r.name || '.' || a.attname from ({RELATION}) as r"
        " join pg_attribute as a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped"
        " where relkind in ('r', 'p') and not relispartition"
        " and col_description(r.oid, a.attnum) is null",
        "alter table connectors.connector_runs add column colour text",
    ),
    "every function has a comment": Rule(
        f"select name from ({FUNCTION}) as f where obj_description(oid, 'pg_proc') is null",
        "create function connectors.silent() returns int language sql return 1",
    ),
    "every type of its own has a comment": Rule(
        "select t.typname from pg_type as t left join pg_class as c on c.oid = t.typrelid"
        f" where t.typnamespace in ({OURS}) and t.typcategory <> 'A'"
        " and (c.oid is null or c.relkind = 'c') and obj_description(t.oid, 'pg_type') is null",
        "create type connectors.colour as enum ('red')",
    ),
    "every layer has a comment that names its owner": Rule(
        "select nspname from pg_namespace where nspname ~ '^ipai_'"
        " and coalesce(obj_description(oid, 'pg_namespace'), '') !~ 'Owner:'",
        "create schema ipai_bronze_new",
    ),
    "every table has row security, enabled and forced": Rule(
        f"select name from ({RELATION}) as r where relkind in ('r', 'p') and not secured",
        "alter table connectors.connector_runs no force row level security",
    ),
    "every table has a policy for its owner": Rule(
        f"select name from ({RELATION}) as r where relkind in ('r', 'p') and not exists ("
        "select from pg_policy as p where p.polrelid = r.oid and p.polcmd = '*'"
        " and p.polroles = array[r.relowner])",
        "drop policy owner_all on connectors.connector_runs",
    ),
    "no policy is for public": Rule(
        "select polname from pg_policy where polroles = '{0}'",
        "create policy open on connectors.connector_runs using (true)",
    ),
    "no role has two policies for the same": Rule(
        "select polrelid::regclass, role, command from pg_policy as p, unnest(polroles) as role,"
        " unnest(case polcmd when '*' then array['r', 'a', 'w', 'd'] else array[polcmd::text] end)"
        " as command where p.polpermissive group by 1, 2, 3 having count(*) > 1",
        "create policy more on connectors.connector_runs for select to ipai_admin using (true)",
    ),
    "no policy asks who calls once per row": Rule(
        "select polname from pg_policy,"
        " lateral (select concat(pg_get_expr(polqual, polrelid),"
        " pg_get_expr(polwithcheck, polrelid)) as said) as e"
        " where regexp_replace(said, '\\( *SELECT [^()]*\\([^()]*\\)[^()]*\\)', '', 'gi')"
        " ~* '(auth\\.[a-z]+|current_setting) *\\('",
        "create policy slow on connectors.connector_runs for select to ipai_agent"
        " using (instance_id = current_setting('a.b'))",
    ),
    "nothing is granted to anon, authenticated or everybody": Rule(
        f"select name from ({RELATION}) as r, aclexplode(r.relacl) as a where a.grantee = 0"
        " or a.grantee in ('anon'::regrole, 'authenticated'::regrole)",
        "grant select on connectors.connector_runs to anon",
    ),
    "no sequence is granted to anybody but its owner": Rule(
        f"select name from ({RELATION}) as r, aclexplode(r.relacl) as a"
        " where relkind = 'S' and a.grantee <> r.relowner",
        "grant usage on sequence connectors.dead_letters_id_seq to ipai_worker",
    ),
    "every view runs with the rights of who asks, but for the one that Supabase has so": Rule(
        f"select name from ({RELATION}) as r where relkind = 'v'"
        " and name <> 'vault.decrypted_secrets'"
        " and not coalesce('security_invoker=on' = any (reloptions), false)",
        "create view connectors.open as select 1",
    ),
    "no data is kept outside row security": Rule(
        f"select name from ({RELATION}) as r where relkind in ('m', 'f')",
        "create materialized view connectors.copied as select 1",
    ),
    # An empty one is not enough: it finds the caller's temporary types before the system's.
    "every function looks for names in the system's schema first and in the caller's last": Rule(
        f"select name from ({FUNCTION}) as f"
        " where not coalesce(proconfig @> array['search_path=pg_catalog, pg_temp'], false)",
        "alter function connectors.job_name(text, text, text) set search_path = ''",
    ),
    "no function is executable by everybody": Rule(
        f"select name from ({FUNCTION}) as f,"
        " aclexplode(coalesce(proacl, acldefault('f', proowner))) as a where a.grantee = 0",
        "grant execute on function connectors.reap_connector_runs() to public",
    ),
    "a caller's functions run as their owner": Rule(
        f"select name from ({FUNCTION}) as f, aclexplode(proacl) as a"
        " where a.grantee <> proowner and not prosecdef",
        "grant execute on function connectors.job_name(text, text, text) to ipai_agent",
    ),
    "functions that others call have named arguments": Rule(
        f"select name from ({FUNCTION}) as f, aclexplode(proacl) as a"
        " where a.grantee <> proowner and pronargs > 0"
        " and coalesce('' = any (proargnames[1:pronargs]), true)",
        "create function connectors.unnamed(int) returns int language sql return 1;"
        " grant execute on function connectors.unnamed(int) to ipai_agent",
    ),
    "every table has a primary key": Rule(
        f"select name from ({RELATION}) as r where relkind in ('r', 'p') and not exists ("
        "select from pg_index as i where i.indrelid = r.oid and i.indisprimary)",
        "create table connectors.keyless ()",
    ),
    "every foreign key has an index that begins with it": Rule(
        "select conname from pg_constraint as k"
        f" where contype = 'f' and conparentid = 0 and connamespace in ({OURS}) and not exists ("
        "  select from pg_index as i where i.indrelid = k.conrelid"
        "  and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) in ("
        "    select format('(%I IS NOT NULL)', a.attname) from pg_attribute as a"
        "    where a.attrelid = k.conrelid and a.attnum = any (k.conkey)))"
        "  and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)",
        "drop index connectors.quota_shares_bucket_idx",
    ),
    "no two indexes are the same": Rule(
        "select array_agg(indexrelid::regclass order by indexrelid) from pg_index as i"
        " join pg_class as c on c.oid = i.indexrelid"
        f" where c.relnamespace in ({OURS}) group by indrelid, indkey::text, indclass::text,"
        " indoption::text, pg_get_expr(indexprs, indrelid), pg_get_expr(indpred, indrelid)"
        " having count(*) > 1",
        "create index again on connectors.run_streams (run_id, stream)",
    ),
    "every time is a point in time, and no type is one that an upgrade breaks": Rule(
        "select r.name || '.' || a.attname || ': ' || format_type(a.atttypid, a.atttypmod)"
        f" from ({RELATION}) as r join pg_attribute as a on a.attrelid = r.oid and a.attnum > 0"
        " where relkind in ('r', 'p') and a.atttypid = any (array['timestamp', 'timetz', 'money',"
        " 'json', 'bpchar', 'regclass', 'regproc', 'regprocedure', 'regoper', 'regnamespace',"
        " 'regcollation', 'regconfig', 'regdictionary']::regtype[])",
        "alter table connectors.connector_runs add column at timestamp",
    ),
    "every constraint is checked for all rows": Rule(
        f"select conname from pg_constraint where connamespace in ({OURS}) and not convalidated",
        "alter table connectors.connector_runs add constraint odd check (true) not valid",
    ),
}


@pytest.fixture(scope="module")
def owner(server: Any, migrated_template: str) -> Iterator[Connection]:
    """The owner's connection to a database that this file's tests leave as it is."""
    name = server.create(migrated_template)
    try:
        with psycopg.connect(server.dsn_of(name), autocommit=True) as connection:
            connection.execute("select connectors.ensure_log_partitions(1)")
            yield connection
    finally:
        server.drop(name)


@pytest.mark.parametrize("rule", RULES)
def test_the_schema_keeps_the_rule(owner: Connection, rule: str) -> None:
    assert owner.execute(RULES[rule].finds.encode()).fetchall() == [], rule


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_noticed(owner: Connection, rule: str) -> None:
    with owner.transaction(force_rollback=True):
        owner.execute(RULES[rule].broken_by.encode())
        found = owner.execute(RULES[rule].finds.encode()).fetchall()

    assert found, rule


def test_every_migration_has_a_rollback_and_both_say_what_they_are() -> None:
    place = supabase_folder()
    migrations = {path.name for path in (place / "migrations").glob("*.sql")}
    assert migrations == {path.name for path in (place / "rollbacks").glob("*.sql")}

    for name in migrations:
        rollback = (place / "rollbacks" / name).read_text(encoding="utf-8")
        assert rollback.startswith(
            f"-- SPDX-License-Identifier: Apache-2.0\n-- Takes back migration {name[:-4]}"
        )


def test_squawk_finds_nothing_in_the_migrations() -> None:
    squawk = shutil.which("squawk", path=Path(sys.executable).parent) or shutil.which("squawk")
    if squawk is None:
        pytest.skip("squawk is not installed: pip install squawk-cli")
    place = supabase_folder()
    migrations = sorted((place / "migrations").glob("*.sql"))
    report = subprocess.run(
        [squawk, "--config", place / "squawk.toml", *migrations],
        capture_output=True,
        text=True,
        check=False,
    )

    assert report.returncode == 0, report.stdout
