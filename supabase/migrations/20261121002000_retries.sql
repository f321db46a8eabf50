-- SPDX-License-Identifier: Apache-2.0
-- Retries by SLA tier, parking until a source takes requests again, the dead letters of the queue,
-- and a hint to waiting workers.

create table connectors.sla_tiers (
    tier text not null,
    max_attempts integer not null,
    backoff text not null,
    backoff_unit interval not null,
    priority integer not null,
    max_latency interval not null,
    constraint sla_tiers_pkey primary key (tier),
    constraint sla_tiers_tier_known check (tier in ('critical', 'standard', 'best_effort')),
    constraint sla_tiers_backoff_known check (backoff in ('exponential', 'linear')),
    constraint sla_tiers_figures_positive check (
        max_attempts > 0 and backoff_unit > interval '0' and max_latency > interval '0')
);
comment on table connectors.sla_tiers is 'What each SLA tier of a connector''s spec means for its runs.';
comment on column connectors.sla_tiers.tier is 'critical, standard or best_effort, as in the spec.';
comment on column connectors.sla_tiers.max_attempts is 'The first attempt and its retries: 5, 3 and 2 retries.';
comment on column connectors.sla_tiers.backoff is 'exponential: unit times 2^attempt; linear: unit times attempt.';
comment on column connectors.sla_tiers.backoff_unit is 'Unit of the waits between attempts.';
comment on column connectors.sla_tiers.priority is 'Priority of a run that is queued without one.';
comment on column connectors.sla_tiers.max_latency is 'How late a scheduled run''s data may be.';

insert into connectors.sla_tiers (tier, max_attempts, backoff, backoff_unit, priority, max_latency)
values
    ('critical', 6, 'exponential', '1 minute', 10, '15 minutes'),
    ('standard', 4, 'exponential', '1 minute', 0, '2 hours'),
    ('best_effort', 3, 'linear', '10 minutes', -10, '24 hours');

alter table connectors.connector_runs
    add column park_reason text,
    add column parks integer not null default 0 constraint connector_runs_parks_not_negative check (parks >= 0);
comment on column connectors.connector_runs.park_reason is 'Why it waits, or has waited, until run_after without having failed.';
comment on column connectors.connector_runs.parks is 'How often it was parked, with the runs it repeats.';

create function connectors.sla_tier_of(instance_id text) returns connectors.sla_tiers
language sql stable security definer set search_path = '' as $$
    select t.*
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    join connectors.sla_tiers as t on t.tier = case
        when d.spec ->> 'sla_tier' in ('critical', 'standard', 'best_effort') then d.spec ->> 'sla_tier'
        else 'standard' end
    where i.id = sla_tier_of.instance_id
$$;
comment on function connectors.sla_tier_of(text) is 'The SLA tier of an instance''s spec; standard when the spec names none.';

-- squawk-ignore ban-drop-function -- called by queue_retry alone, which is replaced below
drop function connectors.retry_delay(integer);
create function connectors.retry_delay(attempt integer, tier connectors.sla_tiers) returns interval
language sql volatile set search_path = '' as $$
    select least(
        tier.backoff_unit * case tier.backoff
            when 'linear' then greatest(attempt, 1)
            else 2 ^ least(greatest(attempt, 1), 20) end,
        interval '1 hour') * (0.5 + 0.5 * random())
$$;
comment on function connectors.retry_delay(integer, connectors.sla_tiers) is
    'Wait after an attempt: what the tier says, at most an hour, of which a random half at most is taken off.';

create or replace function connectors.queue_retry(failed connectors.connector_runs) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    -- Being told when to come back is no attempt that went wrong; but not for ever.
    is_parked boolean := failed.error_class = 'try_again_later' and failed.retry_at is not null and failed.parks < 100;
    counted integer := failed.attempt - is_parked::integer;
    delay interval;
    new_id uuid;
