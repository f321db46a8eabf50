-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121002000_retries. What was parked or dead stays in the queue's table,
-- without its reason.

drop trigger connector_runs_cancelled on connectors.connector_runs;
drop trigger connector_runs_queued on connectors.connector_runs;
drop function connectors.notify_workers();
drop function connectors.requeue_connector_job(uuid, integer);
drop index connectors.connector_runs_failed_idx;
drop function connectors.dead_connector_runs(text, integer, timestamptz, boolean);

create or replace function connectors.enqueue_connector_job(
    instance_id text,
    mode text default null,
    streams text[] default null,
    triggered_by text default 'manual',
    dedupe_key text default null,
    priority integer default 0,
    run_after timestamptz default null,
    max_attempts integer default 1
) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    instance connectors.connector_instances;
    definition connectors.connector_definitions;
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
    if coalesce(enqueue_connector_job.max_attempts, 0) < 1 then
        raise sqlstate 'PT422' using
            message = format('max_attempts is %s.', enqueue_connector_job.max_attempts),
            hint = 'Use 1 or more.';
    end if;

    insert into connectors.connector_runs as r
        (instance_id, job_name, mode, streams, triggered_by, dedupe_key, priority, run_after, max_attempts)
    values (
        instance.id,
        connectors.job_name(definition.type,
            case when cardinality(enqueue_connector_job.streams) = 1 then enqueue_connector_job.streams[1] else 'all' end,
            chosen_mode),
        chosen_mode, enqueue_connector_job.streams, coalesce(enqueue_connector_job.triggered_by, 'manual'),
        enqueue_connector_job.dedupe_key, coalesce(enqueue_connector_job.priority, 0),
        coalesce(enqueue_connector_job.run_after, clock_timestamp()), enqueue_connector_job.max_attempts)
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
    'Queues a run and returns its id; with a dedupe_key, the same call again returns the same run.';

drop function connectors.retry_delay(integer, connectors.sla_tiers);

create function connectors.retry_delay(attempt integer) returns interval
language sql volatile set search_path = '' as $$
    select least(interval '10 seconds' * 2 ^ least(greatest(attempt, 1) - 1, 20), interval '1 hour')
        * (0.5 + 0.5 * random())
$$;
comment on function connectors.retry_delay(integer) is 'Exponential wait before the next attempt, with jitter, at most an hour.';
revoke execute on function connectors.retry_delay(integer) from public;

create or replace function connectors.queue_retry(failed connectors.connector_runs) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    -- Being told to come back later is no attempt that went wrong.
    counted integer := failed.attempt - (failed.error_class = 'try_again_later')::integer;
    new_id uuid;
begin
    if failed.status <> 'failed' or failed.max_attempts = 1 or counted >= failed.max_attempts
        or not connectors.is_retryable(failed.error_class) then
        return null;
    end if;
    insert into connectors.connector_runs as r
        (instance_id, job_name, mode, streams, triggered_by, actor, priority, dedupe_key, retry_of,
            attempt, max_attempts, run_after)
    values (failed.instance_id, failed.job_name, failed.mode, failed.streams, 'retry', failed.actor,
        failed.priority, failed.dedupe_key, failed.id, counted, failed.max_attempts,
        greatest(failed.retry_at, clock_timestamp() + connectors.retry_delay(failed.attempt)))
    returning r.id into new_id;
    return new_id;
end
$$;
comment on function connectors.queue_retry(connectors.connector_runs) is
    'Queues the next attempt of a failed run where its class and count allow; internal.';

drop function connectors.sla_tier_of(text);
alter table connectors.connector_runs
    drop column parks,
    drop column park_reason;
drop table connectors.sla_tiers;

notify pgrst, 'reload schema';
