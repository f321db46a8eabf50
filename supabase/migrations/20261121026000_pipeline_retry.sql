-- SPDX-License-Identifier: Apache-2.0
-- A pipeline that failed goes on from what failed: what has succeeded is not done again.

create function connectors.retry_pipeline(run_id uuid) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    before connectors.pipeline_runs;
    pipeline connectors.pipelines;
    busy uuid;
    kept text[] := '{}';
    more text[];
    new_id uuid;
begin
    select r.* into before from connectors.pipeline_runs as r where r.id = retry_pipeline.run_id;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s of a pipeline does not exist.', retry_pipeline.run_id),
            hint = 'List the pipelines with pipeline_list().';
    end if;
    select p.* into pipeline from connectors.pipelines as p where p.name = before.pipeline for no key update;
    select r.id into busy from connectors.pipeline_runs as r where r.pipeline = pipeline.name and r.status = 'running';
    if busy is not null then
        raise sqlstate 'PT409' using message = format('Pipeline %L is running: %s.', pipeline.name, busy),
            hint = 'Wait for its end, or cancel it with cancel_pipeline(run_id).';
    end if;
    if before.status = 'succeeded' then
        raise sqlstate 'PT409' using message = format('Run %s of pipeline %L has succeeded.', before.id, pipeline.name),
            hint = 'Start all of it with run_pipeline(name).';
    end if;
    loop
        -- What has succeeded, is the same in today's spec, and comes after nothing that is done again.
        select array_agg(t.value ->> 'name') into more
        from jsonb_array_elements(pipeline.spec -> 'steps') as t
        join jsonb_array_elements(before.spec -> 'steps') as o on o.value = t.value
        join connectors.pipeline_steps as s on s.pipeline_run_id = before.id and s.step = t.value ->> 'name'
        where s.status in ('succeeded', 'fresh') and s.step <> all (kept) and not exists (
            select from jsonb_array_elements_text(coalesce(t.value -> 'after', '[]')) as a (name)
            where a.name <> all (kept));
        exit when more is null;
        kept := kept || more;
    end loop;
    insert into connectors.pipeline_runs as r (pipeline, version, spec, triggered_by)
    values (pipeline.name, pipeline.version, pipeline.spec, 'retry')
    returning r.id into new_id;
    insert into connectors.pipeline_steps as s (pipeline_run_id, step, position, instance_id, status, reason, ended_at)
    select new_id, t.value ->> 'name', t.number,
        coalesce(t.value ->> 'instance', connectors.transform_instance(pipeline.name, t.value ->> 'name')),
        case when k.is_kept then 'fresh' else 'waiting' end,
        case when k.is_kept then format('succeeded in run %s', before.id) end,
        case when k.is_kept then clock_timestamp() end
    from jsonb_array_elements(pipeline.spec -> 'steps') with ordinality as t (value, number)
    cross join lateral (select t.value ->> 'name' = any (kept) as is_kept) as k;
    perform connectors.advance_pipeline(new_id);
    return new_id;
end
$$;
comment on function connectors.retry_pipeline(uuid) is
    'Starts a pipeline again with the steps of a failed or cancelled run that have not succeeded, and all that comes after them; its spec is today''s.';

revoke execute on all functions in schema connectors from public;
grant execute on function connectors.retry_pipeline(uuid) to service_role, ipai_admin, ipai_operator, ipai_agent;

notify pgrst, 'reload schema';
