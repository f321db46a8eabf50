-- SPDX-License-Identifier: Apache-2.0
-- How fresh each stream is, for whoever reads Gold. It stands beside the view that shows it, because analysts have no
-- way into the control plane: they see times, and nothing of how a source is reached.

create function ipai_gold_core.sync_freshness()
returns table (
    instance_id text, source_type text, stream text, last_success_at timestamptz, read_from timestamptz,
    sla_tier text, max_latency interval, late_since timestamptz, is_late boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select i.id, d.type, s.stream, l.ended_at, l.started_at, t.tier, t.max_latency,
        (a.details ->> 'due_at')::timestamptz + t.max_latency,
        case when i.status = 'active' and i.schedule is not null and not coalesce(k.paused, false) then a.subject is not null end
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    cross join lateral connectors.sla_tier_of(i.id) as t
    left join connectors.schedules as k on k.subject = 'instance:' || i.id
    left join connectors.late_syncs() as a on a.subject = i.id
    cross join lateral (
        select distinct x.stream
        from connectors.run_streams as x
        join connectors.connector_runs as r on r.id = x.run_id
        where r.instance_id = i.id) as s
    left join lateral (
        select r.ended_at, r.started_at
        from connectors.connector_runs as r
        where r.instance_id = i.id and r.status = 'succeeded' and (r.streams is null or s.stream = any (r.streams))
        order by r.queued_at desc limit 1) as l on true
    where i.status <> 'archived'
$$;
comment on function ipai_gold_core.sync_freshness() is
    'When each stream of each instance was last synced, from when on its data may lack changes (read_from), and whether the instance is later than its SLA tier allows; null where no schedule promises anything. gold_freshness shows it per view.';
revoke execute on function ipai_gold_core.sync_freshness() from public;
grant execute on function ipai_gold_core.sync_freshness()
to service_role, ipai_admin, ipai_operator, ipai_worker, ipai_analyst;

notify pgrst, 'reload schema';
