-- SPDX-License-Identifier: Apache-2.0
-- The queue: enqueue, claim under a lease, heartbeat, complete, fail, cancel, reap. Only the
-- database's clock counts. lease_token fences: a worker that lost its lease cannot write any more.

create function connectors.job_name(source text, stream text, mode text) returns text
language plpgsql immutable parallel safe set search_path = '' as $$
declare
    plain text := 'sync_' || source || '_' || stream || '_' || mode;
    name text := regexp_replace(lower(plain), '[^a-z0-9_]+', '_', 'g');
begin
    if name = plain and length(name) <= 63 and name !~ '_h[0-9a-f]{10}' then
        return name;
    end if;
    -- Changed or cut: a hash of the parts keeps it apart from all others.
    return rtrim(left(name, 51), '_') || '_h' || left(encode(sha256(
        convert_to('sync', 'UTF8') || '\x00'::bytea || convert_to(source, 'UTF8') || '\x00'::bytea
        || convert_to(stream, 'UTF8') || '\x00'::bytea || convert_to(mode, 'UTF8')), 'hex'), 10);
end
$$;
comment on function connectors.job_name(text, text, text) is
    'sync_<source>_<stream>_<mode>, at most 63 bytes; the same rule as in ipai_kit.spec.';

create function connectors.leased_run(run_id uuid, lease_token uuid) returns connectors.connector_runs
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
begin
    select r.* into run from connectors.connector_runs as r where r.id = leased_run.run_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s does not exist.', leased_run.run_id),
            hint = 'List the runs with connector_runs_list().';
    end if;
    if run.status <> 'running' or run.lease_token is distinct from leased_run.lease_token then
        raise sqlstate 'PT410' using
            message = format('The lease on run %s is lost.', run.id),
            detail = format('The run is %s%s.', run.status, ': ' || run.error_summary),
            hint = 'Stop working on it and write nothing more for it.';
    end if;
    return run;
end
$$;
comment on function connectors.leased_run(uuid, uuid) is
    'Locks a run for the holder of its lease; PT410 for everybody else.';

