-- SPDX-License-Identifier: Apache-2.0
-- Run once in the warehouse, by the role that dbt builds with, which must be allowed to create roles:
--     IPAI_ODOO_READER_PASSWORD=... psql --no-psqlrc -f warehouse.sql "$IPAI_DATABASE_URL"
-- Run it again to change the password, or after the first build of a new domain.
\set ON_ERROR_STOP on
\if :{?reader_password}
\else
    \warn 'Set IPAI_ODOO_READER_PASSWORD to the password that Odoo shall read with.'
    do $missing$ begin raise exception 'The environment has no IPAI_ODOO_READER_PASSWORD.'; end $missing$;
\endif
begin;

-- Default privileges speak for those who create, so the wrong role would break the link at dbt's next run.
do $owner$
declare
    owner text := (
        select pg_catalog.string_agg(distinct pg_catalog.pg_get_userbyid(c.relowner)::text, ', ')
        from pg_catalog.pg_class as c
        where c.relnamespace = pg_catalog.to_regnamespace('ipai_gold_erp') and c.relkind = 'v'
    );
begin
    if owner is null then
        raise exception 'There is no Gold of Odoo yet.' using hint = 'Sync Odoo first: ipai run, or ipai-dbt build.';
    elsif owner <> current_user then
        raise exception 'Gold belongs to %, and this is %.', owner, current_user using hint = 'Connect as the role dbt builds with.';
    end if;
end
$owner$;

select not exists (select from pg_catalog.pg_roles where rolname = :'reader') as reader_is_new \gset
\if :reader_is_new
    create role :"reader" login;
\endif
alter role :"reader" with login connection limit 20 password :'reader_password';
alter role :"reader" set default_transaction_read_only = on;
alter role :"reader" set statement_timeout = '60s';
alter role :"reader" set idle_in_transaction_session_timeout = '10min';
comment on role :"reader" is 'Reads Gold for Odoo through postgres_fdw, and nothing else.';
select pg_catalog.format('grant connect on database %I to %I', pg_catalog.current_database(), :'reader') \gexec

-- Gold: what stands there now, and what dbt puts in its place.
grant usage on schema ipai_gold_erp, ipai_gold_core to :"reader";
grant select on all tables in schema ipai_gold_erp, ipai_gold_core to :"reader";
alter default privileges in schema ipai_gold_erp, ipai_gold_core grant select on tables to :"reader";

-- Views of Gold run with the rights of their reader, who therefore needs the tables under them. Without USAGE on their
-- schemas it cannot name them: it reads them through Gold only.
grant select on all tables in schema ipai_silver_core, ipai_silver_marketing, ipai_silver_devops, ipai_silver_erp to :"reader";
alter default privileges in schema ipai_silver_core, ipai_silver_marketing, ipai_silver_devops, ipai_silver_erp
    grant select on tables to :"reader";
select pg_catalog.format('grant execute on function ipai_gold_core.sync_freshness() to %I', :'reader')
where pg_catalog.to_regprocedure('ipai_gold_core.sync_freshness()') is not null \gexec
commit;
