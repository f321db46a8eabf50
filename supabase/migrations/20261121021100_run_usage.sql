-- SPDX-License-Identifier: Apache-2.0
-- What a run takes: processor time and memory of its processes, beside the requests, bytes and rows
-- that are counted already; split to its tables by the bytes they brought.

create table connectors.run_usage (
    run_id uuid not null,
    part text not null,
    user_seconds double precision not null,
    system_seconds double precision not null,
    peak_memory_bytes bigint not null,
    updated_at timestamptz not null default clock_timestamp(),
    constraint run_usage_pkey primary key (run_id, part),
    constraint run_usage_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete cascade,
    constraint run_usage_part_known check (part in ('tap', 'target')),
    constraint run_usage_not_negative check (user_seconds >= 0 and system_seconds >= 0 and peak_memory_bytes >= 0)
);
comment on table connectors.run_usage is 'What the processes of a run took of the machine, written when they have ended.';
comment on column connectors.run_usage.run_id is 'The run.';
comment on column connectors.run_usage.part is 'tap or target, each with the processes it started and waited for.';
comment on column connectors.run_usage.user_seconds is 'Processor time in the program.';
comment on column connectors.run_usage.system_seconds is 'Processor time in the kernel for it.';
comment on column connectors.run_usage.peak_memory_bytes is 'The most memory that it held.';
comment on column connectors.run_usage.updated_at is 'When it was written.';

alter table connectors.run_usage enable row level security;
alter table connectors.run_usage force row level security;
create policy owner_all on connectors.run_usage for all to current_user using (true) with check (true);
create policy staff_read on connectors.run_usage for select to service_role, ipai_admin, ipai_operator using (true);
revoke all on connectors.run_usage from public;
grant select on connectors.run_usage to service_role, ipai_admin, ipai_operator;

create function connectors.record_run_usage(run_id uuid, lease_token uuid, usage jsonb) returns integer
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    written integer;
begin
    run := connectors.leased_run(record_run_usage.run_id, record_run_usage.lease_token);
    insert into connectors.run_usage as u (run_id, part, user_seconds, system_seconds, peak_memory_bytes)
    select run.id, p.part, n.user_seconds, n.system_seconds, n.peak_memory_bytes
    from jsonb_each(record_run_usage.usage) as p (part, figures)
    cross join lateral jsonb_to_record(p.figures) as n (
        user_seconds double precision, system_seconds double precision, peak_memory_bytes bigint)
    on conflict on constraint run_usage_pkey do update
        set user_seconds = excluded.user_seconds, system_seconds = excluded.system_seconds,
            peak_memory_bytes = excluded.peak_memory_bytes, updated_at = clock_timestamp();
    get diagnostics written = row_count;
    return written;
exception when data_exception or check_violation or not_null_violation then
    raise sqlstate 'PT422' using message = 'The figures are not usage by part.',
        hint = 'Pass {"tap": {"user_seconds": s, "system_seconds": s, "peak_memory_bytes": n}, "target": {...}}.';
end
$$;
comment on function connectors.record_run_usage(uuid, uuid, jsonb) is
    'Writes what tap and target of a run took: {"tap": {"user_seconds", "system_seconds", "peak_memory_bytes"}, ...}.';

create view connectors.run_costs with (security_invoker = on) as
select r.id as run_id, r.instance_id, substr(i.definition_id, length('ipai_connector_') + 1) as source, i.env,
    coalesce(i.owner, nullif(d.spec ->> 'owner', '')) as owner, r.status, r.started_at, r.ended_at,
    extract(epoch from r.ended_at - r.started_at)::double precision as seconds, r.rows_processed,
    coalesce(s.requests, 0)::bigint as requests, coalesce(s.bytes, 0)::bigint as bytes,
    u.cpu_seconds, u.peak_memory_bytes, coalesce(u.parts, '{}') as parts, coalesce((
        select jsonb_agg(jsonb_build_object('stream', t.stream, 'rows', t.rows_received, 'requests', t.requests, 'bytes', t.bytes,
            'cpu_seconds', round((u.cpu_seconds * t.bytes / nullif(s.bytes, 0))::numeric, 3)) order by t.stream)
        from connectors.run_streams as t where t.run_id = r.id), '[]') as streams
