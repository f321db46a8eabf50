-- SPDX-License-Identifier: Apache-2.0
-- Bronze, Silver, Gold and Platinum, one schema per layer and domain. Workers load and transform;
-- operators read all layers; analysts read Gold alone.

create schema if not exists ipai_bronze_core;
create schema if not exists ipai_bronze_marketing;
create schema if not exists ipai_bronze_devops;
create schema if not exists ipai_bronze_erp;
create schema if not exists ipai_silver_core;
create schema if not exists ipai_silver_marketing;
create schema if not exists ipai_silver_devops;
create schema if not exists ipai_silver_erp;
create schema if not exists ipai_gold_core;
create schema if not exists ipai_gold_marketing;
create schema if not exists ipai_gold_devops;
create schema if not exists ipai_gold_erp;
create schema if not exists ipai_platinum_core;

do $grants$
declare
    layer text;
    domain text;
    place text;
    readers text;
    creator text;
begin
    for layer, domain in
        select l.name, d.name
        from unnest(array['bronze', 'silver', 'gold']) as l (name)
        cross join unnest(array['core', 'marketing', 'devops', 'erp']) as d (name)
        union all
        select 'platinum', 'core'
    loop
        place := format('ipai_%s_%s', layer, domain);
        readers := 'ipai_admin, ipai_operator, ipai_worker, service_role';
        if layer = 'gold' then
            readers := readers || ', ipai_analyst';
        end if;
        execute format('comment on schema %I is %L', place, format(
            '%s layer of the %s domain. Owner: data platform; filled by ipai_worker, read by %s.',
            initcap(layer), domain, readers));
        execute format('revoke all on schema %I from public', place);
        execute format('grant usage on schema %I to %s', place, readers);
        execute format('grant create on schema %I to ipai_worker', place);

        execute format('grant select on all tables in schema %I to %s', place, readers);
        foreach creator in array array[current_user::text, 'ipai_worker'] loop
            if pg_catalog.pg_has_role(current_user, creator, 'usage') then
                execute format('alter default privileges for role %I in schema %I grant select on tables to %s',
                    creator, place, readers);
                execute format('alter default privileges for role %I in schema %I grant '
                    'insert, update, delete, truncate on tables to ipai_worker', creator, place);
            end if;
        end loop;
    end loop;
end
$grants$;
