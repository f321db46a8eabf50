-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121002200_claim.

drop view connectors.sync_success;
drop view connectors.connector_queue_depth;
drop view connectors.connector_queue;
drop function connectors.create_connector_definition(text, text, jsonb);
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
revoke execute on function connectors.claim_connector_job(text, integer, uuid, text[]) from public;
grant execute on function connectors.claim_connector_job(text, integer, uuid, text[]) to service_role, ipai_worker;

create or replace function connectors.explain_unclaimable(run_id uuid) returns void
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

drop function connectors.start_run(uuid, text, integer, boolean);
drop function connectors.source_room(text, boolean);

notify pgrst, 'reload schema';