create function connectors.enqueue_connector_job(
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

create function connectors.is_retryable(error_class text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
    select error_class in ('try_again_later', 'tap', 'target', 'transform', 'database', 'timeout', 'worker_lost')
$$;
comment on function connectors.is_retryable(text) is
    'Whether trying again may help: not for configuration, credentials, refused state, dead letters and bugs.';

create function connectors.retry_delay(attempt integer) returns interval
language sql volatile set search_path = '' as $$
    select least(interval '10 seconds' * 2 ^ least(greatest(attempt, 1) - 1, 20), interval '1 hour')
        * (0.5 + 0.5 * random())
$$;
comment on function connectors.retry_delay(integer) is 'Exponential wait before the next attempt, with jitter, at most an hour.';

create function connectors.queue_retry(failed connectors.connector_runs) returns uuid
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

create function connectors.reap_connector_runs()
returns table (run_id uuid, instance_id text, retry_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    lost connectors.connector_runs;
begin
    for lost in
        select r.* from connectors.connector_runs as r
        where r.status = 'running' and r.lease_until < clock_timestamp()
        order by r.lease_until for no key update skip locked
    loop
        update connectors.connector_runs as r
        set status = case when lost.cancel_requested_at is null then 'failed' else 'cancelled' end,
            ended_at = clock_timestamp(),
            lease_until = null,
            error_class = case when lost.cancel_requested_at is null then 'worker_lost' else 'cancelled' end,
            error_summary = format('lease expired at %s: worker %s sent no heartbeat since %s',
                to_char(lost.lease_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), lost.worker,
                to_char(coalesce(lost.heartbeat_at, lost.started_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
        where r.id = lost.id
        returning r.* into lost;
        run_id := lost.id;
        instance_id := lost.instance_id;
        retry_id := connectors.queue_retry(lost);
        return next;
    end loop;
end
$$;
comment on function connectors.reap_connector_runs() is
    'Ends runs whose lease expired, frees their instance and queues a retry where allowed; names them.';

create function connectors.explain_unclaimable(run_id uuid) returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    wanted connectors.connector_runs;
    active connectors.connector_runs;
    instance_status text;
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
    select i.status into instance_status from connectors.connector_instances as i where i.id = wanted.instance_id;
    if instance_status <> 'active' then
        raise sqlstate 'PT409' using message = format('Instance %L is %s.', wanted.instance_id, instance_status),
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
    raise sqlstate 'PT409' using message = format('Run %s could not be claimed just now.', wanted.id),
        hint = 'Try again.';
end
$$;
comment on function connectors.explain_unclaimable(uuid) is 'Raises the reason why a run cannot be claimed.';

create function connectors.claim_connector_job(
    worker text,
    lease_seconds integer default 60,
    run_id uuid default null,
    sources text[] default null
) returns table (
    id uuid, instance_id text, lease_token uuid, lease_until timestamptz, job_name text, mode text,
    streams text[], attempt integer, max_attempts integer, triggered_by text, env text, config jsonb,
    definition_id text, definition_version integer, source_type text, spec jsonb,
    state jsonb, state_version bigint)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    candidate uuid;
    owner_instance text;
    claimed uuid;
begin
    if coalesce(claim_connector_job.worker, '') !~ '\S' then
        raise sqlstate 'PT422' using message = 'The worker has no name.', hint = 'Pass e.g. host:pid as worker.';
    end if;
    if coalesce(claim_connector_job.lease_seconds, 0) not between 1 and 86400 then
        raise sqlstate 'PT422' using
            message = format('A lease of %s seconds is not possible.', claim_connector_job.lease_seconds),
            hint = 'Use 1 to 86400; renew it by heartbeat.';
    end if;
    perform connectors.reap_connector_runs();
    perform connectors.ensure_log_partitions();
    for round in 1..100 loop
        -- The instance is locked first of all: whoever holds it claims its runs alone, and its
        -- state is not set by hand meanwhile. (set_instance_status locks in the same order.)
        if claim_connector_job.run_id is null then
            select r.id, r.instance_id into candidate, owner_instance
            from connectors.connector_runs as r
            join connectors.connector_instances as i on i.id = r.instance_id
            where r.status = 'queued' and i.status = 'active' and r.run_after <= clock_timestamp()
                and (claim_connector_job.sources is null
                    or i.definition_id = any (array(
                        select 'ipai_connector_' || s from unnest(claim_connector_job.sources) as s)))
                and not exists (
                    select from connectors.connector_runs as b
                    where b.instance_id = r.instance_id and b.status = 'running')
            order by r.priority desc, r.run_after, r.id
            limit 1
            for no key update of i skip locked for update of r skip locked;
        else
            perform from connectors.connector_instances as i
            where i.id = (select r.instance_id from connectors.connector_runs as r where r.id = claim_connector_job.run_id)
            for no key update;
            select r.id, r.instance_id into candidate, owner_instance
            from connectors.connector_runs as r
            join connectors.connector_instances as i on i.id = r.instance_id
            where r.id = claim_connector_job.run_id and r.status = 'queued' and i.status = 'active'
            for update of r;
        end if;
        exit when candidate is null;
        -- Asked again under the lock: the query above may have begun before another claim ended.
        if exists (
            select from connectors.connector_runs as b
            where b.instance_id = owner_instance and b.status = 'running'
        ) then
            exit when claim_connector_job.run_id is not null;
            continue;
        end if;
        update connectors.connector_runs as r
        set status = 'running',
            worker = claim_connector_job.worker,
            attempt = r.attempt + 1,
            started_at = clock_timestamp(),
            heartbeat_at = clock_timestamp(),
            lease_token = gen_random_uuid(),
            lease_until = clock_timestamp() + make_interval(secs => claim_connector_job.lease_seconds)
        where r.id = candidate and r.status = 'queued'
        returning r.id into claimed;
        exit when claimed is not null;
    end loop;
    if claimed is null then
        if claim_connector_job.run_id is not null then
            perform connectors.explain_unclaimable(claim_connector_job.run_id);
        end if;
        return;
    end if;
    return query
        select r.id, r.instance_id, r.lease_token, r.lease_until, r.job_name, r.mode,
            r.streams, r.attempt, r.max_attempts, r.triggered_by, i.env, i.config,
            d.id, d.version, d.type, d.spec,
            case when r.mode = 'full_table' then '{}'
                else coalesce(connectors.effective_state(s.state_json, s.partial_json), '{}') end,
            coalesce(s.version, 0)
        from connectors.connector_runs as r
        join connectors.connector_instances as i on i.id = r.instance_id
        join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
        left join connectors.connector_state as s on s.instance_id = r.instance_id
        where r.id = claimed;
end
$$;
comment on function connectors.claim_connector_job(text, integer, uuid, text[]) is
    'Takes the next queued run, or the named one, under a lease; no row when nothing is due. First ends runs whose lease expired.';

create function connectors.heartbeat_connector_job(run_id uuid, lease_token uuid, lease_seconds integer default 60) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    cancelled boolean;
begin
    update connectors.connector_runs as r
    set heartbeat_at = clock_timestamp(),
        lease_until = clock_timestamp() + make_interval(secs => greatest(coalesce(heartbeat_connector_job.lease_seconds, 60), 1))
    where r.id = heartbeat_connector_job.run_id
        and r.lease_token = heartbeat_connector_job.lease_token
        and r.status = 'running'
    returning r.cancel_requested_at is not null into cancelled;
    return case when cancelled is null then 'lost' when cancelled then 'cancel' else 'ok' end;
end
$$;
comment on function connectors.heartbeat_connector_job(uuid, uuid, integer) is
    'Renews the lease: ok; cancel: renewed, but end the run; lost: stop, the run is no longer yours.';

create function connectors.complete_connector_job(
    run_id uuid,
    lease_token uuid,
    rows_processed bigint default null,
    state jsonb default null,
    stateless boolean default false
) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
begin
    if complete_connector_job.state is not null then
        perform connectors.save_connector_state(
            complete_connector_job.run_id, complete_connector_job.lease_token, complete_connector_job.state);
    end if;
    run := connectors.leased_run(complete_connector_job.run_id, complete_connector_job.lease_token);
    if run.state_version is null and not coalesce(complete_connector_job.stateless, false) then
        raise sqlstate 'PT409' using
            message = format('Run %s has stored no state and has not succeeded.', run.id),
            hint = 'Save the last STATE the target has echoed; pass stateless if the tap wrote none at all.';
    end if;
    update connectors.connector_runs as r
    set status = 'succeeded',
        ended_at = clock_timestamp(),
        lease_until = null,
        exit_code = 0,
        rows_processed = coalesce(complete_connector_job.rows_processed, (
            select sum(s.rows_received - s.rows_dead) from connectors.run_streams as s where s.run_id = run.id), 0)
    where r.id = run.id;
    return 'succeeded';
end
$$;
comment on function connectors.complete_connector_job(uuid, uuid, bigint, jsonb, boolean) is
    'Ends a run well; only once its state is stored. Rows default to what its streams have committed.';

create function connectors.fail_connector_job(
    run_id uuid,
    lease_token uuid,
    error_class text,
    error_summary text,
    exit_code integer default null,
    retry_at timestamptz default null,
    rows_processed bigint default null
) returns table (status text, retry_id uuid, retry_after timestamptz)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    cancelled boolean;
begin
    run := connectors.leased_run(fail_connector_job.run_id, fail_connector_job.lease_token);
    cancelled := fail_connector_job.error_class = 'cancelled';
    begin
        update connectors.connector_runs as r
        set status = case when cancelled then 'cancelled' else 'failed' end,
            ended_at = clock_timestamp(),
            lease_until = null,
            error_class = fail_connector_job.error_class,
            error_summary = coalesce(nullif(btrim(left(fail_connector_job.error_summary, 4000)), ''), 'no reason given'),
            exit_code = fail_connector_job.exit_code,
            retry_at = fail_connector_job.retry_at,
            rows_processed = coalesce(fail_connector_job.rows_processed, (
                select sum(s.rows_received - s.rows_dead) from connectors.run_streams as s where s.run_id = run.id), 0)
        where r.id = run.id
        returning r.* into run;
    exception when check_violation then
        raise sqlstate 'PT422' using
            message = format('Error class %L is unknown.', fail_connector_job.error_class),
            hint = 'Use configuration, credentials, try_again_later, tap, target, transform, database, '
                'dead_letters, state, timeout, worker_lost, internal or cancelled.';
    end;
    retry_id := connectors.queue_retry(run);
    status := run.status;
    select r.run_after into retry_after from connectors.connector_runs as r where r.id = retry_id;
    return next;
end
$$;
comment on function connectors.fail_connector_job(uuid, uuid, text, text, integer, timestamptz, bigint) is
    'Ends a run badly (or as cancelled) and queues a retry where class and attempts allow.';

create function connectors.cancel_connector_job(run_id uuid, reason text default null) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
begin
    select r.* into run from connectors.connector_runs as r where r.id = cancel_connector_job.run_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s does not exist.', cancel_connector_job.run_id),
            hint = 'List the runs with connector_runs_list().';
    end if;
    if run.status = 'queued' then
        update connectors.connector_runs as r
        set status = 'cancelled', ended_at = clock_timestamp(), cancel_requested_at = clock_timestamp(),
            error_class = 'cancelled',
            error_summary = coalesce(nullif(btrim(left(cancel_connector_job.reason, 4000)), ''), 'cancelled by ' || session_user)
        where r.id = run.id;
        return 'cancelled';
    elsif run.status = 'running' then
        update connectors.connector_runs as r set cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp())
        where r.id = run.id;
        return 'running';
    end if;
    return 'finished';
end
$$;
comment on function connectors.cancel_connector_job(uuid, text) is
    'cancelled: it was queued; running: its worker learns it at the next heartbeat; finished: too late.';

create function connectors.run_connector(
    instance_id text, mode text default null, streams text[] default null, dedupe_key text default null
) returns uuid
language sql volatile security definer set search_path = '' as $$
    select connectors.enqueue_connector_job(
        run_connector.instance_id, run_connector.mode, run_connector.streams, 'rpc', run_connector.dedupe_key)
$$;
comment on function connectors.run_connector(text, text, text[], text) is
    'Queues a run of an instance and returns its id at once; follow it with connector_status(run_id).';
