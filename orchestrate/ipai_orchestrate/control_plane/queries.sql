-- SPDX-License-Identifier: Apache-2.0
-- The calls of the control plane. Each query stands under a line with its name.

-- register_definition --
-- Register a connector's spec; a changed one becomes a new version.
select id, version, created
from connectors.register_connector_definition(type => %(type)s, yaml_spec => %(yaml_spec)s, spec => %(spec)s);

-- ensure_instance --
-- Create an instance, or bring its settings up to date.
select id, version, instance_status, created
from connectors.create_connector_instance(
    instance_id => %(instance_id)s, definition_id => %(definition_id)s, config => %(config)s,
    env => %(env)s, schedule => %(schedule)s, definition_version => %(definition_version)s);

-- set_instance_status --
-- Move an instance through draft, active, paused, archived.
select connectors.set_instance_status(instance_id => %(instance_id)s, status => %(status)s) as status;

-- enqueue --
-- Queue a run; the same dedupe key returns the same run.
select connectors.enqueue_connector_job(
    instance_id => %(instance_id)s, mode => %(mode)s, streams => %(streams)s,
    triggered_by => %(triggered_by)s, dedupe_key => %(dedupe_key)s, priority => %(priority)s,
    run_after => %(run_after)s, max_attempts => %(max_attempts)s) as id;

-- claim --
-- Take the next run, or the named one, under a lease.
select id, instance_id, lease_token, lease_until, job_name, mode, streams, attempt, max_attempts,
    triggered_by, env, config, definition_id, definition_version, source_type, spec, state, state_version, quota
from connectors.claim_connector_job(
    worker => %(worker)s, lease_seconds => %(lease_seconds)s, run_id => %(run_id)s, sources => %(sources)s);

-- heartbeat --
-- Renew the lease: ok, cancel or lost.
select connectors.heartbeat_connector_job(
    run_id => %(run_id)s, lease_token => %(lease_token)s, lease_seconds => %(lease_seconds)s) as answer;

-- save_state --
-- Store what the target has committed, merged per stream.
select connectors.save_connector_state(
    run_id => %(run_id)s, lease_token => %(lease_token)s, state => %(state)s, force => %(force)s) as version;

-- complete --
-- End a run well.
select connectors.complete_connector_job(
    run_id => %(run_id)s, lease_token => %(lease_token)s, rows_processed => %(rows_processed)s,
    state => %(state)s, stateless => %(stateless)s) as status;

-- fail --
-- End a run badly, or as cancelled.
select status, retry_id, retry_after from connectors.fail_connector_job(
    run_id => %(run_id)s, lease_token => %(lease_token)s, error_class => %(error_class)s,
    error_summary => %(error_summary)s, exit_code => %(exit_code)s, retry_at => %(retry_at)s,
    rows_processed => %(rows_processed)s);

-- cancel --
-- Cancel what is queued; ask the worker of what is running.
select connectors.cancel_connector_job(run_id => %(run_id)s, reason => %(reason)s) as outcome;

-- reap --
-- End runs whose lease has expired.
select run_id, instance_id, retry_id from connectors.reap_connector_runs();

-- dead_runs --
-- Runs that failed for good.
select * from connectors.dead_connector_runs(
    for_instance => %(instance_id)s, max_rows => %(limit)s, before => %(before)s,
    with_superseded => %(with_superseded)s);

-- requeue --
-- Queue a failed run again.
select connectors.requeue_connector_job(run_id => %(run_id)s, max_attempts => %(max_attempts)s) as id;

-- waiting --
-- Queued runs in the order in which workers take them.
select run_id, instance_id, source_type, job_name, priority, attempt, max_attempts, queued_at, run_after,
    waiting_for, waits_for, park_reason
from connectors.connector_queue
where %(instance_id)s::text is null or instance_id = %(instance_id)s
order by run_after > clock_timestamp(), priority desc, run_after, run_id
limit %(limit)s;

-- quotas --
-- The budgets of all credentials.
select f.source_type, f.credential_key, b.requests_per_second, b.concurrency, f.budget, f.used, f.remaining,
    f.reset_at, f.running_runs, f.granted_per_second, f.pace_per_second, f.exhausted_at, f.exceeded_before_reset
from connectors.quota_forecast as f
join connectors.quota_buckets as b using (source_type, credential_key)
order by f.source_type, f.credential_key;

-- limit_source --
-- Limit how many runs of a source are running at once.
select connectors.set_source_limit(source_type => %(source_type)s, max_running => %(max_running)s) as most;

-- limit_quota --
-- Set the budget of a credential.
select connectors.set_quota_limit(
    source_type => %(source_type)s, credential_key => %(credential_key)s,
    requests_per_second => %(requests_per_second)s::numeric, concurrency => %(concurrency)s::integer,
    window_requests => %(window_requests)s::bigint, window_seconds => %(window_seconds)s::integer) as nothing;

-- append_logs --
-- Add log lines to a run.
select connectors.append_connector_logs(
    run_id => %(run_id)s, lease_token => %(lease_token)s, logs => %(logs)s) as seq;

