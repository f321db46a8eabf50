-- SPDX-License-Identifier: Apache-2.0
-- What a worker reports about a run, and what everybody reads about runs.

create function connectors.append_connector_logs(run_id uuid, lease_token uuid, logs jsonb) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    lines integer;
    last_seq bigint;
    earliest timestamptz;
    latest timestamptz := clock_timestamp() + interval '5 minutes';
begin
    if coalesce(jsonb_typeof(append_connector_logs.logs), '') <> 'array' then
        raise sqlstate 'PT422' using message = 'The log lines are not a JSON array.',
            hint = 'Pass [{"at": ..., "level": ..., "stream": ..., "source": ..., "message": ..., "fields": {}}].';
    end if;
    lines := jsonb_array_length(append_connector_logs.logs);
    -- The token alone decides: the last lines of a run arrive after its end, and those of a lost
    -- worker belong to its own run, which they help to explain.
    update connectors.connector_runs as r set log_seq = r.log_seq + lines
    where r.id = append_connector_logs.run_id and r.lease_token = append_connector_logs.lease_token
    returning r.log_seq, greatest(r.started_at, clock_timestamp() - interval '1 day') into last_seq, earliest;
    if not found then
        raise sqlstate 'PT410' using
            message = format('The lease on run %s is not yours.', append_connector_logs.run_id),
            hint = 'Write logs with the token that claim_connector_job returned.';
    end if;
    perform connectors.ensure_log_partitions();
    insert into connectors.run_logs (run_id, seq, at, level, stream, source, message, fields)
    select append_connector_logs.run_id,
        last_seq - lines + l.position,
        least(greatest(coalesce((l.line ->> 'at')::timestamptz, clock_timestamp()), earliest), latest),
        case lower(coalesce(l.line ->> 'level', 'info'))
            when 'warn' then 'warning' when 'fatal' then 'critical' when 'trace' then 'debug' when 'exception' then 'error'
            else case when lower(l.line ->> 'level') in ('debug', 'info', 'warning', 'error', 'critical')
                then lower(l.line ->> 'level') else 'info' end
        end,
        l.line ->> 'stream',
        coalesce(l.line ->> 'source', 'runner'),
        coalesce(l.line ->> 'message', ''),
        case when jsonb_typeof(l.line -> 'fields') = 'object' then l.line -> 'fields' else '{}' end
    from jsonb_array_elements(append_connector_logs.logs) with ordinality as l (line, position);
    return last_seq;
end
$$;
comment on function connectors.append_connector_logs(uuid, uuid, jsonb) is
    'Adds log lines to a run and returns the number of the last one.';

