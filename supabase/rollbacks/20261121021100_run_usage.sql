-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121021100_run_usage, with the figures it kept.

create or replace function connectors.metrics()
returns table (name text, type text, help text, sample text, labels jsonb, value double precision)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select f.name, f.type, f.help, f.name || s.suffix, s.labels, s.value
    from (
        select * from connectors.run_samples()
        union all
        select * from connectors.stream_samples()
        union all
        select * from connectors.plane_samples()
        union all
        select 'ipai_alerts_open', '', jsonb_build_object('condition', r.condition), count(a.id)
        from connectors.alert_rules as r
        left join connectors.alerts as a on a.condition = r.condition and a.resolved_at is null
        group by r.condition
    ) as s
    join (
        select * from connectors.metric_families()
        union all
        values ('ipai_alerts_open', 'gauge', 'Alerts that are open.')
    ) as f on f.name = s.name
    order by f.name, s.labels - 'le', s.suffix, (s.labels ->> 'le')::double precision
$$;

drop function connectors.usage_samples();
drop function connectors.run_cost_list(integer, text, uuid);
drop view connectors.run_costs;
drop function connectors.record_run_usage(uuid, uuid, jsonb);
drop table connectors.run_usage;

notify pgrst, 'reload schema';
