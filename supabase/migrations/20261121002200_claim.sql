-- SPDX-License-Identifier: Apache-2.0
-- Claiming within the limits of a source and the quota of its credential; and what waits, and why.

create function connectors.source_room(source_type text, may_wait boolean) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    most integer;
begin
    -- The row is locked, so that claims of a limited source count one after the other.
    if may_wait then
        select l.max_running into most from connectors.source_limits as l
        where l.source_type = source_room.source_type for no key update;
        if not found then
            return true;
        end if;
    elsif exists (select from connectors.source_limits as l where l.source_type = source_room.source_type) then
        select l.max_running into most from connectors.source_limits as l
        where l.source_type = source_room.source_type for no key update skip locked;
        if not found then
            return false;
        end if;
    else
        return true;
    end if;
    return most > (
        select count(*) from connectors.connector_runs as r
        join connectors.connector_instances as i on i.id = r.instance_id
        where r.status = 'running' and i.definition_id = 'ipai_connector_' || source_room.source_type);
end
$$;
comment on function connectors.source_room(text, boolean) is
    'Whether one more run of a source may be running; locks its limit, or says no when that is locked and may not be waited for. Internal.';

create or replace function connectors.explain_unclaimable(run_id uuid) returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    wanted connectors.connector_runs;
    active connectors.connector_runs;
    instance connectors.connector_instances;
    source text;
    standing connectors.quota_standing;