begin
    if failed.status <> 'failed' or failed.max_attempts = 1 or counted >= failed.max_attempts
        or not connectors.is_retryable(failed.error_class) then
        return null;
    end if;
    delay := connectors.retry_delay(failed.attempt, connectors.sla_tier_of(failed.instance_id));
    insert into connectors.connector_runs as r
        (instance_id, job_name, mode, streams, triggered_by, actor, priority, dedupe_key, retry_of,
            attempt, max_attempts, parks, run_after, park_reason)
    values (failed.instance_id, failed.job_name, failed.mode, failed.streams, 'retry', failed.actor,
        failed.priority, failed.dedupe_key, failed.id, counted, failed.max_attempts,
        failed.parks + is_parked::integer,
        -- All that wait for the same moment come back spread over the first seconds after it.
        case when is_parked and failed.retry_at > clock_timestamp()
            then failed.retry_at + least(delay, interval '30 seconds')
            else greatest(failed.retry_at, clock_timestamp() + delay) end,
        case when is_parked then left(failed.error_summary, 500) end)
    returning r.id into new_id;
    return new_id;
end
$$;
comment on function connectors.queue_retry(connectors.connector_runs) is
    'Queues the next attempt of a failed run where its class and count allow, parked where the source said when to come back; internal.';

create or replace function connectors.enqueue_connector_job(
    instance_id text,
    mode text default null,
    streams text[] default null,
    triggered_by text default 'manual',
    dedupe_key text default null,
    priority integer default null,
    run_after timestamptz default null,
    max_attempts integer default null
) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    instance connectors.connector_instances;
    definition connectors.connector_definitions;
    tier connectors.sla_tiers;
    chosen_mode text;
    known_streams text[];
    new_id uuid;
    existing connectors.connector_runs;
begin
    select i.* into instance from connectors.connector_instances as i
    where i.id = enqueue_connector_job.instance_id;
    if not found then
        raise sqlstate 'PT404' using
            message = format('Instance %L does not exist.', enqueue_connector_job.instance_id),
            hint = 'List the instances with connector_list().';
    end if;
    select d.* into definition from connectors.connector_definitions as d
    where d.id = instance.definition_id and d.version = instance.definition_version;
    if instance.status <> 'active' then
        raise sqlstate 'PT409' using message = format('Instance %L is %s.', instance.id, instance.status),
            hint = 'Make it active with set_instance_status(instance_id, status).';
    end if;
    if not definition.enabled then
        raise sqlstate 'PT409' using
            message = format('Version %s of %L is disabled.', definition.version, definition.id),
            hint = 'Move the instance to an enabled version.';
    end if;
    chosen_mode := coalesce(enqueue_connector_job.mode, definition.spec ->> 'sync_mode', 'incremental');
    chosen_mode := case chosen_mode when 'full_refresh' then 'full_table' else chosen_mode end;
    if chosen_mode not in ('incremental', 'full_table', 'cdc') then
        raise sqlstate 'PT422' using message = format('Mode %L is unknown.', chosen_mode),
            hint = 'Use incremental, full_table or cdc.';
    end if;
    if enqueue_connector_job.streams is not null then
        select array_agg(s.value ->> 'name') into known_streams
        from jsonb_array_elements(
            case when jsonb_typeof(definition.spec -> 'streams') = 'array' then definition.spec -> 'streams' else '[]' end
        ) as s;
        if cardinality(enqueue_connector_job.streams) = 0 or array_position(enqueue_connector_job.streams, null) is not null then
            raise sqlstate 'PT422' using message = 'The list of streams is empty or has an empty name.',
                hint = 'Name streams, or leave the list out to read all selected ones.';
        end if;
        if not enqueue_connector_job.streams <@ known_streams then
            raise sqlstate 'PT422' using
                message = format('Connector %L has no stream %s.', definition.id, (
                    select string_agg(format('%L', n.name), ', ')
                    from unnest(enqueue_connector_job.streams) as n (name)
                    where n.name <> all (known_streams))),
                hint = format('Its streams: %s.', array_to_string(known_streams, ', '));
        end if;
    end if;
    if enqueue_connector_job.max_attempts < 1 then
        raise sqlstate 'PT422' using
            message = format('max_attempts is %s.', enqueue_connector_job.max_attempts),
            hint = 'Use 1 or more, or leave it out: the SLA tier of the connector then decides.';
    end if;
    tier := connectors.sla_tier_of(instance.id);

    insert into connectors.connector_runs as r
        (instance_id, job_name, mode, streams, triggered_by, dedupe_key, priority, run_after, max_attempts)
    values (
        instance.id,
        connectors.job_name(definition.type,
            case when cardinality(enqueue_connector_job.streams) = 1 then enqueue_connector_job.streams[1] else 'all' end,
            chosen_mode),
        chosen_mode, enqueue_connector_job.streams, coalesce(enqueue_connector_job.triggered_by, 'manual'),
        enqueue_connector_job.dedupe_key, coalesce(enqueue_connector_job.priority, tier.priority),
        coalesce(enqueue_connector_job.run_after, clock_timestamp()),
        coalesce(enqueue_connector_job.max_attempts, tier.max_attempts))
    on conflict (instance_id, dedupe_key) where dedupe_key is not null and retry_of is null do nothing
    returning r.id into new_id;
    if new_id is not null then
        return new_id;
    end if;

    select r.* into existing from connectors.connector_runs as r
    where r.instance_id = instance.id and r.dedupe_key = enqueue_connector_job.dedupe_key and r.retry_of is null;
    if (existing.mode, existing.streams) is distinct from (chosen_mode, enqueue_connector_job.streams) then
        raise sqlstate 'PT409' using
            message = format('Key %L was used for another job of %L.', enqueue_connector_job.dedupe_key, instance.id),
            detail = format('Run %s: mode %s, streams %s.', existing.id, existing.mode,
                coalesce(array_to_string(existing.streams, ', '), 'all')),
            hint = 'Use a new key for a different job.';
    end if;
    return existing.id;
