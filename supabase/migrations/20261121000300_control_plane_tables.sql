-- SPDX-License-Identifier: Apache-2.0
-- The tables of the control plane. Nobody writes them directly: every change goes through a function
-- (later migrations), so that no client can step around a rule.

create schema if not exists connectors;
comment on schema connectors is 'Control plane: definitions, instances, runs, state, logs and the functions that change them.';

create table connectors.connector_definitions (
    id text not null,
    type text not null,
    yaml_spec text not null,
    version integer not null,
    enabled boolean not null default true,
    spec jsonb not null,
    spec_hash text not null,
    created_at timestamptz not null default now(),
    constraint connector_definitions_pkey primary key (id, version),
    constraint connector_definitions_id_names_type check (id = 'ipai_connector_' || type),
    constraint connector_definitions_type_is_name check (type ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$' and length(type) <= 40),
    constraint connector_definitions_version_positive check (version > 0),
    constraint connector_definitions_spec_is_object check (jsonb_typeof(spec) = 'object'),
    constraint connector_definitions_hash_is_sha256 check (spec_hash ~ '^[0-9a-f]{64}$')
);
comment on table connectors.connector_definitions is 'One row per version of a connector''s spec; a version never changes, only its enabled flag.';
comment on column connectors.connector_definitions.id is 'ipai_connector_<type>.';
comment on column connectors.connector_definitions.type is 'Source type, e.g. github.';
comment on column connectors.connector_definitions.yaml_spec is 'The reviewed connector.yaml, as written.';
comment on column connectors.connector_definitions.version is 'Counts the different specs of this connector from 1.';
comment on column connectors.connector_definitions.enabled is 'False: no new runs of instances of this version.';
comment on column connectors.connector_definitions.spec is 'The same spec parsed, for SQL.';
comment on column connectors.connector_definitions.spec_hash is 'SHA-256 of yaml_spec, hexadecimal.';
comment on column connectors.connector_definitions.created_at is 'When this version was registered.';

create table connectors.connector_instances (
    id text not null,
    definition_id text not null,
    definition_version integer not null,
    env text not null default 'dev',
    schedule text,
    status text not null default 'draft',
    config jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint connector_instances_pkey primary key (id),
    constraint connector_instances_definition_fkey foreign key (definition_id, definition_version)
        references connectors.connector_definitions (id, version),
    constraint connector_instances_id_is_slug check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    constraint connector_instances_env_is_name check (env ~ '^[a-z][a-z0-9_-]{0,30}$'),
    constraint connector_instances_schedule_not_blank check (schedule ~ '\S'),
    constraint connector_instances_status_known check (status in ('draft', 'active', 'paused', 'archived')),
    constraint connector_instances_config_is_object check (jsonb_typeof(config) = 'object')
);
create index connector_instances_definition_idx on connectors.connector_instances (definition_id, definition_version);
comment on table connectors.connector_instances is 'A connector set up once: which spec, where, when, with which settings. Never holds secrets.';
comment on column connectors.connector_instances.id is 'Slug; also the suffix of Meltano''s state id and the instance_id of every Bronze row.';
comment on column connectors.connector_instances.definition_id is 'The connector.';
comment on column connectors.connector_instances.definition_version is 'The version of its spec.';
comment on column connectors.connector_instances.env is 'Environment, e.g. dev, staging, production.';
comment on column connectors.connector_instances.schedule is 'Cron expression; null: started by hand or by others.';
comment on column connectors.connector_instances.status is 'draft, active, paused or archived; transitions are checked.';
comment on column connectors.connector_instances.config is 'Settings of the tap without secrets.';
comment on column connectors.connector_instances.created_at is 'When it was created.';
comment on column connectors.connector_instances.updated_at is 'When it was last changed.';

create table connectors.connector_runs (
    id uuid not null default gen_random_uuid(),
    instance_id text not null,
    job_name text not null,
    mode text not null,
    streams text[],
    triggered_by text not null default 'manual',
    actor text not null default session_user,
    priority integer not null default 0,
    dedupe_key text,
    retry_of uuid,
    attempt integer not null default 0,
    max_attempts integer not null default 1,
    queued_at timestamptz not null default clock_timestamp(),
    run_after timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz,
    status text not null default 'queued',
    worker text,
    lease_token uuid,
    lease_until timestamptz,
    heartbeat_at timestamptz,
    cancel_requested_at timestamptz,
    rows_processed bigint not null default 0,
    state_version bigint,
    log_seq bigint not null default 0,
    error_class text,
    error_summary text,
    exit_code integer,
    retry_at timestamptz,
    constraint connector_runs_pkey primary key (id),
    constraint connector_runs_instance_fkey foreign key (instance_id) references connectors.connector_instances (id),
    constraint connector_runs_retry_of_fkey foreign key (retry_of) references connectors.connector_runs (id),
    constraint connector_runs_mode_known check (mode in ('incremental', 'full_table', 'cdc')),
    constraint connector_runs_streams_named check (streams is null or cardinality(streams) > 0),
    constraint connector_runs_status_known check (status in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    constraint connector_runs_error_class_known check (error_class in (
        'configuration', 'credentials', 'try_again_later', 'tap', 'target', 'transform', 'database',
        'dead_letters', 'state', 'timeout', 'worker_lost', 'internal', 'cancelled')),
    constraint connector_runs_counts_not_negative check (
        rows_processed >= 0 and attempt >= 0 and max_attempts > 0 and log_seq >= 0),
    constraint connector_runs_queued_has_no_worker check (status <> 'queued' or (
        started_at is null and ended_at is null and worker is null and lease_token is null and lease_until is null)),
    constraint connector_runs_running_has_lease check (status <> 'running' or (
        started_at is not null and ended_at is null and worker is not null and attempt > 0
        and lease_token is not null and lease_until is not null)),
    constraint connector_runs_finished_has_end check (status not in ('succeeded', 'failed', 'cancelled') or (
        ended_at is not null and lease_until is null)),
    constraint connector_runs_succeeded_has_no_error check (status <> 'succeeded' or (
        started_at is not null and error_class is null and error_summary is null)),
    constraint connector_runs_failed_says_why check (status <> 'failed' or (
        started_at is not null and error_class is not null and error_summary ~ '\S')),
    constraint connector_runs_ends_after_start check (ended_at >= started_at)
);
create unique index connector_runs_one_running_idx on connectors.connector_runs (instance_id) where status = 'running';
create unique index connector_runs_dedupe_idx on connectors.connector_runs (instance_id, dedupe_key)
    where dedupe_key is not null and retry_of is null;
create unique index connector_runs_retry_of_idx on connectors.connector_runs (retry_of) where retry_of is not null;
create index connector_runs_queue_idx on connectors.connector_runs (priority desc, run_after, id) where status = 'queued';
create index connector_runs_lease_idx on connectors.connector_runs (lease_until) where status = 'running';
create index connector_runs_instance_idx on connectors.connector_runs (instance_id, queued_at desc);
create index connector_runs_recent_idx on connectors.connector_runs (queued_at desc);
comment on table connectors.connector_runs is 'One row per attempt to run an instance. A finished run never changes; a retry is a new row.';
comment on column connectors.connector_runs.id is 'Run id; also in every log line and Bronze row.';
comment on column connectors.connector_runs.instance_id is 'What is run.';
comment on column connectors.connector_runs.job_name is 'sync_<source>_<stream>_<mode>; <stream> is "all" when several streams are read.';
comment on column connectors.connector_runs.mode is 'incremental resumes from the state, full_table ignores it, cdc follows the change log.';
comment on column connectors.connector_runs.streams is 'Streams to read; null: all selected ones.';
comment on column connectors.connector_runs.triggered_by is 'manual, schedule, retry, agent, … : why it was queued.';
comment on column connectors.connector_runs.actor is 'Database login that queued it.';
comment on column connectors.connector_runs.priority is 'Higher is claimed first.';
comment on column connectors.connector_runs.dedupe_key is 'Idempotency key: queueing it again returns this run, finished or not.';
comment on column connectors.connector_runs.retry_of is 'The failed run this one repeats.';
comment on column connectors.connector_runs.attempt is 'Counted when claimed, so a run that kills its worker counts too.';
comment on column connectors.connector_runs.max_attempts is 'No retry after this many attempts.';
comment on column connectors.connector_runs.queued_at is 'When it was queued.';
comment on column connectors.connector_runs.run_after is 'Not claimed from the queue before this time.';
comment on column connectors.connector_runs.started_at is 'When a worker claimed it (start_time).';
comment on column connectors.connector_runs.ended_at is 'When it finished, was cancelled or was given up (end_time).';
comment on column connectors.connector_runs.status is 'queued, running, succeeded, failed or cancelled; transitions are checked.';
comment on column connectors.connector_runs.worker is 'Name of the worker that claimed it.';
comment on column connectors.connector_runs.lease_token is 'Fencing token: only its holder may write for this run.';
comment on column connectors.connector_runs.lease_until is 'When the run counts as lost unless a heartbeat moves this on.';
comment on column connectors.connector_runs.heartbeat_at is 'Last heartbeat.';
comment on column connectors.connector_runs.cancel_requested_at is 'When somebody asked to cancel it; the worker learns it by heartbeat.';
comment on column connectors.connector_runs.rows_processed is 'Rows the target has committed.';
comment on column connectors.connector_runs.state_version is 'Last version of the state this run stored.';
comment on column connectors.connector_runs.log_seq is 'Number of its last log line.';
comment on column connectors.connector_runs.error_class is 'Kind of failure; decides whether it is retried.';
comment on column connectors.connector_runs.error_summary is 'What happened, in a sentence, without secrets.';
comment on column connectors.connector_runs.exit_code is 'Exit code of the pipe.';
comment on column connectors.connector_runs.retry_at is 'When the source said to come back.';

create table connectors.run_streams (
    run_id uuid not null,
    stream text not null,
    job_name text not null,
    rows_received bigint not null default 0,
    rows_inserted bigint not null default 0,
    rows_updated bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_dead bigint not null default 0,
    requests bigint not null default 0,
    bytes bigint not null default 0,
    seconds double precision not null default 0,
    skipped_reason text,
    updated_at timestamptz not null default clock_timestamp(),
    constraint run_streams_pkey primary key (run_id, stream),
    constraint run_streams_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete cascade,
    constraint run_streams_counts_not_negative check (
        rows_received >= 0 and rows_inserted >= 0 and rows_updated >= 0 and rows_unchanged >= 0
        and rows_dead >= 0 and requests >= 0 and bytes >= 0 and seconds >= 0)
);
comment on table connectors.run_streams is 'Figures per stream of a run, totals so far.';
comment on column connectors.run_streams.run_id is 'The run.';
comment on column connectors.run_streams.stream is 'The stream.';
comment on column connectors.run_streams.job_name is 'sync_<source>_<stream>_<mode>.';
comment on column connectors.run_streams.rows_received is 'Records the target received.';
comment on column connectors.run_streams.rows_inserted is 'Rows new in Bronze.';
comment on column connectors.run_streams.rows_updated is 'Rows changed in Bronze.';
comment on column connectors.run_streams.rows_unchanged is 'Records Bronze already held, or held newer.';
comment on column connectors.run_streams.rows_dead is 'Records put into the dead letters.';
comment on column connectors.run_streams.requests is 'Requests the tap made.';
comment on column connectors.run_streams.bytes is 'Bytes of records received.';
comment on column connectors.run_streams.seconds is 'Time the target spent on them.';
comment on column connectors.run_streams.skipped_reason is 'Why the stream, or part of it, could not be read.';
comment on column connectors.run_streams.updated_at is 'When these figures were written.';

create table connectors.connector_state (
    instance_id text not null,
    state_json jsonb not null default '{}',
    partial_json jsonb,
    version bigint not null default 1,
    run_id uuid,
    updated_at timestamptz not null default clock_timestamp(),
    constraint connector_state_pkey primary key (instance_id),
    constraint connector_state_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete set null,
    constraint connector_state_is_object check (jsonb_typeof(state_json) = 'object'),
    constraint connector_state_partial_is_object check (jsonb_typeof(partial_json) = 'object'),
    constraint connector_state_version_positive check (version > 0)
);
create index connector_state_run_idx on connectors.connector_state (run_id);
comment on table connectors.connector_state is 'Where each instance resumes: the Singer STATE of what is committed in Bronze.';
comment on column connectors.connector_state.instance_id is 'The instance; or Meltano''s whole state id where that names no instance of ours.';
comment on column connectors.connector_state.state_json is 'Singer state, {"bookmarks": {stream: …}}.';
comment on column connectors.connector_state.partial_json is 'State of an unfinished Meltano run, to be merged onto state_json.';
comment on column connectors.connector_state.version is 'Counts the changes; compare-and-set.';
comment on column connectors.connector_state.run_id is 'The run that stored it; null: set by hand or by Meltano.';
comment on column connectors.connector_state.updated_at is 'When it was stored.';

create table connectors.connector_state_history (
    instance_id text not null,
    version bigint not null,
    state_json jsonb not null,
    partial_json jsonb,
    run_id uuid,
    reason text not null,
    actor text not null default session_user,
    saved_at timestamptz not null default clock_timestamp(),
    constraint connector_state_history_pkey primary key (instance_id, version),
    constraint connector_state_history_reason_known check (reason in ('run', 'set', 'rollback', 'meltano', 'delete'))
);
create unique index connector_state_history_run_idx on connectors.connector_state_history (run_id);
comment on table connectors.connector_state_history is 'Past states, newest included: the last one of each run, and each one set otherwise.';
comment on column connectors.connector_state_history.instance_id is 'The instance, or Meltano''s state id.';
comment on column connectors.connector_state_history.version is 'The version this state had.';
comment on column connectors.connector_state_history.state_json is 'The state.';
comment on column connectors.connector_state_history.partial_json is 'Meltano''s partial state, if any.';
comment on column connectors.connector_state_history.run_id is 'The run that stored it.';
comment on column connectors.connector_state_history.reason is 'run, set, rollback, meltano or delete.';
comment on column connectors.connector_state_history.actor is 'Database login that stored it.';
comment on column connectors.connector_state_history.saved_at is 'When it was stored.';

create table connectors.dead_letters (
    id bigint generated always as identity,
    instance_id text not null,
    run_id text,
    source text,
    stream text,
    reason text not null,
    error text,
    raw bytea not null,
    received_at timestamptz not null default clock_timestamp(),
    replayed_at timestamptz,
    constraint dead_letters_pkey primary key (id)
);
create index dead_letters_open_idx on connectors.dead_letters (instance_id, stream, id) where replayed_at is null;
comment on table connectors.dead_letters is 'Records Bronze could not store, with their bytes and the reason, to be replayed.';
comment on column connectors.dead_letters.id is 'Number in order of arrival.';
comment on column connectors.dead_letters.instance_id is 'Whose record it is; also of targets run by hand.';
comment on column connectors.dead_letters.run_id is 'The run that met it.';
comment on column connectors.dead_letters.source is 'Source type.';
comment on column connectors.dead_letters.stream is 'Stream.';
comment on column connectors.dead_letters.reason is 'Short class, e.g. not_json, missing_key.';
comment on column connectors.dead_letters.error is 'What the target said about it.';
comment on column connectors.dead_letters.raw is 'The line as received.';
comment on column connectors.dead_letters.received_at is 'When it was put here.';
comment on column connectors.dead_letters.replayed_at is 'When it was loaded after all.';

create table connectors.stream_schemas (
    instance_id text not null,
    stream text not null,
    version integer not null,
    schema jsonb not null,
    hash text not null,
    run_id uuid,
    first_seen timestamptz not null default clock_timestamp(),
    constraint stream_schemas_pkey primary key (instance_id, stream, version),
    constraint stream_schemas_instance_fkey foreign key (instance_id) references connectors.connector_instances (id),
    constraint stream_schemas_version_positive check (version > 0),
    constraint stream_schemas_is_object check (jsonb_typeof(schema) = 'object')
);
comment on table connectors.stream_schemas is 'Each different schema a stream has announced.';
comment on column connectors.stream_schemas.instance_id is 'The instance.';
comment on column connectors.stream_schemas.stream is 'The stream.';
comment on column connectors.stream_schemas.version is 'Counts the different schemas from 1.';
comment on column connectors.stream_schemas.schema is 'JSON Schema of its records.';
comment on column connectors.stream_schemas.hash is 'SHA-256 of the schema''s canonical text.';
comment on column connectors.stream_schemas.run_id is 'The run that met it first.';
comment on column connectors.stream_schemas.first_seen is 'When that was.';

-- State machines.

create function connectors.check_definition_change() returns trigger
language plpgsql set search_path = '' as $$
begin
    if (to_jsonb(old) - 'enabled') is distinct from (to_jsonb(new) - 'enabled') then
        raise sqlstate 'PT409' using
            message = format('Version %s of %L cannot be changed.', old.version, old.id),
            hint = 'Register the changed spec: it becomes a new version.';
    end if;
    return new;
end
$$;
comment on function connectors.check_definition_change() is 'Keeps registered versions of a spec as they are.';

create function connectors.check_instance_change() returns trigger
language plpgsql set search_path = '' as $$
begin
    if new.id <> old.id then
        raise sqlstate 'PT409' using message = format('Instance %L cannot be renamed.', old.id),
            hint = 'Bronze rows and state carry its id. Create another instance.';
    end if;
    if new.status <> old.status and (old.status, new.status) not in (
        ('draft', 'active'), ('draft', 'archived'), ('active', 'paused'),
        ('paused', 'active'), ('active', 'archived'), ('paused', 'archived')
    ) then
        raise sqlstate 'PT409' using
            message = format('Instance %L is %s and cannot become %s.', old.id, old.status, new.status),
            hint = 'draft becomes active; active and paused change into each other; archived is the end.';
    end if;
    new.updated_at := clock_timestamp();
    return new;
end
$$;
comment on function connectors.check_instance_change() is 'Allows only the transitions of the instance''s state machine.';

create function connectors.check_run_change() returns trigger
language plpgsql set search_path = '' as $$
begin
    if old.status in ('succeeded', 'failed', 'cancelled')
        and (to_jsonb(old) - 'log_seq') is distinct from (to_jsonb(new) - 'log_seq') then
        raise sqlstate 'PT409' using message = format('Run %s has %s and cannot be changed.', old.id, old.status),
            hint = 'Queue a new run.';
    end if;
    if new.status <> old.status and (old.status, new.status) not in (
        ('queued', 'running'), ('queued', 'cancelled'),
        ('running', 'succeeded'), ('running', 'failed'), ('running', 'cancelled')
    ) then
        raise sqlstate 'PT409' using
            message = format('Run %s is %s and cannot become %s.', old.id, old.status, new.status);
    end if;
    return new;
end
$$;
comment on function connectors.check_run_change() is 'Allows only the transitions of the run''s state machine; a finished run is final.';

create trigger connector_definitions_change before update on connectors.connector_definitions
    for each row execute function connectors.check_definition_change();
create trigger connector_instances_change before update on connectors.connector_instances
    for each row execute function connectors.check_instance_change();
create trigger connector_runs_change before update on connectors.connector_runs
    for each row execute function connectors.check_run_change();
