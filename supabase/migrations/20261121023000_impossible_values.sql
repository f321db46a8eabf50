-- SPDX-License-Identifier: Apache-2.0
-- Values that no client may store, whichever function it calls: schedules that are none, specs that do
-- not fit their connector, moments that never come, states that would drop what another one says.

create function connectors.cron_number(word text, low integer, high integer, words text[] default '{}') returns integer
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select n.number from (
        select case
            when cron_number.word ~ '^[0-9]{1,9}$' then cron_number.word::integer
            else cron_number.low - 1 + array_position(cron_number.words, lower(cron_number.word)) end
    ) as n (number)
    where n.number between cron_number.low and cron_number.high
$$;
comment on function connectors.cron_number(text, integer, integer, text[]) is
    'A number of a cron field, which may be a name; null when it is none. Internal.';

create function connectors.schedule_problem(schedule text, timezone text default null) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    names constant text[] := array['minute', 'hour', 'day of month', 'month', 'day of week'];
    lows constant integer[] := array[0, 0, 1, 1, 0];
    highs constant integer[] := array[59, 23, 31, 12, 7];
    lengths constant integer[] := array[31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    words text[];
    expression text := btrim(coalesce(schedule_problem.schedule, ''), E' \t\n\r');
    zone text := coalesce(schedule_problem.timezone, 'UTC');
    parts text[];
    item text;
    piece text[];
    low integer;
    high integer;
    stride integer;
    first_day integer := 31;
    longest integer := 0;
begin
    if expression ~ '^(CRON_)?TZ=' then
        zone := substring(expression from '^(?:CRON_)?TZ=(\S*)');
        expression := btrim(regexp_replace(expression, '^\S+', ''), E' \t\n\r');
    end if;
    if zone <> 'UTC' and not exists (select from pg_timezone_names as z where z.name = zone) then
        return format('Time zone %L is unknown. Use a name like Europe/Berlin or UTC.', zone);
    end if;
    if expression in ('@hourly', '@daily', '@weekly', '@monthly', '@yearly') then
        return null;
    end if;
    parts := regexp_split_to_array(expression, '\s+');
    if expression = '' or cardinality(parts) <> 5 then
        return format('Schedule %L has %s field(s) instead of 5. '
            'Write minute, hour, day, month and weekday, e.g. ''17 * * * *''.',
            schedule_problem.schedule, case expression when '' then 0 else cardinality(parts) end);
    end if;
    for field in 1..5 loop
        words := case field
            when 4 then array['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
            when 5 then array['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] else '{}' end;
        foreach item in array string_to_array(parts[field], ',') loop
            piece := regexp_match(item, '^(\*|([0-9a-zA-Z]+)(-([0-9a-zA-Z]+))?)(/([0-9]+))?$');
            low := case piece[1] when '*' then lows[field]
                else connectors.cron_number(piece[2], lows[field], highs[field], words) end;
            high := case when piece[1] = '*' or (piece[5] is not null and piece[3] is null) then highs[field]
                when piece[3] is null then low
                else connectors.cron_number(piece[4], lows[field], highs[field], words) end;
            stride := case when piece[5] is null then 1 else connectors.cron_number(piece[6], 1, highs[field]) end;
            if piece is null or low is null or high is null or stride is null then
                return format('Field %s of the schedule is not valid: %L. Use %s to %s, or ''*''.',
                    names[field], item, lows[field], highs[field]);
            elsif low > high then
                return format('Field %s of the schedule runs backwards: %L. Swap its ends.', names[field], item);
            end if;
            if field = 3 then
                first_day := least(first_day, low);
            elsif field = 4 then
                longest := greatest(longest, (select max(lengths[m]) from generate_series(low, high, stride) as m));
            end if;
        end loop;
    end loop;
    if parts[5] = '*' and first_day > longest then
        return format('Schedule %L never fires: no such day in that month. Use an earlier day.', schedule_problem.schedule);
    end if;
    return null;
end
$$;
comment on function connectors.schedule_problem(text, text) is
    'What is wrong with a cron expression, which may name its time zone as CRON_TZ=; null when nothing is. Internal.';

create function connectors.refuse_schedule(schedule text, timezone text default null) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    problem text := connectors.schedule_problem(refuse_schedule.schedule, refuse_schedule.timezone);
begin
    if problem is not null then
        raise sqlstate 'PT422' using message = substring(problem from '^(.*?[.]) [A-Z]'),
            hint = substring(problem from '^.*?[.] ([A-Z].*)$');
    end if;
end
$$;
comment on function connectors.refuse_schedule(text, text) is 'Raises PT422 with what is wrong with a schedule. Internal.';

create function connectors.check_instance_schedule() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform connectors.refuse_schedule(new.schedule);
    return new;
end
$$;
comment on function connectors.check_instance_schedule() is 'Keeps schedules out that nobody could follow.';
create trigger connector_instances_schedule before insert or update of schedule on connectors.connector_instances
    for each row when (new.schedule is not null and new.schedule <> 'default')
    execute function connectors.check_instance_schedule();

create function connectors.check_pipeline_schedule() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform connectors.refuse_schedule(new.spec #>> '{trigger,schedule}', new.spec #>> '{trigger,timezone}');
    return new;
end
$$;
comment on function connectors.check_pipeline_schedule() is 'Keeps schedules out that nobody could follow.';
create trigger pipelines_schedule before insert or update of spec on connectors.pipelines
    for each row when (new.spec #>> '{trigger,schedule}' is not null)
    execute function connectors.check_pipeline_schedule();

create function connectors.check_definition() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    wrong text;
    next_step text;
begin
    if coalesce(new.spec ->> 'source_type', new.type) <> new.type then
        wrong := format('The spec is of source %L, not of %L.', new.spec ->> 'source_type', new.type);
        next_step := 'Register it as the type that it names.';
    elsif new.spec ->> 'sla_tier' is not null and not exists (
        select from connectors.sla_tiers as t where t.tier = new.spec ->> 'sla_tier') then
        wrong := format('SLA tier %L is unknown.', new.spec ->> 'sla_tier');
        next_step := format('Use %s.', (select string_agg(t.tier, ', ' order by t.max_latency) from connectors.sla_tiers as t));
    elsif new.spec ? 'streams' and (jsonb_typeof(new.spec -> 'streams') <> 'array' or exists (
        select from jsonb_array_elements(case jsonb_typeof(new.spec -> 'streams') when 'array' then new.spec -> 'streams' end) as s
        where coalesce(s.value ->> 'name', '') = '')) then
        wrong := format('The streams of %L are no list of objects with a name.', new.id);
        next_step := 'Write e.g. "streams": [{"name": "issues"}].';
    end if;
    if wrong is not null then
        raise sqlstate 'PT422' using message = wrong, hint = next_step;
    end if;
    if new.spec ->> 'schedule' is not null then
        perform connectors.refuse_schedule(new.spec ->> 'schedule', new.spec ->> 'timezone');
    end if;
    return new;
end
$$;
comment on function connectors.check_definition() is
    'Keeps specs out that the queue could not work with; what else a spec holds is checked by its JSON Schema.';
create trigger connector_definitions_sound before insert on connectors.connector_definitions
    for each row execute function connectors.check_definition();

create function connectors.check_run_values() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if new.rows_processed < 0 then
        raise sqlstate 'PT422' using message = format('A run cannot have processed %s rows.', new.rows_processed),
            hint = 'Leave rows_processed out: what its streams have committed counts then.';
    end if;
    if not isfinite(new.run_after) then
        raise sqlstate 'PT422' using message = format('A run after %s never begins.', new.run_after),
            hint = 'Name a moment, or leave run_after out.';
    end if;
    -- What a source answers must not keep its run from ending.
    if not isfinite(new.retry_at) then
        new.retry_at := null;
    end if;
    return new;
end
$$;
comment on function connectors.check_run_values() is 'Keeps moments that never come and negative counts out of runs.';
create trigger connector_runs_values before insert or update of rows_processed, run_after, retry_at on connectors.connector_runs
    for each row when (new.rows_processed < 0 or not isfinite(new.run_after) or not isfinite(new.retry_at))
    execute function connectors.check_run_values();

create function connectors.end_as_cancelled() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.status := 'cancelled';
    new.error_class := 'cancelled';
    return new;
end
$$;
comment on function connectors.end_as_cancelled() is
    'A run that fails after somebody has cancelled it is cancelled: it is not tried again.';
create trigger connector_runs_ends_cancelled before update of status on connectors.connector_runs
    for each row when (new.status = 'failed' and old.cancel_requested_at is not null)
    execute function connectors.end_as_cancelled();

create function connectors.check_secret_expiry() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise sqlstate 'PT422' using message = format('Secret %L cannot expire at %s.', new.name, new.expires_at),
        hint = 'Leave expires_at out where its issuer names no end.';
end
$$;
comment on function connectors.check_secret_expiry() is 'Keeps moments that never come out of secrets.';
create trigger secrets_expiry before insert or update of expires_at on connectors.secrets
    for each row when (not isfinite(new.expires_at)) execute function connectors.check_secret_expiry();

create function connectors.check_state() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise sqlstate 'PT422' using
        message = format('The bookmarks in the state of %L are no JSON object.', new.instance_id),
        detail = format('They are: %s.', left((new.state_json -> 'bookmarks')::text, 200)),
        hint = 'Singer state looks like {"bookmarks": {"issues": {...}}}.';
end
$$;
comment on function connectors.check_state() is 'Keeps states out that no tap could resume from.';
create trigger connector_state_sound before insert or update of state_json on connectors.connector_state
    for each row when (new.state_json ? 'bookmarks' and jsonb_typeof(new.state_json -> 'bookmarks') not in ('object', 'null'))
    execute function connectors.check_state();

-- A STATE without bookmarks, such as {"currently_syncing": "issues"}, says nothing of those there are.
create or replace function connectors.merge_state(old_state jsonb, new_state jsonb, whole_streams boolean default false) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case
        when jsonb_typeof(old_state -> 'bookmarks') is distinct from 'object'
            or (new_state ? 'bookmarks' and jsonb_typeof(new_state -> 'bookmarks') is distinct from 'object') then new_state
        else (old_state - 'currently_syncing') || new_state || jsonb_build_object(
            'bookmarks',
            (old_state -> 'bookmarks') || coalesce((
                select jsonb_object_agg(n.stream, case
                    when whole_streams
                        or jsonb_typeof(n.bookmark -> 'partitions') is distinct from 'array'
                        or jsonb_typeof(o.bookmark -> 'partitions') is distinct from 'array' then n.bookmark
                    else jsonb_set(n.bookmark, '{partitions}', (n.bookmark -> 'partitions') || coalesce((
                        select jsonb_agg(kept.entry)
                        from connectors.stream_partitions(o.bookmark) as kept
                        where not exists (
                            select from connectors.stream_partitions(n.bookmark) as renewed
                            where renewed.context = kept.context)
                    ), '[]'))
                end)
                from connectors.state_streams(new_state) as n
                left join connectors.state_streams(old_state) as o on o.stream = n.stream
            ), '{}'))
    end
$$;

revoke execute on all functions in schema connectors from public;
