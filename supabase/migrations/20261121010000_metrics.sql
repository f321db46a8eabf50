-- SPDX-License-Identifier: Apache-2.0
-- What Prometheus asks for, collected from the tables: counters count all runs there ever were, so
-- that no restart sets them back.

create function connectors.metric_families() returns table (name text, type text, help text)
language sql immutable set search_path = pg_catalog, pg_temp as $$
    values
        ('ipai_runs_total', 'counter', 'Runs that have ended, retries counted one by one.'),
        ('ipai_run_errors_total', 'counter', 'Failed runs by the class of the error.'),
        ('ipai_run_duration_seconds', 'histogram', 'How long runs took from their claim to their end.'),
        ('ipai_runs_running', 'gauge', 'Runs that are running.'),
        ('ipai_instance_last_success_timestamp_seconds', 'gauge', 'When the last run of an instance that succeeded ended.'),
        ('ipai_rows_received_total', 'counter', 'Records that sources delivered.'),
        ('ipai_rows_inserted_total', 'counter', 'Rows that were new in Bronze.'),
        ('ipai_rows_updated_total', 'counter', 'Rows that changed in Bronze.'),
        ('ipai_rows_dead_total', 'counter', 'Records that went to the dead letters.'),
        ('ipai_source_requests_total', 'counter', 'Requests made to sources.'),
        ('ipai_source_bytes_total', 'counter', 'Bytes that sources delivered.'),
        ('ipai_queue_runs', 'gauge', 'Queued runs by what they wait for.'),
        ('ipai_queue_oldest_seconds', 'gauge', 'How long the oldest queued run has been due.'),
        ('ipai_services_alive', 'gauge', 'Workers and schedulers seen within a minute.'),
        ('ipai_worker_slots', 'gauge', 'Runs that all living workers can perform at once.'),
        ('ipai_worker_slots_busy', 'gauge', 'Runs that they perform now.'),
        ('ipai_dead_letters_open', 'gauge', 'Dead letters that were not replayed.'),
        ('ipai_webhook_deliveries', 'gauge', 'Deliveries of events that are pending or dead.'),
        ('ipai_quota_requests_budget', 'gauge', 'Requests that a credential has in the present window.'),
        ('ipai_quota_requests_used', 'gauge', 'Requests of it that are used.'),
        ('ipai_quota_requests_remaining', 'gauge', 'Requests of it that are left.'),
        ('ipai_quota_reset_timestamp_seconds', 'gauge', 'When the window ends.'),
        ('ipai_run_log_partitions', 'gauge', 'Days of run logs that are kept.'),
        ('ipai_run_log_bytes', 'gauge', 'Size of the run logs with their indexes.'),
        ('ipai_database_bytes', 'gauge', 'Size of the database.')
$$;
comment on function connectors.metric_families() is 'All metrics with type and help; internal.';

create function connectors.run_samples() returns table (name text, suffix text, labels jsonb, value double precision)
language sql stable set search_path = pg_catalog, pg_temp as $$
    with bounds as (
        select array[1, 5, 15, 60, 300, 900, 3600, 14400]::double precision[] as le
    ), ended as materialized (
        select e.source, e.status, e.error_class, e.bucket, count(*) as runs, coalesce(sum(e.seconds), 0) as seconds
        from (
            select substr(i.definition_id, length('ipai_connector_') + 1) as source, r.status, r.error_class, t.seconds,
                -- A microsecond less: a bound belongs to the bucket below it.
                width_bucket(t.seconds - 0.000001, (select b.le from bounds as b)) as bucket
            from connectors.connector_runs as r
            join connectors.connector_instances as i on i.id = r.instance_id
            cross join lateral (select extract(epoch from r.ended_at - r.started_at)::double precision as seconds) as t
            where r.status in ('succeeded', 'failed', 'cancelled')
        ) as e
        group by e.source, e.status, e.error_class, e.bucket
    ), timed as (
        select e.source, e.bucket, e.runs, e.seconds from ended as e where e.bucket is not null
    )
    select 'ipai_runs_total', '', jsonb_build_object('source', e.source, 'status', e.status), sum(e.runs)::double precision
    from ended as e group by e.source, e.status
    union all
    select 'ipai_run_errors_total', '', jsonb_build_object('source', e.source, 'error_class', e.error_class), sum(e.runs)
    from ended as e where e.status = 'failed' group by e.source, e.error_class
    union all
    select 'ipai_run_duration_seconds', '_bucket', jsonb_build_object('source', s.source, 'le', u.le::text),
        coalesce((select sum(t.runs) from timed as t where t.source = s.source and t.bucket < u.position), 0)
    from (select distinct t.source from timed as t) as s
    cross join bounds as b
    cross join lateral unnest(b.le) with ordinality as u (le, position)
    union all
    select 'ipai_run_duration_seconds', '_bucket', jsonb_build_object('source', t.source, 'le', '+Inf'), sum(t.runs)
    from timed as t group by t.source
    union all
    select 'ipai_run_duration_seconds', '_count', jsonb_build_object('source', t.source), sum(t.runs)
    from timed as t group by t.source
    union all
    select 'ipai_run_duration_seconds', '_sum', jsonb_build_object('source', t.source), sum(t.seconds)
    from timed as t group by t.source
    union all
    select 'ipai_runs_running', '', jsonb_build_object('source', substr(i.definition_id, length('ipai_connector_') + 1)), count(*)
    from connectors.connector_runs as r
    join connectors.connector_instances as i on i.id = r.instance_id
    where r.status = 'running' group by i.definition_id
    union all
    select 'ipai_instance_last_success_timestamp_seconds', '', jsonb_build_object(
            'instance', i.id, 'source', substr(i.definition_id, length('ipai_connector_') + 1), 'env', i.env),
        extract(epoch from l.ended_at)
    from connectors.connector_instances as i
    cross join lateral (
        select r.ended_at from connectors.connector_runs as r
        where r.instance_id = i.id and r.status = 'succeeded' order by r.queued_at desc limit 1) as l
    where i.status <> 'archived'
