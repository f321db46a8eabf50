-- SPDX-License-Identifier: Apache-2.0
-- What a worker of any kind may report wrongly: answered in words and with a code of ours, or put
-- right where refusing it would lose the lines that explain a run.

create function connectors.log_moment(moment text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return log_moment.moment::timestamptz;
exception when invalid_datetime_format or datetime_field_overflow or invalid_parameter_value then
    return null;
end
$$;
comment on function connectors.log_moment(text) is 'When a log line says it was written; null when that is no time. Internal.';

create or replace function connectors.append_connector_logs(run_id uuid, lease_token uuid, logs jsonb) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
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
    if append_connector_logs.run_id is null then
        raise sqlstate 'PT422' using message = 'No run is named.',
            hint = 'Pass the run_id that claim_connector_job returned.';
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
        least(greatest(coalesce(connectors.log_moment(l.line ->> 'at'), clock_timestamp()), earliest), latest),
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

create or replace function connectors.leased_run(run_id uuid, lease_token uuid) returns connectors.connector_runs
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
begin
    if leased_run.run_id is null then
        raise sqlstate 'PT422' using message = 'No run is named.',
            hint = 'Pass the run_id that claim_connector_job returned.';
    end if;
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

create function connectors.check_stream_figures() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise sqlstate 'PT422' using message = format('A figure of stream %L is below zero.', new.stream),
        hint = 'Report totals since the run began: received, inserted, updated, unchanged, dead, requests, bytes, seconds.';
end
$$;
comment on function connectors.check_stream_figures() is 'Keeps negative counts out of the figures of streams.';
create trigger run_streams_figures before insert or update on connectors.run_streams
    for each row when (least(new.rows_received, new.rows_inserted, new.rows_updated, new.rows_unchanged,
        new.rows_dead, new.requests, new.bytes, new.seconds) < 0)
    execute function connectors.check_stream_figures();

revoke execute on all functions in schema connectors from public;
