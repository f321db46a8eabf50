-- SPDX-License-Identifier: Apache-2.0
-- Pipelines: steps that run one after the other. A step is a run of an instance, or of dbt, through
-- the queue like any other; what follows is started by whoever looks next.

create table connectors.pipelines (
    name text not null,
    yaml_spec text not null,
    spec jsonb not null,
    version integer not null default 1,
    status text not null default 'active',
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    constraint pipelines_pkey primary key (name),
    constraint pipelines_name_is_slug check (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    constraint pipelines_spec_is_object check (jsonb_typeof(spec) = 'object'),
    constraint pipelines_version_positive check (version > 0),
    constraint pipelines_status_known check (status in ('active', 'paused'))
);
comment on table connectors.pipelines is 'What runs after what: steps of instances and transforms.';
comment on column connectors.pipelines.name is 'Name of the pipeline.';
comment on column connectors.pipelines.yaml_spec is 'The reviewed file, as written.';
comment on column connectors.pipelines.spec is 'The same, parsed: trigger and steps.';
comment on column connectors.pipelines.version is 'Counts the different specs from 1.';
comment on column connectors.pipelines.status is 'active, or paused: started by hand only.';
comment on column connectors.pipelines.created_at is 'When it was first applied.';
comment on column connectors.pipelines.updated_at is 'When it was last changed.';

create table connectors.pipeline_runs (
    id uuid not null default gen_random_uuid(),
    pipeline text not null,
    version integer not null,
    spec jsonb not null,
    triggered_by text not null default 'manual',
    actor text not null default session_user,
    dedupe_key text,
    run_after timestamptz not null default clock_timestamp(),
    started_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    status text not null default 'running',
    error_summary text,
    constraint pipeline_runs_pkey primary key (id),
    constraint pipeline_runs_pipeline_fkey foreign key (pipeline) references connectors.pipelines (name),
    constraint pipeline_runs_status_known check (status in ('running', 'succeeded', 'failed', 'cancelled')),
    constraint pipeline_runs_ended_says_when check ((status = 'running') = (ended_at is null))
);
create unique index pipeline_runs_one_running_idx on connectors.pipeline_runs (pipeline) where status = 'running';
create unique index pipeline_runs_dedupe_idx on connectors.pipeline_runs (pipeline, dedupe_key) where dedupe_key is not null;
create index pipeline_runs_recent_idx on connectors.pipeline_runs (pipeline, started_at desc);
comment on table connectors.pipeline_runs is 'One row per run of a pipeline, with the spec it began with; one at a time.';
comment on column connectors.pipeline_runs.id is 'Id of this run.';
comment on column connectors.pipeline_runs.pipeline is 'The pipeline.';
comment on column connectors.pipeline_runs.version is 'Version of its spec when this run began.';
comment on column connectors.pipeline_runs.spec is 'That spec: a change does not touch a run that has begun.';
comment on column connectors.pipeline_runs.triggered_by is 'manual, schedule, fresh, rpc, … : why it began.';
comment on column connectors.pipeline_runs.actor is 'Database login that started it.';
comment on column connectors.pipeline_runs.dedupe_key is 'Idempotency key: starting it again returns this run.';
comment on column connectors.pipeline_runs.run_after is 'No step begins before.';
comment on column connectors.pipeline_runs.started_at is 'When it was started.';
comment on column connectors.pipeline_runs.ended_at is 'When its last step had ended.';
comment on column connectors.pipeline_runs.status is 'running, succeeded, failed or cancelled.';
comment on column connectors.pipeline_runs.error_summary is 'Which step ended it badly, in a sentence.';

create table connectors.pipeline_steps (
    pipeline_run_id uuid not null,
    step text not null,
    position integer not null,
    instance_id text not null,
    status text not null default 'waiting',
    run_id uuid,
    reason text,
    started_at timestamptz,
    ended_at timestamptz,
    constraint pipeline_steps_pkey primary key (pipeline_run_id, step),
    constraint pipeline_steps_pipeline_run_fkey foreign key (pipeline_run_id)
        references connectors.pipeline_runs (id) on delete cascade,
    constraint pipeline_steps_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete set null,
    constraint pipeline_steps_status_known check (
        status in ('waiting', 'running', 'succeeded', 'fresh', 'failed', 'cancelled', 'skipped'))
);
create index pipeline_steps_run_idx on connectors.pipeline_steps (run_id);
comment on table connectors.pipeline_steps is 'The steps of each run of a pipeline and how far they are.';
comment on column connectors.pipeline_steps.pipeline_run_id is 'The run of the pipeline.';
comment on column connectors.pipeline_steps.step is 'Name of the step.';
comment on column connectors.pipeline_steps.position is 'Its place in the file, from 1.';
comment on column connectors.pipeline_steps.instance_id is 'The instance it runs; a transform has one of its own.';
comment on column connectors.pipeline_steps.status is
    'waiting, running, succeeded, fresh (recent enough, not run), failed, cancelled or skipped (an earlier step ended the pipeline).';
comment on column connectors.pipeline_steps.run_id is 'Its first run; retries follow by retry_of.';
comment on column connectors.pipeline_steps.reason is 'Why it ended as it did, where there is something to say.';
comment on column connectors.pipeline_steps.started_at is 'When its run was queued.';
comment on column connectors.pipeline_steps.ended_at is 'When it was seen to have ended.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['pipelines', 'pipeline_runs', 'pipeline_steps'] loop
        execute format('alter table connectors.%I enable row level security', table_name);
        execute format('alter table connectors.%I force row level security', table_name);
        execute format('create policy owner_all on connectors.%I for all to current_user using (true) with check (true)',
            table_name);
        execute format('create policy staff_read on connectors.%I for select to service_role, ipai_admin, ipai_operator using (true)',
            table_name);
        execute format('revoke all on connectors.%I from public', table_name);
        execute format('grant select on connectors.%I to service_role, ipai_admin, ipai_operator', table_name);
    end loop;
end
$row_security$;

-- Applying

create function connectors.transform_instance(pipeline text, step text) returns text
language sql immutable parallel safe set search_path = '' as $$
    select case when length(n.id) <= 63 then n.id
        else left(n.id, 52) || '_' || left(encode(sha256(convert_to(n.id, 'UTF8')), 'hex'), 10) end
    from (select 'transform_' || transform_instance.pipeline || '_' || transform_instance.step as id) as n
$$;
comment on function connectors.transform_instance(text, text) is
    'The instance that stands for a transform step; names of pipelines and steps have no underscore.';

create function connectors.check_pipeline(spec jsonb) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
    step jsonb;
    names text[];
    done text[] := '{}';
    ready text[];
    wrong text;
begin
    if coalesce(jsonb_typeof(check_pipeline.spec -> 'steps'), '') <> 'array'
        or jsonb_array_length(check_pipeline.spec -> 'steps') not between 1 and 100 then
        raise sqlstate 'PT422' using message = 'A pipeline needs a list of 1 to 100 steps.';
    end if;
    if coalesce(jsonb_typeof(check_pipeline.spec -> 'trigger'), 'object') <> 'object'
        or coalesce(jsonb_typeof(check_pipeline.spec #> '{trigger,fresh}'), 'array') <> 'array'
        or coalesce(jsonb_typeof(check_pipeline.spec #> '{trigger,schedule}'), 'string') <> 'string' then
        raise sqlstate 'PT422' using message = 'The trigger of a pipeline is not valid.',
            hint = 'It is an object with a schedule, a timezone and fresh, a list of instances.';
    end if;
    select array_agg(s.value ->> 'name') into names from jsonb_array_elements(check_pipeline.spec -> 'steps') as s;
    for step in select s.value from jsonb_array_elements(check_pipeline.spec -> 'steps') as s loop
        wrong := case
            when coalesce(step ->> 'name', '') !~ '^[a-z0-9][a-z0-9-]{0,39}$' then 'has no valid name'
            when (select count(*) from unnest(names) as n (name) where n.name = step ->> 'name') > 1 then 'is there twice'
            when (step ? 'instance') = (step ? 'select') then 'is not exactly one of an instance and a transform'
            when step ->> 'on_failure' not in ('abort', 'continue') then 'has an unknown on_failure'
            when step ? 'select' and exists (
                select from jsonb_array_elements_text(step -> 'select') as s (text) where s.text !~ '^[^-\s]\S*$')
                then 'has a selector that dbt would not take for one'
            when exists (select from jsonb_array_elements_text(coalesce(step -> 'after', '[]')) as a (name)
                where a.name <> all (names)) then 'comes after a step that does not exist'
            when step ? 'instance' and not exists (
                select from connectors.connector_instances as i where i.id = step ->> 'instance')
                then format('runs the instance %L, which does not exist', step ->> 'instance')
        end;
        if wrong is not null then
            raise sqlstate 'PT422' using message = format('Step %L %s.', step ->> 'name', wrong),
                hint = 'Check the file with `ipai pipeline apply`; instances are created before pipelines.';
        end if;
    end loop;
    while cardinality(done) < cardinality(names) loop
        select array_agg(s.value ->> 'name') into ready
        from jsonb_array_elements(check_pipeline.spec -> 'steps') as s
        where s.value ->> 'name' <> all (done) and not exists (
            select from jsonb_array_elements_text(coalesce(s.value -> 'after', '[]')) as a (name)
            where a.name <> all (done));
        if ready is null then
            raise sqlstate 'PT422' using
                message = format('Steps wait for each other in a circle: %s.', (
                    select string_agg(n.name, ', ') from unnest(names) as n (name) where n.name <> all (done))),
                hint = 'Take one of them out of the after of another.';
        end if;
        done := done || ready;
    end loop;
end
$$;
comment on function connectors.check_pipeline(jsonb) is
    'Raises PT422 for a pipeline that cannot run: unknown names, circles, odd selectors; internal.';

create function connectors.apply_pipeline(name text, yaml_spec text, spec jsonb)
returns table (pipeline text, version integer, created boolean, changed boolean)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    before connectors.pipelines;
    step jsonb;
begin
    perform connectors.check_pipeline(apply_pipeline.spec);
    if coalesce(apply_pipeline.name, '') !~ '^[a-z0-9][a-z0-9-]{0,39}$' then
        raise sqlstate 'PT422' using message = format('Pipeline name %L is not valid.', apply_pipeline.name),
            hint = 'Use up to 40 lower-case letters, digits and dashes, e.g. nightly-report.';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('connectors.pipeline:' || apply_pipeline.name, 0));
    if jsonb_path_exists(apply_pipeline.spec, '$.steps[*].select') then
        perform connectors.register_connector_definition('transform', 'source_type: transform',
            '{"source_type": "transform", "title": "dbt", "sync_mode": "full_table", "streams": [], "settings": {}}');
    end if;
    for step in select s.value from jsonb_array_elements(apply_pipeline.spec -> 'steps') as s where s.value ? 'select' loop
        perform connectors.create_connector_instance(
            instance_id => connectors.transform_instance(apply_pipeline.name, step ->> 'name'),
            definition_id => 'ipai_connector_transform',
            config => jsonb_build_object('select', step -> 'select'),
            env => 'platform');
    end loop;
    select p.* into before from connectors.pipelines as p where p.name = apply_pipeline.name;
    if before.name is null then
        insert into connectors.pipelines as p (name, yaml_spec, spec)
        values (apply_pipeline.name, apply_pipeline.yaml_spec, apply_pipeline.spec);
        return query select apply_pipeline.name, 1, true, true;
    elsif (before.yaml_spec, before.spec) is distinct from (apply_pipeline.yaml_spec, apply_pipeline.spec) then
        update connectors.pipelines as p
        set yaml_spec = apply_pipeline.yaml_spec, spec = apply_pipeline.spec, version = p.version + 1,
            updated_at = clock_timestamp()
        where p.name = apply_pipeline.name;
        return query select before.name, before.version + 1, false, true;
    else
        return query select before.name, before.version, false, false;
    end if;
end
$$;
comment on function connectors.apply_pipeline(text, text, jsonb) is
    'Creates a pipeline or brings it up to date; calling it again changes nothing. Runs that have begun keep their spec.';

create function connectors.set_pipeline_status(name text, status text) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if coalesce(set_pipeline_status.status, '') not in ('active', 'paused') then
        raise sqlstate 'PT422' using message = format('Status %L is unknown.', set_pipeline_status.status),
            hint = 'Use active or paused.';
    end if;
    update connectors.pipelines as p set status = set_pipeline_status.status, updated_at = clock_timestamp()
    where p.name = set_pipeline_status.name;
    if not found then
        raise sqlstate 'PT404' using message = format('Pipeline %L does not exist.', set_pipeline_status.name),
            hint = 'List the pipelines with pipeline_list().';
    end if;
    return set_pipeline_status.status;
end
$$;
comment on function connectors.set_pipeline_status(text, text) is 'Pauses a pipeline''s triggers, or makes them active.';

-- Running

create function connectors.run_pipeline(
    name text, triggered_by text default 'rpc', dedupe_key text default null, run_after timestamptz default null
) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    pipeline connectors.pipelines;
    busy uuid;
    new_id uuid;
begin
    select p.* into pipeline from connectors.pipelines as p where p.name = run_pipeline.name for no key update;
    if not found then
        raise sqlstate 'PT404' using message = format('Pipeline %L does not exist.', run_pipeline.name),
            hint = 'List the pipelines with pipeline_list().';
    end if;
    select r.id into new_id from connectors.pipeline_runs as r
    where r.pipeline = pipeline.name and r.dedupe_key = run_pipeline.dedupe_key;
    if new_id is not null then
        return new_id;
    end if;
    select r.id into busy from connectors.pipeline_runs as r where r.pipeline = pipeline.name and r.status = 'running';
    if busy is not null then
        raise sqlstate 'PT409' using message = format('Pipeline %L is running: %s.', pipeline.name, busy),
            hint = 'Wait for its end, or cancel it with cancel_pipeline(run_id).';
    end if;
    insert into connectors.pipeline_runs as r (pipeline, version, spec, triggered_by, dedupe_key, run_after)
    values (pipeline.name, pipeline.version, pipeline.spec, coalesce(run_pipeline.triggered_by, 'rpc'),
        run_pipeline.dedupe_key, coalesce(run_pipeline.run_after, clock_timestamp()))
    returning r.id into new_id;
    insert into connectors.pipeline_steps as s (pipeline_run_id, step, position, instance_id)
    select new_id, t.value ->> 'name', t.number,
        coalesce(t.value ->> 'instance', connectors.transform_instance(pipeline.name, t.value ->> 'name'))
    from jsonb_array_elements(pipeline.spec -> 'steps') with ordinality as t (value, number);
    perform connectors.advance_pipeline(new_id);
    return new_id;
end
$$;
comment on function connectors.run_pipeline(text, text, text, timestamptz) is
    'Starts a pipeline and returns the id of its run at once; follow it with pipeline_status(run_id). One at a time.';

create function connectors.last_attempt(run_id uuid) returns connectors.connector_runs
language sql stable security definer set search_path = '' as $$
    with recursive attempts (id, number) as (
        select last_attempt.run_id, 0
        union all
        select r.id, a.number + 1 from attempts as a join connectors.connector_runs as r on r.retry_of = a.id
    )
    select r.* from attempts as a join connectors.connector_runs as r on r.id = a.id order by a.number desc limit 1
$$;
comment on function connectors.last_attempt(uuid) is 'The newest of the runs that repeat a run, or itself; internal.';

create function connectors.start_step(run connectors.pipeline_runs, step jsonb) returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    instance text := coalesce(step ->> 'instance', connectors.transform_instance(run.pipeline, step ->> 'name'));
    last_good timestamptz;
    new_id uuid;
    trouble text;
begin
    if step ? 'max_age_seconds' then
        select max(r.ended_at) into last_good from connectors.connector_runs as r
        where r.instance_id = instance and r.status = 'succeeded';
        if last_good > clock_timestamp() - make_interval(secs => (step ->> 'max_age_seconds')::double precision) then
            update connectors.pipeline_steps as s
            set status = 'fresh', reason = format('succeeded at %s', last_good), ended_at = clock_timestamp()
            where s.pipeline_run_id = run.id and s.step = start_step.step ->> 'name';
            return;
        end if;
    end if;
    begin
        new_id := connectors.enqueue_connector_job(
            instance_id => instance,
            mode => step ->> 'mode',
            streams => case when step ? 'streams' then array(select jsonb_array_elements_text(step -> 'streams')) end,
            triggered_by => 'pipeline',
            dedupe_key => format('pipeline:%s:%s:%s', run.pipeline, run.id, step ->> 'name'));
    exception when sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT422' then
        get stacked diagnostics trouble = message_text;
    end;
    update connectors.pipeline_steps as s
    set status = case when trouble is null then 'running' else 'failed' end,
        run_id = new_id,
        reason = trouble,
        started_at = clock_timestamp(),
        ended_at = case when trouble is not null then clock_timestamp() end
    where s.pipeline_run_id = run.id and s.step = start_step.step ->> 'name';
end
$$;
comment on function connectors.start_step(connectors.pipeline_runs, jsonb) is
    'Queues the run of a step, or notes that it is fresh or cannot be queued; internal.';

create function connectors.advance_pipeline(run_id uuid) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.pipeline_runs;
    step jsonb;
    bad text;
    started integer;
begin
    select r.* into run from connectors.pipeline_runs as r
    where r.id = advance_pipeline.run_id and r.status = 'running' and r.run_after <= clock_timestamp()
    for no key update skip locked;
    if not found then
        return null; -- it has ended, or somebody else is at it
    end if;
    update connectors.pipeline_steps as s
    set status = l.status, reason = l.error_summary, ended_at = clock_timestamp()
    from connectors.pipeline_steps as o
    cross join lateral connectors.last_attempt(o.run_id) as l
    where s.pipeline_run_id = run.id and s.status = 'running'
        and o.pipeline_run_id = s.pipeline_run_id and o.step = s.step
        and l.status in ('succeeded', 'failed', 'cancelled');
    loop
        select s.step into bad
        from connectors.pipeline_steps as s
        join jsonb_array_elements(run.spec -> 'steps') as t on t.value ->> 'name' = s.step
        where s.pipeline_run_id = run.id and s.status in ('failed', 'cancelled')
            and coalesce(t.value ->> 'on_failure', 'abort') = 'abort'
        order by s.ended_at limit 1;
        if bad is not null then
            update connectors.pipeline_steps as s
            set status = 'skipped', reason = format('step %s ended the pipeline', bad), ended_at = clock_timestamp()
            where s.pipeline_run_id = run.id and s.status = 'waiting';
        end if;
        started := 0;
        for step in
            select t.value from jsonb_array_elements(run.spec -> 'steps') as t
            join connectors.pipeline_steps as s on s.pipeline_run_id = run.id and s.step = t.value ->> 'name'
            where s.status = 'waiting' and not exists (
                select from jsonb_array_elements_text(coalesce(t.value -> 'after', '[]')) as a (name)
                join connectors.pipeline_steps as b on b.pipeline_run_id = run.id and b.step = a.name
                where b.status in ('waiting', 'running'))
            order by s.position
        loop
            perform connectors.start_step(run, step);
            started := started + 1;
        end loop;
        exit when started = 0; -- a step that was fresh, or failed at once, may let others begin
    end loop;
    if exists (select from connectors.pipeline_steps as s
        where s.pipeline_run_id = run.id and s.status in ('waiting', 'running')) then
        return 'running';
    end if;
    update connectors.pipeline_runs as r
    set status = case when bad is null then 'succeeded' else 'failed' end,
        ended_at = clock_timestamp(),
        error_summary = (
            select format('Step %s %s: %s', s.step, s.status, coalesce(s.reason, 'no reason given'))
            from connectors.pipeline_steps as s where s.pipeline_run_id = run.id and s.step = bad)
    where r.id = run.id;
    return case when bad is null then 'succeeded' else 'failed' end;
end
$$;
comment on function connectors.advance_pipeline(uuid) is
    'Starts the steps whose turn has come and ends the run of a pipeline after its last; internal.';

create function connectors.start_fresh_pipelines() returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    pipeline connectors.pipelines;
    since timestamptz;
    newest timestamptz;
begin
    for pipeline in
        select p.* from connectors.pipelines as p
        where p.status = 'active' and jsonb_array_length(coalesce(p.spec #> '{trigger,fresh}', '[]')) > 0
            and not exists (select from connectors.pipeline_runs as r where r.pipeline = p.name and r.status = 'running')
        order by p.name for no key update skip locked
    loop
        select coalesce(max(r.started_at), pipeline.created_at) into since
        from connectors.pipeline_runs as r where r.pipeline = pipeline.name;
        -- Its own runs do not count: it would start itself for ever.
        select case when count(l.at) = count(*) then max(l.at) end into newest
        from jsonb_array_elements_text(pipeline.spec #> '{trigger,fresh}') as f (instance)
        cross join lateral (
            select max(r.ended_at) as at from connectors.connector_runs as r
            where r.instance_id = f.instance and r.status = 'succeeded' and r.ended_at > since
                and coalesce(r.dedupe_key, '') not like 'pipeline:' || pipeline.name || ':%'
        ) as l;
        if newest is not null then
            perform connectors.run_pipeline(pipeline.name, 'fresh', 'fresh:' || newest);
        end if;
    end loop;
end
$$;
comment on function connectors.start_fresh_pipelines() is
    'Starts the pipelines all of whose fresh instances have succeeded since they last began; internal.';

create function connectors.advance_pipelines() returns table (pipeline text, run_id uuid, status text)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    trouble text;
begin
    perform connectors.start_fresh_pipelines();
    for pipeline, run_id in
        select r.pipeline, r.id from connectors.pipeline_runs as r
        where r.status = 'running' and r.run_after <= clock_timestamp() order by r.started_at
    loop
        begin
            status := connectors.advance_pipeline(run_id);
        exception when others then
            -- One that is broken must not stop the others; what passes by itself is tried again.
            get stacked diagnostics trouble = message_text;
            continue when sqlstate similar to '(40|53|55)%';
            update connectors.pipeline_steps as s
            set status = 'skipped', reason = 'the pipeline broke', ended_at = clock_timestamp()
            where s.pipeline_run_id = run_id and s.status in ('waiting', 'running');
            update connectors.pipeline_runs as r
            set status = 'failed', ended_at = clock_timestamp(), error_summary = 'It cannot go on: ' || trouble
            where r.id = run_id and r.status = 'running';
            status := 'failed';
        end;
        if status in ('succeeded', 'failed') then
            return next;
        end if;
    end loop;
end
$$;
comment on function connectors.advance_pipelines() is
    'Moves all running pipelines on and starts those whose data is fresh; returns what has ended. Anybody may call it, any number of times.';

create function connectors.cancel_pipeline(run_id uuid, reason text default null) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.pipeline_runs;
    step connectors.pipeline_steps;
begin
    select r.* into run from connectors.pipeline_runs as r where r.id = cancel_pipeline.run_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s of a pipeline does not exist.', cancel_pipeline.run_id),
            hint = 'List the pipelines with pipeline_list().';
    end if;
    if run.status <> 'running' then
        return 'finished';
    end if;
    for step in
        select s.* from connectors.pipeline_steps as s
        where s.pipeline_run_id = run.id and s.status = 'running' order by s.position
    loop
        perform connectors.cancel_connector_job((connectors.last_attempt(step.run_id)).id,
            coalesce(cancel_pipeline.reason, 'Its pipeline was cancelled.'));
    end loop;
    update connectors.pipeline_steps as s
    set status = 'cancelled', reason = 'the pipeline was cancelled', ended_at = clock_timestamp()
    where s.pipeline_run_id = run.id and s.status in ('waiting', 'running');
    update connectors.pipeline_runs as r
    set status = 'cancelled', ended_at = clock_timestamp(),
        error_summary = coalesce(nullif(btrim(cancel_pipeline.reason), ''), 'cancelled by ' || session_user)
    where r.id = run.id;
    return 'cancelled';
end
$$;
comment on function connectors.cancel_pipeline(uuid, text) is
    'Ends the run of a pipeline: what is queued is cancelled, what runs is told to end; finished: too late.';

-- Reading

create function connectors.pipeline_list() returns table (
    name text, version integer, status text, steps integer, schedule text, timezone text, fresh jsonb,
    last_run_id uuid, last_status text, last_started_at timestamptz, last_ended_at timestamptz, last_error_summary text)
language sql stable security definer set search_path = '' as $$
    select p.name, p.version, p.status, jsonb_array_length(p.spec -> 'steps'), p.spec #>> '{trigger,schedule}',
        p.spec #>> '{trigger,timezone}', coalesce(p.spec #> '{trigger,fresh}', '[]'),
        l.id, l.status, l.started_at, l.ended_at, l.error_summary
    from connectors.pipelines as p
    left join lateral (
        select r.* from connectors.pipeline_runs as r where r.pipeline = p.name order by r.started_at desc limit 1
    ) as l on true
    order by p.name
$$;
comment on function connectors.pipeline_list() is 'All pipelines with their last run.';

create function connectors.pipeline_status(run_id uuid) returns table (
    id uuid, pipeline text, version integer, triggered_by text, status text, started_at timestamptz, ended_at timestamptz,
    error_summary text, steps jsonb)
language plpgsql stable security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if not exists (select from connectors.pipeline_runs as r where r.id = pipeline_status.run_id) then
        raise sqlstate 'PT404' using message = format('Run %s of a pipeline does not exist.', pipeline_status.run_id),
            hint = 'List the pipelines with pipeline_list().';
    end if;
    return query
        select r.id, r.pipeline, r.version, r.triggered_by, r.status, r.started_at, r.ended_at, r.error_summary, (
            select jsonb_agg(jsonb_build_object(
                'step', s.step, 'instance_id', s.instance_id, 'status', s.status, 'run_id', a.id, 'run_status', a.status,
                'rows_processed', a.rows_processed, 'attempt', a.attempt, 'reason', s.reason,
                'started_at', s.started_at, 'ended_at', s.ended_at) order by s.position)
            from connectors.pipeline_steps as s
            left join lateral connectors.last_attempt(s.run_id) as a on s.run_id is not null
            where s.pipeline_run_id = r.id)
        from connectors.pipeline_runs as r where r.id = pipeline_status.run_id;
end
$$;
comment on function connectors.pipeline_status(uuid) is 'A run of a pipeline with its steps and their newest runs.';

revoke execute on function
    connectors.transform_instance(text, text),
    connectors.check_pipeline(jsonb),
    connectors.apply_pipeline(text, text, jsonb),
    connectors.set_pipeline_status(text, text),
    connectors.run_pipeline(text, text, text, timestamptz),
    connectors.last_attempt(uuid),
    connectors.start_step(connectors.pipeline_runs, jsonb),
    connectors.advance_pipeline(uuid),
    connectors.start_fresh_pipelines(),
    connectors.advance_pipelines(),
    connectors.cancel_pipeline(uuid, text),
    connectors.pipeline_list(),
    connectors.pipeline_status(uuid)
from public;
grant execute on function connectors.apply_pipeline(text, text, jsonb) to service_role, ipai_admin;
grant execute on function connectors.set_pipeline_status(text, text) to service_role, ipai_admin, ipai_operator;
grant execute on function connectors.advance_pipelines() to service_role, ipai_admin, ipai_operator, ipai_worker;
grant execute on function
    connectors.run_pipeline(text, text, text, timestamptz),
    connectors.cancel_pipeline(uuid, text),
    connectors.pipeline_list(),
    connectors.pipeline_status(uuid)
to service_role, ipai_admin, ipai_operator, ipai_agent;

notify pgrst, 'reload schema';
