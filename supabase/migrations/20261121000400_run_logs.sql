-- SPDX-License-Identifier: Apache-2.0
-- Run logs, one partition per day (UTC): old days are dropped, never deleted row by row. No
-- scheduler is needed: the functions that write logs create the partitions they need.

create table connectors.run_logs (
    run_id uuid not null,
    seq bigint not null,
    at timestamptz not null,
    level text not null default 'info',
    stream text,
    source text not null,
    message text not null,
    fields jsonb not null default '{}',
    constraint run_logs_pkey primary key (run_id, seq, at),
    constraint run_logs_level_known check (level in ('debug', 'info', 'warning', 'error', 'critical')),
    constraint run_logs_source_known check (source in ('tap', 'target', 'dbt', 'runner')),
    constraint run_logs_fields_is_object check (jsonb_typeof(fields) = 'object')
) partition by range (at);
comment on table connectors.run_logs is 'Log lines of runs, partitioned by day; kept at least 90 days.';
comment on column connectors.run_logs.run_id is 'The run.';
comment on column connectors.run_logs.seq is 'Number of the line within its run, from 1.';
comment on column connectors.run_logs.at is 'When it was written, bounded to the time around its arrival.';
comment on column connectors.run_logs.level is 'debug, info, warning, error or critical.';
comment on column connectors.run_logs.stream is 'The stream it is about, if one.';
comment on column connectors.run_logs.source is 'Who wrote it: tap, target, dbt or runner.';
comment on column connectors.run_logs.message is 'The text, secrets removed by the runner.';
comment on column connectors.run_logs.fields is 'The rest of a structured line.';

create function connectors.create_log_partition(day date) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
    partition_name text := format('run_logs_%s', to_char(day, 'YYYYMMDD'));
begin
    if to_regclass(format('connectors.%I', partition_name)) is not null then
        return false;
    end if;
    -- One creator at a time; attaching keeps readers and writers of other days going.
    perform pg_advisory_xact_lock(hashtextextended('connectors.create_log_partition', 0));
    -- Asked of the table, not of to_regclass: that one may still remember that there was none.
    if exists (
        select from pg_catalog.pg_class as c
        where c.relnamespace = 'connectors'::regnamespace and c.relname = partition_name
    ) then
        return false;
    end if;
    execute format('create table connectors.%I (like connectors.run_logs including defaults including constraints)',
        partition_name);
    execute format('alter table connectors.%I enable row level security', partition_name);
    execute format('alter table connectors.%I force row level security', partition_name);
    execute format('create policy owner_all on connectors.%I for all to current_user using (true) with check (true)',
        partition_name);
    execute format('revoke all on connectors.%I from public', partition_name);
    execute format('comment on table connectors.%I is %L', partition_name,
        format('Log lines of %s, UTC.', day));
    execute format('alter table connectors.run_logs attach partition connectors.%I for values from (%L) to (%L)',
        partition_name, day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
    return true;
end
$$;
comment on function connectors.create_log_partition(date) is
    'Creates the partition of one day unless it exists; says whether it did.';

create function connectors.ensure_log_partitions(days_ahead integer default 1) returns integer
language sql security definer set search_path = '' as $$
    select count(*) filter (where connectors.create_log_partition(d.day))::integer
    from (
        select ((clock_timestamp() at time zone 'UTC')::date + n)::date as day
        from generate_series(-1, greatest(days_ahead, 1)) as n
    ) as d
$$;
comment on function connectors.ensure_log_partitions(integer) is
    'Creates the partitions from yesterday to some days ahead; returns how many were missing.';

create function connectors.purge_run_logs(keep_days integer default 90) returns setof text
language plpgsql security definer set search_path = '' as $$
declare
    partition_name text;
    oldest date := (clock_timestamp() at time zone 'UTC')::date - keep_days;
begin
    if keep_days is null or keep_days < 90 then
        raise sqlstate 'PT422' using message = format('Logs must be kept at least 90 days, not %s.', keep_days),
            hint = 'Call purge_run_logs(keep_days => 90) or more.';
    end if;
    for partition_name in
        select c.relname
        from pg_catalog.pg_inherits as i
        join pg_catalog.pg_class as c on c.oid = i.inhrelid
        where i.inhparent = 'connectors.run_logs'::regclass
            and c.relname ~ '^run_logs_\d{8}$'
            and to_date(right(c.relname, 8), 'YYYYMMDD') < oldest
        order by c.relname
    loop
        execute format('drop table connectors.%I', partition_name);
        return next partition_name;
    end loop;
end
$$;
comment on function connectors.purge_run_logs(integer) is
    'Drops the partitions of days older than keep_days (at least 90) and names them.';