create function connectors.record_run_streams(run_id uuid, lease_token uuid, streams jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    source_type text;
    written integer;
begin
    run := connectors.leased_run(record_run_streams.run_id, record_run_streams.lease_token);
    if coalesce(jsonb_typeof(record_run_streams.streams), '') <> 'array' then
        raise sqlstate 'PT422' using message = 'The figures are not a JSON array.',
            hint = 'Pass [{"stream": ..., "received": n, "inserted": n, "updated": n, "unchanged": n, "dead": n, ...}].';
    end if;
    select d.type into source_type
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    where i.id = run.instance_id;
    insert into connectors.run_streams as s
        (run_id, stream, job_name, rows_received, rows_inserted, rows_updated, rows_unchanged, rows_dead,
            requests, bytes, seconds, skipped_reason)
    select distinct on (n.stream) run.id, n.stream, connectors.job_name(source_type, n.stream, run.mode),
        coalesce(n.received, 0), coalesce(n.inserted, 0), coalesce(n.updated, 0), coalesce(n.unchanged, 0),
        coalesce(n.dead, 0), coalesce(n.requests, 0), coalesce(n.bytes, 0), coalesce(n.seconds, 0), n.skipped_reason
    from jsonb_to_recordset(record_run_streams.streams) as n (
        stream text, received bigint, inserted bigint, updated bigint, unchanged bigint, dead bigint,
        requests bigint, bytes bigint, seconds double precision, skipped_reason text)
    where n.stream is not null
    on conflict on constraint run_streams_pkey do update
        set rows_received = excluded.rows_received, rows_inserted = excluded.rows_inserted,
            rows_updated = excluded.rows_updated, rows_unchanged = excluded.rows_unchanged,
            rows_dead = excluded.rows_dead, requests = excluded.requests, bytes = excluded.bytes,
            seconds = excluded.seconds, skipped_reason = coalesce(excluded.skipped_reason, s.skipped_reason),
            updated_at = clock_timestamp();
    get diagnostics written = row_count;
    update connectors.connector_runs as r
    set rows_processed = (
        select coalesce(sum(s.rows_received - s.rows_dead), 0) from connectors.run_streams as s where s.run_id = run.id)
    where r.id = run.id;
    return written;
end
$$;
comment on function connectors.record_run_streams(uuid, uuid, jsonb) is
    'Writes the totals so far per stream; also updates the run''s rows_processed.';

create function connectors.record_stream_schema(run_id uuid, lease_token uuid, stream text, schema jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    new_hash text := encode(sha256(convert_to(record_stream_schema.schema::text, 'UTF8')), 'hex');
    latest connectors.stream_schemas;
begin
    run := connectors.leased_run(record_stream_schema.run_id, record_stream_schema.lease_token);
    select s.* into latest from connectors.stream_schemas as s
    where s.instance_id = run.instance_id and s.stream = record_stream_schema.stream
    order by s.version desc limit 1;
    if latest.hash = new_hash then
        return latest.version;
    end if;
    insert into connectors.stream_schemas (instance_id, stream, version, schema, hash, run_id)
    values (run.instance_id, record_stream_schema.stream, coalesce(latest.version, 0) + 1,
        record_stream_schema.schema, new_hash, run.id);
    return coalesce(latest.version, 0) + 1;
end
$$;
comment on function connectors.record_stream_schema(uuid, uuid, text, jsonb) is
    'Keeps a stream''s schema; a changed one becomes a new version. Returns the version.';

create function connectors.connector_runs_list(
    for_instance text default null, max_rows integer default 20, before timestamptz default null
) returns table (
    id uuid, instance_id text, job_name text, mode text, streams text[], triggered_by text, attempt integer,
    max_attempts integer, retry_of uuid, status text, queued_at timestamptz, run_after timestamptz,
    started_at timestamptz, ended_at timestamptz, rows_processed bigint, worker text,
    error_class text, error_summary text, exit_code integer, retry_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select r.id, r.instance_id, r.job_name, r.mode, r.streams, r.triggered_by, r.attempt,
        r.max_attempts, r.retry_of, r.status, r.queued_at, r.run_after,
        r.started_at, r.ended_at, r.rows_processed, r.worker,
        r.error_class, r.error_summary, r.exit_code, r.retry_at
    from connectors.connector_runs as r
    where (for_instance is null or r.instance_id = for_instance)
        and (before is null or r.queued_at < before)
    order by r.queued_at desc
    limit least(greatest(coalesce(max_rows, 20), 1), 1000)
$$;
comment on function connectors.connector_runs_list(text, integer, timestamptz) is
    'Runs, newest first; page on by passing the last queued_at as before.';

create function connectors.connector_status(run_id uuid)
returns table (
    id uuid, instance_id text, job_name text, mode text, triggered_by text, attempt integer, max_attempts integer,
    status text, queued_at timestamptz, started_at timestamptz, ended_at timestamptz, rows_processed bigint,
    worker text, lease_until timestamptz, cancel_requested_at timestamptz, state_version bigint, log_seq bigint,
    error_class text, error_summary text, exit_code integer, retry_at timestamptz,
    retry_of uuid, retried_as uuid, streams jsonb)
language plpgsql stable security definer set search_path = '' as $$
#variable_conflict use_column
begin
    return query
        select r.id, r.instance_id, r.job_name, r.mode, r.triggered_by, r.attempt, r.max_attempts,
            r.status, r.queued_at, r.started_at, r.ended_at, r.rows_processed,
            r.worker, r.lease_until, r.cancel_requested_at, r.state_version, r.log_seq,
            r.error_class, r.error_summary, r.exit_code, r.retry_at,
            r.retry_of, n.id,
            coalesce((
                select jsonb_agg(to_jsonb(s) - 'run_id' order by s.stream)
                from connectors.run_streams as s where s.run_id = r.id), '[]')
        from connectors.connector_runs as r
        left join connectors.connector_runs as n on n.retry_of = r.id
        where r.id = connector_status.run_id;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s does not exist.', connector_status.run_id),
            hint = 'List the runs with connector_runs_list().';
    end if;
end
$$;
comment on function connectors.connector_status(uuid) is
    'One run with its figures per stream, and the run that retries it.';

create function connectors.connector_list(
    in_env text default null, in_status text default null, after text default null, max_rows integer default 100
) returns table (
    id text, definition_id text, definition_version integer, source_type text, env text, schedule text,
    status text, last_run_id uuid, last_status text, last_started_at timestamptz, last_ended_at timestamptz,
    last_rows_processed bigint, last_error_summary text, last_succeeded_at timestamptz, state_version bigint)
language sql stable security definer set search_path = '' as $$
    select i.id, i.definition_id, i.definition_version, d.type, i.env, i.schedule, i.status,
        last_run.id, last_run.status, last_run.started_at, last_run.ended_at,
        last_run.rows_processed, last_run.error_summary, good.ended_at, s.version
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    left join connectors.connector_state as s on s.instance_id = i.id
    left join lateral (
        select r.* from connectors.connector_runs as r
        where r.instance_id = i.id order by r.queued_at desc limit 1) as last_run on true
    left join lateral (
        select r.ended_at from connectors.connector_runs as r
        where r.instance_id = i.id and r.status = 'succeeded' order by r.queued_at desc limit 1) as good on true
    where (in_env is null or i.env = in_env)
        and (in_status is null or i.status = in_status)
        and (after is null or i.id > after)
    order by i.id
    limit least(greatest(coalesce(max_rows, 100), 1), 1000)
$$;
comment on function connectors.connector_list(text, text, text, integer) is
    'Instances with their last run, by id; page on by passing the last id as after.';

create function connectors.connector_logs(
    run_id uuid, after_seq bigint default 0, max_rows integer default 200, min_level text default null, of_stream text default null
) returns table (seq bigint, at timestamptz, level text, stream text, source text, message text, fields jsonb)
language plpgsql stable security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    severities text[] := array['debug', 'info', 'warning', 'error', 'critical'];
begin
    select r.* into run from connectors.connector_runs as r where r.id = connector_logs.run_id;
    if not found then
        raise sqlstate 'PT404' using message = format('Run %s does not exist.', connector_logs.run_id),
            hint = 'List the runs with connector_runs_list().';
    end if;
    if min_level is not null and min_level <> all (severities) then
        raise sqlstate 'PT422' using message = format('Level %L is unknown.', min_level),
            hint = 'Use debug, info, warning, error or critical.';
    end if;
    -- The bounds on at let the planner skip the partitions of all other days.
    return query
        select l.seq, l.at, l.level, l.stream, l.source, l.message, l.fields
        from connectors.run_logs as l
        where l.run_id = run.id
            and l.seq > coalesce(connector_logs.after_seq, 0)
            and l.at >= run.queued_at - interval '1 day'
            and l.at <= coalesce(run.ended_at, clock_timestamp()) + interval '2 days'
            and (of_stream is null or l.stream = of_stream)
            and (min_level is null
                or l.level = any (severities[array_position(severities, min_level):]))
        order by l.seq
        limit least(greatest(coalesce(max_rows, 200), 1), 10000);
end
$$;
comment on function connectors.connector_logs(uuid, bigint, integer, text, text) is
    'Log lines of a run after a number, from a severity up; page on by passing the last seq as after_seq.';

-- The names the IPAI Databricks tasks use, over the same rows.

create view connectors.ipai_connector_config with (security_invoker = on) as
select i.id as instance_id, i.definition_id as connector, i.definition_version as version, d.type as source_type,
    i.env, i.schedule, i.status, i.config, d.enabled, i.created_at, i.updated_at
from connectors.connector_instances as i
join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version;
comment on view connectors.ipai_connector_config is 'Configured connectors: a view over connector_instances.';

create view connectors.ipai_connector_run with (security_invoker = on) as
select r.id as run_id, r.instance_id, r.job_name, r.mode, r.status, r.attempt, r.started_at as start_time,
    r.ended_at as end_time, r.rows_processed, r.error_class, r.error_summary
from connectors.connector_runs as r;
comment on view connectors.ipai_connector_run is 'Runs: a view over connector_runs.';
