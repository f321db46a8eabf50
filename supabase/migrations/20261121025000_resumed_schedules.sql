-- SPDX-License-Identifier: Apache-2.0
-- What was due during a pause is never made good, also when no scheduler looked while it lasted; and
-- a run is found by the start of its id however many there are.

create function connectors.resume_schedule() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    new.decided_until := greatest(new.decided_until, clock_timestamp());
    return new;
end
$$;
comment on function connectors.resume_schedule() is 'A schedule that goes on after a pause begins now.';
create trigger schedules_resumed before update of paused on connectors.schedules
    for each row when (old.paused and not new.paused and new.decided_until is not null)
    execute function connectors.resume_schedule();

create function connectors.resume_schedule_of() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- A scheduler that holds the row decides its past just now, and locks what we hold after it.
    update connectors.schedules as k set decided_until = greatest(k.decided_until, clock_timestamp())
    where k.subject = (
        select s.subject from connectors.schedules as s
        where s.subject = tg_argv[0] || ':' || coalesce(to_jsonb(new) ->> 'id', to_jsonb(new) ->> 'name')
            and s.decided_until is not null
        for no key update skip locked);
    return null;
end
$$;
comment on function connectors.resume_schedule_of() is
    'The schedule of an instance or pipeline that becomes active again begins now.';
create trigger connector_instances_resumed after update of status on connectors.connector_instances
    for each row when (old.status <> 'active' and new.status = 'active')
    execute function connectors.resume_schedule_of('instance');
create trigger pipelines_resumed after update of status on connectors.pipelines
    for each row when (old.status <> 'active' and new.status = 'active')
    execute function connectors.resume_schedule_of('pipeline');

create function connectors.find_connector_runs(id_start text, max_rows integer default 2)
returns table (id uuid, instance_id text, status text, queued_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    digits text := lower(replace(coalesce(find_connector_runs.id_start, ''), '-', ''));
begin
    if digits !~ '^[0-9a-f]{1,32}$' then
        raise sqlstate 'PT422' using
            message = format('%L is not the start of a run''s id.', find_connector_runs.id_start),
            hint = 'Use hexadecimal digits, as connector_runs_list() shows them.';
    end if;
    return query
        select r.id, r.instance_id, r.status, r.queued_at from connectors.connector_runs as r
        where r.id between rpad(digits, 32, '0')::uuid and rpad(digits, 32, 'f')::uuid
        order by r.queued_at desc
        limit least(greatest(coalesce(find_connector_runs.max_rows, 2), 1), 100);
end
$$;
comment on function connectors.find_connector_runs(text, integer) is
    'Runs whose id begins so, newest first: two of them mean that more digits are needed.';

revoke execute on all functions in schema connectors from public;
grant execute on function connectors.find_connector_runs(text, integer)
    to service_role, ipai_admin, ipai_operator, ipai_agent;

notify pgrst, 'reload schema';