from connectors.connector_runs as r
join connectors.connector_instances as i on i.id = r.instance_id
join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
left join lateral (
    select sum(t.requests) as requests, sum(t.bytes) as bytes
    from connectors.run_streams as t where t.run_id = r.id) as s on true
left join lateral (
    select sum(p.user_seconds + p.system_seconds) as cpu_seconds, max(p.peak_memory_bytes) as peak_memory_bytes,
        jsonb_object_agg(p.part, jsonb_build_object('user_seconds', p.user_seconds, 'system_seconds', p.system_seconds,
            'peak_memory_bytes', p.peak_memory_bytes)) as parts
    from connectors.run_usage as p where p.run_id = r.id) as u on true
where r.started_at is not null;
comment on view connectors.run_costs is
    'What each run took: time, rows, requests, bytes, processor time and memory. The processor time of a stream is its share by bytes.';
revoke all on connectors.run_costs from public;
grant select on connectors.run_costs to service_role, ipai_admin, ipai_operator;

create function connectors.run_cost_list(
    max_rows integer default 20, of_instance text default null, of_run uuid default null
) returns setof connectors.run_costs
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select c.*
    from connectors.run_costs as c
    where c.run_id in (
        select r.id from connectors.connector_runs as r
        where r.started_at is not null and (of_run is null or r.id = of_run)
            and (of_instance is null or r.instance_id = of_instance)
        order by r.queued_at desc, r.id
        limit least(greatest(coalesce(max_rows, 20), 1), 1000))
    order by c.started_at desc, c.run_id
$$;
comment on function connectors.run_cost_list(integer, text, uuid) is 'What runs took, newest first; of one instance, or of one run.';

create function connectors.usage_samples() returns table (name text, suffix text, labels jsonb, value double precision)
language sql stable set search_path = pg_catalog, pg_temp as $$
    with used as materialized (
        select substr(i.definition_id, length('ipai_connector_') + 1) as source, u.part,
            sum(u.user_seconds) as user_seconds, sum(u.system_seconds) as system_seconds,
            max(u.peak_memory_bytes) filter (where r.ended_at > clock_timestamp() - interval '1 day') as peak
        from connectors.run_usage as u
        join connectors.connector_runs as r on r.id = u.run_id
        join connectors.connector_instances as i on i.id = r.instance_id
        group by i.definition_id, u.part
    )
    select 'ipai_run_cpu_seconds_total', '', jsonb_build_object('source', u.source, 'part', u.part, 'mode', v.mode), v.value
    from used as u
    cross join lateral (values ('user', u.user_seconds), ('system', u.system_seconds)) as v (mode, value)
    union all
    select 'ipai_run_peak_memory_bytes', '', jsonb_build_object('source', u.source, 'part', u.part), u.peak
    from used as u where u.peak is not null
$$;
comment on function connectors.usage_samples() is 'What connectors took of the machine; internal.';

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
        select * from connectors.usage_samples()
        union all
        select 'ipai_alerts_open', '', jsonb_build_object('condition', r.condition), count(a.id)
        from connectors.alert_rules as r
        left join connectors.alerts as a on a.condition = r.condition and a.resolved_at is null
        group by r.condition
    ) as s
    join (
        select * from connectors.metric_families()
        union all
        values ('ipai_alerts_open', 'gauge', 'Alerts that are open.'),
            ('ipai_run_cpu_seconds_total', 'counter', 'Processor time of taps and targets.'),
            ('ipai_run_peak_memory_bytes', 'gauge', 'The most memory that a tap or target held within a day.')
    ) as f on f.name = s.name
    order by f.name, s.labels - 'le', s.suffix, (s.labels ->> 'le')::double precision
$$;

revoke all on function
    connectors.record_run_usage(uuid, uuid, jsonb),
    connectors.run_cost_list(integer, text, uuid),
    connectors.usage_samples()
from public;
grant execute on function connectors.record_run_usage(uuid, uuid, jsonb) to service_role, ipai_worker;
grant execute on function connectors.run_cost_list(integer, text, uuid) to service_role, ipai_admin, ipai_operator;

notify pgrst, 'reload schema';
