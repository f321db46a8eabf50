-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121029000_waiting_runs_in_parts.

create or replace function connectors.raise_waiting_runs() returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    highest constant integer := (select max(t.priority) from connectors.sla_tiers as t);
    raised bigint;
begin
    update connectors.connector_runs as r set priority = highest
    where r.id in (
        select q.id from connectors.connector_runs as q
        join connectors.connector_instances as i on i.id = q.instance_id and i.status = 'active'
        cross join lateral connectors.sla_tier_of(q.instance_id) as t
        where q.status = 'queued' and q.priority < highest and q.run_after < clock_timestamp() - t.max_latency / 2
        for no key update of q skip locked);
    get diagnostics raised = row_count;
    return raised;
end
$$;
comment on function connectors.raise_waiting_runs() is
    'Lets queued runs that have waited for half of the latency of their SLA tier go with the first, by age; schedulers call it. How many there were.';

notify pgrst, 'reload schema';