-- record_streams --
-- Write the totals so far per stream.
select connectors.record_run_streams(
    run_id => %(run_id)s, lease_token => %(lease_token)s, streams => %(streams)s) as written;

-- record_usage --
-- Write what the processes of a run took of the machine.
select connectors.record_run_usage(
    run_id => %(run_id)s, lease_token => %(lease_token)s, usage => %(usage)s) as written;

-- run_costs --
-- What runs took, newest first.
select run_id, instance_id, source, owner, status, started_at, seconds, rows_processed, requests, bytes,
    cpu_seconds, peak_memory_bytes, parts, streams
from connectors.run_cost_list(
    max_rows => %(limit)s, of_instance => %(instance_id)s, of_run => %(run_id)s);

-- record_quota --
-- Write what a run has used of its quota, and what the source says is left.
select connectors.record_quota_usage(
    run_id => %(run_id)s, lease_token => %(lease_token)s, usage => %(usage)s) as share;

-- record_schema --
-- Keep a stream's schema; a changed one becomes a new version.
select connectors.record_stream_schema(
    run_id => %(run_id)s, lease_token => %(lease_token)s, stream => %(stream)s, schema => %(schema)s) as version;

-- instances --
-- Instances with their last run.
select * from connectors.connector_list(
    in_env => %(env)s, in_status => %(status)s, after => %(after)s, max_rows => %(limit)s);

-- runs --
-- Runs, newest first.
select * from connectors.connector_runs_list(
    for_instance => %(instance_id)s, max_rows => %(limit)s, before => %(before)s);

-- runs_that_begin --
-- Runs by the start of their id, newest first.
select id from connectors.find_connector_runs(id_start => %(start)s, max_rows => %(limit)s);

-- run_status --
-- One run with its figures per stream.
select * from connectors.connector_status(run_id => %(run_id)s);

-- logs --
-- Log lines of a run after a number.
select * from connectors.connector_logs(
    run_id => %(run_id)s, after_seq => %(after_seq)s, max_rows => %(limit)s,
    min_level => %(level)s, of_stream => %(stream)s);

-- state_get --
-- The stored state of an instance.
select * from connectors.get_connector_state(instance_id => %(instance_id)s);

-- state_set --
-- Replace the state of an instance by hand.
select connectors.set_connector_state(
    instance_id => %(instance_id)s, state => %(state)s, expected_version => %(expected_version)s) as version;

-- state_history --
-- Past states of an instance, newest first.
select * from connectors.connector_state_versions(instance_id => %(instance_id)s, max_rows => %(limit)s);

-- state_rollback --
-- Make a past state the current one.
select connectors.rollback_connector_state(instance_id => %(instance_id)s, version => %(version)s) as version;

-- meltano_state_get --
-- The state stored for one of Meltano's state ids.
select completed, partial from connectors.get_meltano_state(state_id => %(state_id)s);

-- meltano_state_set --
-- Store what Meltano gives for a state id.
select connectors.set_meltano_state(
    state_id => %(state_id)s, completed => %(completed)s, partial => %(partial)s) as version;

-- meltano_state_delete --
-- Forget the state of one of Meltano's state ids.
select connectors.delete_meltano_state(state_id => %(state_id)s) as deleted;

-- meltano_state_ids --
-- All states by Meltano's state id.
select connectors.meltano_state_ids() as state_id;

-- reference_functions --
-- What each function that a role may call takes and answers.
select p.proname as name,
    array(
        select coalesce(a.name || ' ', '') || format_type(a.kind, null)
            || coalesce(' default ' || regexp_replace(
                replace(pg_get_function_arg_default(p.oid, a.position::integer), 'NULL', 'null'), '::[a-z][a-z ]*(\[\])?$', ''), '')
        from unnest(p.proargtypes::oid[], p.proargnames[1:p.pronargs]) with ordinality as a (kind, name, position)
        order by a.position) as arguments,
    replace(pg_get_function_result(p.oid), 'TABLE(', 'table (') as result,
    coalesce(obj_description(p.oid, 'pg_proc'), '') as comment,
    array(
        select r.name from unnest(%(roles)s::text[]) with ordinality as r (name, position)
        where has_function_privilege(r.name, p.oid, 'execute') order by r.position) as roles
from pg_catalog.pg_proc as p
where p.pronamespace = 'connectors'::regnamespace and exists (
    select from unnest(%(roles)s::text[]) as r (name) where has_function_privilege(r.name, p.oid, 'execute'))
order by p.proname, p.pronargs;

-- reference_relations --
-- Tables and views that a role may read.
select c.relname as name, c.relkind = 'v' as is_view, coalesce(obj_description(c.oid, 'pg_class'), '') as comment,
    array(
        select r.name from unnest(%(roles)s::text[]) with ordinality as r (name, position)
        where has_table_privilege(r.name, c.oid, 'select') order by r.position) as roles
from pg_catalog.pg_class as c
where c.relnamespace = 'connectors'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
    and exists (
        select from unnest(%(roles)s::text[]) as r (name) where has_table_privilege(r.name, c.oid, 'select'))
order by c.relname;