end
$$;
comment on function connectors.enqueue_connector_job(text, text, text[], text, text, integer, timestamptz, integer) is
    'Queues a run and returns its id; with a dedupe_key, the same call again returns the same run. Attempts and priority default to the SLA tier''s.';

-- Dead letters of the queue: runs that failed for good.

create function connectors.dead_connector_runs(
    for_instance text default null, max_rows integer default 100, before timestamptz default null,
    with_superseded boolean default false
) returns table (
    id uuid, instance_id text, job_name text, mode text, streams text[], attempt integer, max_attempts integer,
    started_at timestamptz, ended_at timestamptz, error_class text, error_summary text, exit_code integer,
    superseded boolean)
language sql stable security definer set search_path = '' as $$
    select r.id, r.instance_id, r.job_name, r.mode, r.streams, r.attempt, r.max_attempts,
        r.started_at, r.ended_at, r.error_class, r.error_summary, r.exit_code, later.superseded
    from connectors.connector_runs as r
    cross join lateral (
        select exists (
            select from connectors.connector_runs as s
            where s.instance_id = r.instance_id and s.status = 'succeeded' and s.queued_at > r.queued_at
                and s.started_at >= r.ended_at and (s.streams is null or s.streams @> r.streams)
        ) as superseded) as later
    where r.status = 'failed'
        and not exists (select from connectors.connector_runs as n where n.retry_of = r.id)
        and (for_instance is null or r.instance_id = for_instance)
        and (before is null or r.ended_at < before)
        and (with_superseded or not later.superseded)
    order by r.ended_at desc
    limit least(greatest(coalesce(max_rows, 100), 1), 1000)
$$;
comment on function connectors.dead_connector_runs(text, integer, timestamptz, boolean) is
    'Runs that failed for good, newest first; those whose work a later run has done only with with_superseded. Page on by passing the last ended_at as before.';
