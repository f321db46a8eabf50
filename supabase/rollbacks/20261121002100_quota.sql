-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121002100_quota, with the limits that were set and the usage counted.

create or replace function connectors.record_run_streams(run_id uuid, lease_token uuid, streams jsonb) returns integer
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

drop function connectors.purge_quota_usage(integer);
drop function connectors.set_quota_limit(text, text, numeric, integer, bigint, integer, integer);
drop function connectors.set_source_limit(text, integer);
drop function connectors.park_connector_runs(text, text, timestamptz, text);
drop function connectors.record_quota_usage(uuid, uuid, jsonb);
drop function connectors.count_quota_usage(uuid, bigint);
drop trigger connector_runs_ended on connectors.connector_runs;
drop function connectors.return_quota_share();
drop function connectors.quota_share(uuid);
drop function connectors.take_quota_share(uuid, boolean);
drop view connectors.quota_forecast;
drop view connectors.quota_standing;
drop trigger connector_instances_quota on connectors.connector_instances;
drop function connectors.find_quota_bucket();
drop index connectors.connector_instances_quota_idx;
drop index connectors.connector_runs_waiting_idx;
alter table connectors.connector_runs drop column quota;
alter table connectors.connector_instances drop column quota, drop column quota_key;
drop table connectors.quota_usage;
drop table connectors.quota_shares;
drop table connectors.quota_buckets;
drop table connectors.source_limits;

notify pgrst, 'reload schema';
