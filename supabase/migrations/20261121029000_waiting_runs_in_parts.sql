-- SPDX-License-Identifier: Apache-2.0
-- A long queue is raised in parts, the oldest first: claims pass over runs that are locked here, and
-- must not find the whole queue locked.

create or replace function connectors.raise_waiting_runs() returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    most constant integer := 500;
    highest constant integer := (select max(t.priority) from connectors.sla_tiers as t);
    raised bigint;
begin
    with oldest as materialized (
        select q.id from connectors.connector_runs as q
        join connectors.connector_instances as i on i.id = q.instance_id and i.status = 'active'
        cross join lateral connectors.sla_tier_of(q.instance_id) as t
        where q.status = 'queued' and q.priority < highest and q.run_after < clock_timestamp() - t.max_latency / 2
        order by q.run_after, q.id limit most
        for no key update of q skip locked)
    update connectors.connector_runs as r set priority = highest from oldest as o where r.id = o.id;
    get diagnostics raised = row_count;
    return raised;
end
$$;
comment on function connectors.raise_waiting_runs() is
    'Lets queued runs that have waited for half of the latency of their SLA tier go with the first, by age; schedulers call it. How many there were, 500 at most: the others follow with the next call.';

revoke execute on all functions in schema connectors from public;

notify pgrst, 'reload schema';