$$;
comment on function connectors.run_samples() is 'How runs ended and how long they took; internal.';

create function connectors.stream_samples() returns table (name text, suffix text, labels jsonb, value double precision)
language sql stable set search_path = pg_catalog, pg_temp as $$
    with streams as materialized (
        select substr(i.definition_id, length('ipai_connector_') + 1) as source, s.stream,
            sum(s.rows_received) as received, sum(s.rows_inserted) as inserted, sum(s.rows_updated) as updated,
            sum(s.rows_dead) as dead, sum(s.requests) as requests, sum(s.bytes) as bytes
        from connectors.run_streams as s
        join connectors.connector_runs as r on r.id = s.run_id
        join connectors.connector_instances as i on i.id = r.instance_id
        group by i.definition_id, s.stream
    )
    select v.name, '', jsonb_build_object('source', s.source, 'stream', s.stream), v.value::double precision
    from streams as s
    cross join lateral (values
        ('ipai_rows_received_total', s.received), ('ipai_rows_inserted_total', s.inserted),
        ('ipai_rows_updated_total', s.updated), ('ipai_rows_dead_total', s.dead)) as v (name, value)
    union all
    select v.name, '', jsonb_build_object('source', s.source), v.value
    from (select t.source, sum(t.requests) as requests, sum(t.bytes) as bytes from streams as t group by t.source) as s
    cross join lateral (values
        ('ipai_source_requests_total', s.requests), ('ipai_source_bytes_total', s.bytes)) as v (name, value)
$$;
comment on function connectors.stream_samples() is 'What was read and stored; internal.';

create function connectors.plane_samples() returns table (name text, suffix text, labels jsonb, value double precision)
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select v.name, '', jsonb_build_object('source', q.source_type, 'waits_for', q.waits_for), v.value
    from connectors.connector_queue_depth as q
    cross join lateral (values
        ('ipai_queue_runs', q.runs::double precision),
        ('ipai_queue_oldest_seconds', extract(epoch from q.oldest)::double precision)) as v (name, value)
    union all
    select 'ipai_services_alive', '', jsonb_build_object('kind', k.kind), count(s.name)
    from unnest(array['worker', 'scheduler']) as k (kind)
    left join connectors.service_list() as s on s.kind = k.kind group by k.kind
    union all
    select v.name, '', '{}', v.value
    from (
        select coalesce(sum(s.capacity), 0) as slots, coalesce(sum(s.busy), 0) as busy
        from connectors.service_list() as s where s.kind = 'worker') as w
    cross join lateral (values ('ipai_worker_slots', w.slots), ('ipai_worker_slots_busy', w.busy)) as v (name, value)
    union all
    select 'ipai_dead_letters_open', '', jsonb_build_object('instance', d.instance_id), count(*)
    from connectors.dead_letters as d where d.replayed_at is null group by d.instance_id
    union all
    select 'ipai_webhook_deliveries', '', jsonb_build_object('endpoint', e.id, 'status', v.status), v.value
    from connectors.webhook_list() as e
    cross join lateral (values ('pending', e.pending), ('dead', e.dead)) as v (status, value)
    union all
    select v.name, '', jsonb_build_object('source', q.source_type, 'credential', q.credential_key), v.value
    from connectors.quota_standing as q
    cross join lateral (values
        ('ipai_quota_requests_budget', q.budget::double precision), ('ipai_quota_requests_used', q.used),
        ('ipai_quota_requests_remaining', q.remaining),
        ('ipai_quota_reset_timestamp_seconds', extract(epoch from q.reset_at))) as v (name, value)
    where v.value is not null
    union all
    select v.name, '', '{}', v.value
    from (
        select count(*) as days, coalesce(sum(pg_total_relation_size(i.inhrelid)), 0) as bytes
        from pg_inherits as i where i.inhparent = 'connectors.run_logs'::regclass) as l
    cross join lateral (values
        ('ipai_run_log_partitions', l.days), ('ipai_run_log_bytes', l.bytes),
        ('ipai_database_bytes', pg_database_size(current_database()))) as v (name, value)
$$;
comment on function connectors.plane_samples() is 'Queue, services, dead letters, deliveries, quotas and sizes; internal.';

create function connectors.metrics()
returns table (name text, type text, help text, sample text, labels jsonb, value double precision)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select f.name, f.type, f.help, f.name || s.suffix, s.labels, s.value
    from (
        select * from connectors.run_samples()
        union all
        select * from connectors.stream_samples()
        union all
        select * from connectors.plane_samples()
    ) as s
    join connectors.metric_families() as f on f.name = s.name
    order by f.name, s.labels - 'le', s.suffix, (s.labels ->> 'le')::double precision
$$;
comment on function connectors.metrics() is
    'All samples for Prometheus, grouped by metric; labels name source, instance, stream and so on, never a run.';

revoke all on function
    connectors.metric_families(),
    connectors.run_samples(),
    connectors.stream_samples(),
    connectors.plane_samples(),
    connectors.metrics()
from public;
grant execute on function connectors.metrics() to service_role, ipai_admin, ipai_operator;

notify pgrst, 'reload schema';
