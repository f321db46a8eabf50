-- SPDX-License-Identifier: Apache-2.0
-- Run once in Odoo's database, by a superuser:
--     IPAI_ODOO_READER_PASSWORD=... psql --no-psqlrc -f odoo.sql "postgresql://postgres@odoo-db/odoo"
-- After a change of Gold's columns, Odoo's own role brings the tables up to date, e.g. in a scheduled action:
--     select * from ipai_gold.refresh();
\set ON_ERROR_STOP on
\if :{?reader_password}
\else
    \warn 'Set IPAI_ODOO_READER_PASSWORD to the password that was set in the warehouse.'
    do $missing$ begin raise exception 'The environment has no IPAI_ODOO_READER_PASSWORD.'; end $missing$;
\endif
begin;
create extension if not exists postgres_fdw;

select not exists (select from pg_catalog.pg_foreign_server where srvname = 'ipai_gold') as server_is_new \gset
\if :server_is_new
    create server ipai_gold foreign data wrapper postgres_fdw options (
        host :'host', port :'port', dbname :'database', sslmode :'sslmode',
        connect_timeout '10', fetch_size '10000', use_remote_estimate 'true', updatable 'false'
    );
\else
    alter server ipai_gold options (
        set host :'host', set port :'port', set dbname :'database', set sslmode :'sslmode'
    );
\endif
drop user mapping if exists for :"odoo_role" server ipai_gold;
create user mapping for :"odoo_role" server ipai_gold options (user :'reader', password :'reader_password');
grant usage on foreign server ipai_gold to :"odoo_role";

create schema if not exists ipai_gold authorization :"odoo_role";
create schema if not exists ipai_gold_incoming authorization :"odoo_role";
comment on schema ipai_gold is 'Gold views of the warehouse, read live; ipai_gold.refresh() follows changes of their columns.';
comment on schema ipai_gold_incoming is 'Empty but for a moment in ipai_gold.refresh().';

set local role :"odoo_role";
create or replace function ipai_gold.refresh() returns table (relation text, change text)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $refresh$
declare
    found_now record;
begin
    perform pg_advisory_xact_lock(hashtextextended('ipai_gold.refresh', 0));
    import foreign schema ipai_gold_erp from server ipai_gold into ipai_gold_incoming;
    import foreign schema ipai_gold_core limit to (gold_freshness) from server ipai_gold into ipai_gold_incoming;
    for found_now in
        with shapes as (
            select n.nspname, c.relname, f.ftoptions, string_agg(
                format('%I %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull), ', ' order by a.attnum
            ) as columns
            from pg_foreign_table as f
            join pg_class as c on c.oid = f.ftrelid
            join pg_namespace as n on n.oid = c.relnamespace
            join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where n.nspname in ('ipai_gold', 'ipai_gold_incoming')
            group by n.nspname, c.relname, f.ftoptions
        )
        select coalesce(o.relname, i.relname) as name, o.relname is not null as was, i.relname is not null as comes,
            o.columns = i.columns and o.ftoptions = i.ftoptions as same
        from (select * from shapes where nspname = 'ipai_gold') as o
        full join (select * from shapes where nspname = 'ipai_gold_incoming') as i on i.relname = o.relname
        order by 1
    loop
        -- What did not change stays, and with it the views that stand on it.
        if found_now.same then
            execute format('drop foreign table ipai_gold_incoming.%I', found_now.name);
            continue;
        end if;
        if found_now.was then
            execute format('drop foreign table ipai_gold.%I', found_now.name);
        end if;
        if found_now.comes then
            execute format('alter foreign table ipai_gold_incoming.%I set schema ipai_gold', found_now.name);
        end if;
        relation := found_now.name;
        change := case when not found_now.was then 'added' when found_now.comes then 'changed' else 'removed' end;
        return next;
    end loop;
end
$refresh$;
comment on function ipai_gold.refresh() is
    'Brings the foreign tables up to date with the columns of Gold, in one transaction; returns what changed.';
select * from ipai_gold.refresh();
commit;