create index connector_runs_failed_idx on connectors.connector_runs (ended_at desc) where status = 'failed';

create function connectors.requeue_connector_job(run_id uuid, max_attempts integer default null) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    dead connectors.connector_runs;
    instance_status text;
    new_id uuid;
begin
    select r.* into dead from connectors.connector_runs as r where r.id = requeue_connector_job.run_id;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s does not exist.', requeue_connector_job.run_id),
            hint = 'List the dead ones with dead_connector_runs().';
    end if;
    if dead.status <> 'failed' then
        raise sqlstate 'PT409' using message = format('Run %s has not failed: it is %s.', dead.id, dead.status),
            hint = 'Queue a new run with enqueue_connector_job(instance_id).';
    end if;
    select i.status into instance_status from connectors.connector_instances as i where i.id = dead.instance_id;
    if instance_status <> 'active' then
        raise sqlstate 'PT409' using message = format('Instance %L is %s.', dead.instance_id, instance_status),
            hint = 'Make it active with set_instance_status(instance_id, status).';
    end if;
    if requeue_connector_job.max_attempts < 1 then
        raise sqlstate 'PT422' using message = format('max_attempts is %s.', requeue_connector_job.max_attempts),
            hint = 'Use 1 or more, or leave it out.';
    end if;
    insert into connectors.connector_runs as r
        (instance_id, job_name, mode, streams, triggered_by, priority, dedupe_key, retry_of, max_attempts)
    values (dead.instance_id, dead.job_name, dead.mode, dead.streams, 'requeue', dead.priority, dead.dedupe_key,
        dead.id, coalesce(requeue_connector_job.max_attempts, dead.max_attempts))
    on conflict (retry_of) where retry_of is not null do nothing
    returning r.id into new_id;
    if new_id is null then
        select r.id into new_id from connectors.connector_runs as r where r.retry_of = dead.id;
    end if;
    return new_id;
end
$$;
comment on function connectors.requeue_connector_job(uuid, integer) is
    'Queues a failed run again with all its attempts and returns the new run; a run that is retried already returns that retry.';

-- A hint for those who listen; polling alone finds every run too.

create function connectors.notify_workers() returns trigger
language plpgsql set search_path = '' as $$
begin
    perform pg_notify('ipai_connector_jobs', (
        select substr(i.definition_id, length('ipai_connector_') + 1)
        from connectors.connector_instances as i where i.id = new.instance_id));
    return null;
end
$$;
comment on function connectors.notify_workers() is
    'Tells listeners of ipai_connector_jobs the source type of a run that was queued, or is to be cancelled.';
create trigger connector_runs_queued after insert on connectors.connector_runs
    for each row when (new.status = 'queued') execute function connectors.notify_workers();
create trigger connector_runs_cancelled after update of cancel_requested_at on connectors.connector_runs
    for each row when (new.cancel_requested_at is distinct from old.cancel_requested_at)
    execute function connectors.notify_workers();

alter table connectors.sla_tiers enable row level security;
alter table connectors.sla_tiers force row level security;
create policy owner_all on connectors.sla_tiers for all to current_user using (true) with check (true);
create policy staff_read on connectors.sla_tiers for select to service_role, ipai_admin, ipai_operator using (true);
revoke all on connectors.sla_tiers from public;
grant select on connectors.sla_tiers to service_role, ipai_admin, ipai_operator;

revoke execute on function
    connectors.sla_tier_of(text),
    connectors.retry_delay(integer, connectors.sla_tiers),
    connectors.dead_connector_runs(text, integer, timestamptz, boolean),
    connectors.requeue_connector_job(uuid, integer),
    connectors.notify_workers()
from public;
grant execute on function
    connectors.dead_connector_runs(text, integer, timestamptz, boolean),
    connectors.requeue_connector_job(uuid, integer)
to service_role, ipai_admin, ipai_operator;

notify pgrst, 'reload schema';