begin
    select r.* into wanted from connectors.connector_runs as r where r.id = explain_unclaimable.run_id;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s does not exist.', explain_unclaimable.run_id),
            hint = 'Queue one with enqueue_connector_job(instance_id).';
    end if;
    if wanted.status <> 'queued' then
        raise sqlstate 'PT409' using message = format('Run %s is %s, not queued.', wanted.id, wanted.status),
            hint = 'Queue a new run.';
    end if;
    select i.* into instance from connectors.connector_instances as i where i.id = wanted.instance_id;
    if instance.status <> 'active' then
        raise sqlstate 'PT409' using message = format('Instance %L is %s.', wanted.instance_id, instance.status),
            hint = 'Make it active with set_instance_status(instance_id, status).';
    end if;
    select r.* into active from connectors.connector_runs as r
    where r.instance_id = wanted.instance_id and r.status = 'running';
    if found then
        raise sqlstate 'PT409' using
            message = format('Instance %L has the active run %s.', active.instance_id, active.id),
            detail = format('Worker %s runs it since %s; its lease ends at %s.',
                active.worker, active.started_at, active.lease_until),
            hint = 'Wait for its end or cancel it. If the worker died, the instance is free when the lease ends.';
    end if;
    source := substr(instance.definition_id, length('ipai_connector_') + 1);
    if not connectors.source_room(source, true) then
        raise sqlstate 'PT409' using
            message = format('As many runs of %L are running as its limit allows.', source),
            hint = 'Wait for one to end, or raise the limit with set_source_limit(source_type, max_running).';
    end if;
    select s.* into standing from connectors.quota_standing as s
    where s.source_type = source and s.credential_key = instance.quota_key;
    if standing.remaining < greatest(coalesce(standing.budget, 0) / 100, 1) then
        raise sqlstate 'PT409' using
            message = format('The quota of %L is spent until %s.', source,
                to_char(standing.reset_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
            detail = format('%s of %s requests are left to credential %L.', standing.remaining, standing.budget, instance.quota_key),
            hint = 'Leave the run to the workers: it goes on by itself after that.';
    end if;
    if exists (
        select from connectors.quota_shares as s
        where s.source_type = source and s.credential_key = instance.quota_key
    ) then
        raise sqlstate 'PT409' using
            message = format('Other runs hold all of the quota of %L.', source),
            detail = format('Credential %L, runs: %s.', instance.quota_key, (
                select string_agg(s.run_id::text, ', ' order by s.granted_at) from connectors.quota_shares as s
                where s.source_type = source and s.credential_key = instance.quota_key)),
            hint = 'Wait for one of them to end.';
    end if;
    raise sqlstate 'PT409' using message = format('Run %s could not be claimed just now.', wanted.id),
        hint = 'Try again.';
end
$$;
comment on function connectors.explain_unclaimable(uuid) is 'Raises the reason why a run cannot be claimed.';

create function connectors.start_run(run_id uuid, worker text, lease_seconds integer, may_wait boolean) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    asked record;
    share text;
    given jsonb;
    standing connectors.quota_standing;
begin
    select
        r.instance_id, i.quota_key, substr(i.definition_id, length('ipai_connector_') + 1) as source,
        exists (
            select from connectors.connector_runs as b
            where b.instance_id = r.instance_id and b.status = 'running') as is_busy,
        exists (
            select from connectors.source_limits as l
            where l.source_type = substr(i.definition_id, length('ipai_connector_') + 1)) as is_limited,
        i.quota is not null or exists (
            select from connectors.quota_buckets as q
            where q.source_type = substr(i.definition_id, length('ipai_connector_') + 1)
                and q.credential_key = i.quota_key) as has_quota
    into asked
    from connectors.connector_runs as r
    join connectors.connector_instances as i on i.id = r.instance_id
    where r.id = start_run.run_id and r.status = 'queued' and i.status = 'active'
    for update of r skip locked;
    if not found or asked.is_busy then
        return 'gone';
    end if;
    if asked.is_limited and not connectors.source_room(asked.source, may_wait) then
        return 'source';
    end if;
    if asked.has_quota then
        select t.outcome, t.quota into share, given from connectors.take_quota_share(start_run.run_id, may_wait) as t;
        if share = 'spent' then
            select s.* into standing from connectors.quota_standing as s
            where s.source_type = asked.source and s.credential_key = asked.quota_key;
            perform connectors.park_connector_runs(asked.source, asked.quota_key, standing.reset_at,
                format('Quota of %s is spent: %s of %s requests are left to credential %s.',
                    asked.source, standing.remaining, standing.budget, asked.quota_key));
        end if;
        if share in ('wait', 'spent') then
            return 'bucket';
        end if;
    end if;
    update connectors.connector_runs as r
    set status = 'running',
        worker = start_run.worker,
        attempt = r.attempt + 1,
        started_at = clock_timestamp(),
        heartbeat_at = clock_timestamp(),
        lease_token = gen_random_uuid(),
        lease_until = clock_timestamp() + make_interval(secs => start_run.lease_seconds),
        quota = given
    where r.id = start_run.run_id;
    return 'claimed';
end
$$;
comment on function connectors.start_run(uuid, text, integer, boolean) is
    'Starts a queued run whose instance the caller has locked: claimed; gone: it cannot be; source, bucket: what has no room for it. Internal.';

-- squawk-ignore ban-drop-function -- it comes back with one more column at the end of its result
drop function connectors.claim_connector_job(text, integer, uuid, text[]);
create function connectors.claim_connector_job(
    worker text,
    lease_seconds integer default 60,
    run_id uuid default null,
    sources text[] default null
) returns table (
    id uuid, instance_id text, lease_token uuid, lease_until timestamptz, job_name text, mode text,
    streams text[], attempt integer, max_attempts integer, triggered_by text, env text, config jsonb,
    definition_id text, definition_version integer, source_type text, spec jsonb,
    state jsonb, state_version bigint, quota jsonb)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    waiting record;
    outcome text;
    may_wait boolean := true;
    claimed uuid;
    -- What was found full in this call. Only the first lock on a limit or bucket is waited for;
    -- whoever holds one waits for no other, so that claims cannot block each other in a ring.
    full_sources text[] := '{}';
    full_buckets text[] := '{}';
begin
    if coalesce(claim_connector_job.worker, '') !~ '\S' then
        raise sqlstate 'PT422' using message = 'The worker has no name.', hint = 'Pass e.g. host:pid as worker.';
    end if;
    if coalesce(claim_connector_job.lease_seconds, 0) not between 1 and 86400 then
        raise sqlstate 'PT422' using
            message = format('A lease of %s seconds is not possible.', claim_connector_job.lease_seconds),
            hint = 'Use 1 to 86400; renew it by heartbeat.';
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise sqlstate 'PT422' using
            message = format('A claim in a %s transaction cannot see what others claim.', current_setting('transaction_isolation')),
            hint = 'Claim in a READ COMMITTED transaction, the default.';
    end if;
    perform connectors.reap_connector_runs();
    -- Tomorrow's partition is made with today's: if it is there, nothing is missing.
    if to_regclass('connectors.run_logs_' || to_char(clock_timestamp() at time zone 'UTC' + interval '1 day', 'YYYYMMDD')) is null then
        perform connectors.ensure_log_partitions();
    end if;
    -- The instance is locked first of all: whoever holds it claims its runs alone, and its
    -- state is not set by hand meanwhile. (set_instance_status locks in the same order.)
    if claim_connector_job.run_id is not null then
        perform from connectors.connector_instances as i
        where i.id = (select r.instance_id from connectors.connector_runs as r where r.id = claim_connector_job.run_id)
        for no key update;
        -- Waited for, where the workers' way skips it: somebody may be cancelling it just now.
        perform from connectors.connector_runs as r where r.id = claim_connector_job.run_id for update;
        outcome := connectors.start_run(claim_connector_job.run_id, worker, lease_seconds, true);
        if outcome <> 'claimed' then
            perform connectors.explain_unclaimable(claim_connector_job.run_id);
        end if;
        claimed := claim_connector_job.run_id;
    else
        -- Both parts are fenced off by their offset: the queue is walked in the order of its index,
        -- whatever the statistics say about instances.
        for waiting in
            select q.id, i.id as instance_id, i.source, i.bucket
            from (
                select r.id, r.instance_id from connectors.connector_runs as r
                where r.status = 'queued' and r.run_after <= clock_timestamp()
                order by r.priority desc, r.run_after, r.id offset 0
            ) as q
            cross join lateral (
                select i.id, substr(i.definition_id, length('ipai_connector_') + 1) as source,
                    i.definition_id || ' ' || i.quota_key as bucket
                from connectors.connector_instances as i
                where i.id = q.instance_id and i.status = 'active'
                    and (claim_connector_job.sources is null
                        or substr(i.definition_id, length('ipai_connector_') + 1) = any (claim_connector_job.sources))
                    and not exists (
                        select from connectors.connector_runs as b
                        where b.instance_id = q.instance_id and b.status = 'running')
                offset 0
            ) as i
        loop
            continue when waiting.source = any (full_sources) or waiting.bucket = any (full_buckets);
            perform from connectors.connector_instances as i
            where i.id = waiting.instance_id for no key update skip locked;
            continue when not found;
            outcome := connectors.start_run(waiting.id, worker, lease_seconds, may_wait);
            if outcome = 'claimed' then
                claimed := waiting.id;
                exit;
            elsif outcome = 'source' then
                full_sources := full_sources || waiting.source;
                may_wait := false;
            elsif outcome = 'bucket' then
                full_buckets := full_buckets || waiting.bucket;
                may_wait := false;
            end if;
        end loop;
    end if;
    if claimed is null then
        return;
    end if;
    return query
        select r.id, r.instance_id, r.lease_token, r.lease_until, r.job_name, r.mode,
            r.streams, r.attempt, r.max_attempts, r.triggered_by, i.env, i.config,
            d.id, d.version, d.type, d.spec,
            case when r.mode = 'full_table' then '{}'
                else coalesce(connectors.effective_state(s.state_json, s.partial_json), '{}') end,
            coalesce(s.version, 0),
            r.quota
        from connectors.connector_runs as r
        join connectors.connector_instances as i on i.id = r.instance_id
        join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
        left join connectors.connector_state as s on s.instance_id = r.instance_id
        where r.id = claimed;
end
$$;
comment on function connectors.claim_connector_job(text, integer, uuid, text[]) is
    'Takes the next queued run, or the named one, under a lease; no row when nothing is due. First ends runs whose lease expired. quota is the run''s share of its credential''s budget: {requests_per_second, concurrency, requests_total, reset_at}, null where nothing is limited.';

create function connectors.create_connector_definition(type text, yaml_spec text, spec jsonb)
returns table (id text, version integer, created boolean)
language sql volatile security definer set search_path = '' as $$
    select r.id, r.version, r.created
    from connectors.register_connector_definition(
        create_connector_definition.type, create_connector_definition.yaml_spec, create_connector_definition.spec) as r
$$;
comment on function connectors.create_connector_definition(text, text, jsonb) is
    'Registers a spec, as register_connector_definition does, which is the same by its older name.';

create view connectors.connector_queue with (security_invoker = on) as
select r.id as run_id, r.instance_id, d.type as source_type, r.job_name, r.priority, r.attempt, r.max_attempts,
    r.queued_at, r.run_after, greatest(clock_timestamp() - greatest(r.queued_at, r.run_after), interval '0') as waiting_for,
    case
        when i.status <> 'active' then 'instance'
        when r.run_after > clock_timestamp() and r.park_reason is not null then 'parked'
        when r.run_after > clock_timestamp() then 'time'
        when exists (
            select from connectors.connector_runs as b where b.instance_id = r.instance_id and b.status = 'running'
        ) then 'run'
        when l.max_running <= (
            select count(*) from connectors.connector_runs as b
            join connectors.connector_instances as o on o.id = b.instance_id
            where b.status = 'running' and o.definition_id = i.definition_id
        ) then 'limit'
        else 'worker'
    end as waits_for,
    r.park_reason
from connectors.connector_runs as r
join connectors.connector_instances as i on i.id = r.instance_id
join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
left join connectors.source_limits as l on l.source_type = d.type
where r.status = 'queued';
comment on view connectors.connector_queue is
    'Queued runs and what each waits for: its instance to be active, its time, a parked quota, the instance''s present run, the source''s limit, or a worker (or a share of the quota).';

create view connectors.connector_queue_depth with (security_invoker = on) as
select q.source_type, q.waits_for, count(*) as runs, max(q.waiting_for) as oldest
from connectors.connector_queue as q
group by q.source_type, q.waits_for;
comment on view connectors.connector_queue_depth is 'Depth and age of the queue by source and by what is waited for; scale workers on those that wait for a worker.';

create view connectors.sync_success with (security_invoker = on) as
select d.type as source_type, date_trunc('day', e.ended_at at time zone 'UTC')::date as day,
    count(*) filter (where e.status = 'succeeded') as succeeded,
    count(*) filter (where e.status = 'failed') as failed,
    round(count(*) filter (where e.status = 'succeeded') / count(*)::numeric, 4) as success_rate
from connectors.connector_runs as e
join connectors.connector_instances as i on i.id = e.instance_id
join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
where e.status in ('succeeded', 'failed')
    and not exists (select from connectors.connector_runs as n where n.retry_of = e.id)
group by d.type, date_trunc('day', e.ended_at at time zone 'UTC')::date;
comment on view connectors.sync_success is
    'Syncs per source and day (UTC) by how they ended after all their retries; cancelled ones are not counted.';

revoke all on connectors.connector_queue, connectors.connector_queue_depth, connectors.sync_success from public;
grant select on connectors.connector_queue, connectors.connector_queue_depth, connectors.sync_success
to service_role, ipai_admin, ipai_operator;
revoke execute on function
    connectors.source_room(text, boolean),
    connectors.start_run(uuid, text, integer, boolean),
    connectors.claim_connector_job(text, integer, uuid, text[]),
    connectors.create_connector_definition(text, text, jsonb)
from public;
grant execute on function connectors.claim_connector_job(text, integer, uuid, text[]) to service_role, ipai_worker;
grant execute on function connectors.create_connector_definition(text, text, jsonb) to service_role, ipai_admin;

notify pgrst, 'reload schema';
