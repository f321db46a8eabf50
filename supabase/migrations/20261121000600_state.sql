-- SPDX-License-Identifier: Apache-2.0
-- State: merged per stream and per partition, never emptied or set back by accident, with history.

create function connectors.state_streams(state jsonb) returns table (stream text, bookmark jsonb)
language sql immutable parallel safe set search_path = '' as $$
    select s.key, s.value
    from jsonb_each(case when jsonb_typeof(state -> 'bookmarks') = 'object' then state -> 'bookmarks' else '{}' end) as s
$$;
comment on function connectors.state_streams(jsonb) is 'The bookmarks of a Singer state by stream.';

create function connectors.stream_partitions(bookmark jsonb) returns table (context jsonb, entry jsonb)
language sql immutable parallel safe set search_path = '' as $$
    select p.value -> 'context', p.value
    from jsonb_array_elements(
        case when jsonb_typeof(bookmark -> 'partitions') = 'array' then bookmark -> 'partitions' else '[]' end) as p
$$;
comment on function connectors.stream_partitions(jsonb) is 'The partitions of one stream''s bookmark by context.';

create function connectors.state_cursors(state jsonb) returns table (stream text, context jsonb, cursor jsonb)
language sql immutable parallel safe set search_path = '' as $$
    select s.stream, 'null'::jsonb, s.bookmark -> 'replication_key_value'
    from connectors.state_streams(state) as s
    union all
    select s.stream, coalesce(p.context, 'null'), p.entry -> 'replication_key_value'
    from connectors.state_streams(state) as s
    cross join lateral connectors.stream_partitions(s.bookmark) as p
$$;
comment on function connectors.state_cursors(jsonb) is
    'Every replication key value of a state, with its stream and partition context (null: the stream itself).';

create function connectors.cursor_precedes(earlier jsonb, later jsonb) returns boolean
language plpgsql stable parallel safe set search_path = '' as $$
declare
    a text := earlier #>> '{}';
    b text := later #>> '{}';
begin
    if earlier = later or jsonb_typeof(earlier) <> jsonb_typeof(later) then
        return false;
    elsif jsonb_typeof(earlier) = 'number' or (a ~ '^-?\d{1,40}$' and b ~ '^-?\d{1,40}$') then
        return a::numeric < b::numeric;
    elsif a !~ '^\d{4}-\d\d-\d\d' or b !~ '^\d{4}-\d\d-\d\d' then
        return false; -- values without a known order are not judged
    elsif translate(a, '012345678', '999999999') = translate(b, '012345678', '999999999')
        and (right(a, 6) = right(b, 6) or a !~ '[+-]\d\d:?\d\d$') then
        return a collate "C" < b collate "C"; -- one format, one zone: the text is in order
    end if;
    begin -- costs a subtransaction, hence only here
        return a::timestamptz < b::timestamptz;
    exception when others then
        return false; -- looked like a time and is none
    end;
end
$$;
comment on function connectors.cursor_precedes(jsonb, jsonb) is
    'Whether one cursor value is surely before another: numbers and ISO times; others are not judged.';

create function connectors.state_losses(old_state jsonb, new_state jsonb)
returns table (stream text, context jsonb, old_value jsonb, new_value jsonb, kind text)
language sql stable set search_path = '' as $$
    -- streams named by the new state, with nothing left of what the old one knew
    select o.stream, null::jsonb, o.bookmark, n.bookmark, 'emptied'
    from connectors.state_streams(old_state) as o
    join connectors.state_streams(new_state) as n on n.stream = o.stream
    where o.bookmark not in ('{}', 'null') and n.bookmark in ('{}', 'null')
    union all
    -- cursors gone, or set back
    select o.stream, o.context, o.cursor, n.cursor,
        case when n.cursor is null or n.cursor = 'null' then 'emptied' else 'set back' end
    from connectors.state_cursors(old_state) as o
    join connectors.state_cursors(new_state) as n on n.stream = o.stream and n.context = o.context
    where o.cursor is not null and o.cursor <> 'null'
        and (n.cursor is null or n.cursor = 'null' or (n.cursor <> o.cursor and connectors.cursor_precedes(n.cursor, o.cursor)))
$$;
comment on function connectors.state_losses(jsonb, jsonb) is
    'What storing a new state over an old one would lose.';

create function connectors.merge_state(old_state jsonb, new_state jsonb, whole_streams boolean default false) returns jsonb
language sql immutable set search_path = '' as $$
    select case
        when jsonb_typeof(new_state -> 'bookmarks') is distinct from 'object'
            or jsonb_typeof(old_state -> 'bookmarks') is distinct from 'object' then new_state
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
comment on function connectors.merge_state(jsonb, jsonb, boolean) is
    'Lays a new state over an old one: streams and partitions the new one does not name stay.';

create function connectors.effective_state(state_json jsonb, partial_json jsonb) returns jsonb
language sql immutable set search_path = '' as $$
    select case when partial_json is null then state_json
        else connectors.merge_state(state_json, coalesce(partial_json -> 'singer_state', partial_json)) end
$$;
comment on function connectors.effective_state(jsonb, jsonb) is
    'The state to resume from: the stored one with Meltano''s partial state laid over it.';

create function connectors.store_state(
    instance_id text, state jsonb, partial jsonb, run_id uuid, reason text
) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    new_version bigint;
begin
    -- A row that was deleted continues its count, so that history never has two of one version.
    insert into connectors.connector_state as s (instance_id, state_json, partial_json, version, run_id)
    values (store_state.instance_id, store_state.state, store_state.partial, coalesce((
            select max(h.version) from connectors.connector_state_history as h
            where h.instance_id = store_state.instance_id), 0) + 1, store_state.run_id)
    on conflict on constraint connector_state_pkey do update
        set state_json = excluded.state_json, partial_json = excluded.partial_json,
            version = s.version + 1, run_id = excluded.run_id, updated_at = clock_timestamp()
    returning s.version into new_version;
    insert into connectors.connector_state_history as h
        (instance_id, version, state_json, partial_json, run_id, reason)
    values (store_state.instance_id, new_version, store_state.state, store_state.partial,
        store_state.run_id, store_state.reason)
    on conflict (run_id) do update
        set version = excluded.version, state_json = excluded.state_json,
            partial_json = excluded.partial_json, saved_at = clock_timestamp();
    return new_version;
end
$$;
comment on function connectors.store_state(text, jsonb, jsonb, uuid, text) is
    'Writes a state and its history; internal, the callers hold the rules. One history row per run.';

create function connectors.save_connector_state(
    run_id uuid,
    lease_token uuid,
    state jsonb,
    force boolean default false,
    expected_version bigint default null
) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    stored connectors.connector_state;
    old_state jsonb;
    loss record;
    new_version bigint;
begin
    run := connectors.leased_run(save_connector_state.run_id, save_connector_state.lease_token);
    if coalesce(jsonb_typeof(save_connector_state.state), '') <> 'object' then
        raise sqlstate 'PT422' using message = 'The state is not a JSON object.',
            hint = 'Pass the value of the Singer STATE message.';
    end if;
    select s.* into stored from connectors.connector_state as s
    where s.instance_id = run.instance_id for update;
    if save_connector_state.expected_version is not null
        and save_connector_state.expected_version <> coalesce(stored.version, 0) then
        raise sqlstate 'PT409' using
            message = format('State of %L has version %s, not %s.', run.instance_id,
                coalesce(stored.version, 0), save_connector_state.expected_version),
            hint = 'Read the state again and repeat.';
    end if;
    old_state := coalesce(connectors.effective_state(stored.state_json, stored.partial_json), '{}');
    if not save_connector_state.force and run.mode <> 'full_table' then
        if connectors.holds_bookmarks(old_state) and not connectors.holds_bookmarks(save_connector_state.state) then
            raise sqlstate 'PT422' using
                message = format('An empty state would erase the bookmarks of %L.', run.instance_id),
                detail = format('Stored version %s names %s stream(s).', stored.version,
                    (select count(*) from connectors.state_streams(old_state))),
                hint = 'Look at what the tap emitted. To start over, run with --full-refresh; to erase, force.';
        end if;
        select l.* into loss from connectors.state_losses(old_state, save_connector_state.state) as l
        order by l.stream limit 1;
        if found then
            raise sqlstate 'PT422' using
                message = format('Bookmark of stream %L would be %s.', loss.stream, loss.kind),
                detail = format('Stored: %s. New: %s. Partition: %s.', left(loss.old_value::text, 200),
                    left(coalesce(loss.new_value::text, 'nothing'), 200), left(coalesce(loss.context::text, 'null'), 200)),
                hint = 'Rows between the two would be read again. To allow it, force, or run with --full-refresh.';
        end if;
    end if;
    new_version := connectors.store_state(run.instance_id,
        case when save_connector_state.force and not connectors.holds_bookmarks(save_connector_state.state)
            then save_connector_state.state
            else connectors.merge_state(old_state, save_connector_state.state,
                save_connector_state.force or run.mode = 'full_table')
        end, null, run.id, 'run');
    update connectors.connector_runs as r set state_version = new_version where r.id = run.id;
    return new_version;
end
$$;
comment on function connectors.save_connector_state(uuid, uuid, jsonb, boolean, bigint) is
    'Stores a run''s state under its lease, merged per stream; refuses to empty or set back bookmarks unless forced or refreshing in full.';

create function connectors.holds_bookmarks(state jsonb) returns boolean
language sql immutable set search_path = '' as $$
    select case
        when state ? 'bookmarks' then jsonb_typeof(state -> 'bookmarks') = 'object' and state -> 'bookmarks' <> '{}'
        else coalesce(state, '{}') not in ('{}', 'null')
    end
$$;
comment on function connectors.holds_bookmarks(jsonb) is 'Whether a state says anything at all.';

create function connectors.refuse_while_running(instance_id text) returns void
language plpgsql stable security definer set search_path = '' as $$
#variable_conflict use_column
declare
    active connectors.connector_runs;
begin
    select r.* into active from connectors.connector_runs as r
    where r.instance_id = refuse_while_running.instance_id and r.status = 'running'
        and r.lease_until >= clock_timestamp();
    if found then
        raise sqlstate 'PT409' using
            message = format('Instance %L has the active run %s, which would overwrite the state.', active.instance_id, active.id),
            detail = format('Worker %s holds it until %s.', active.worker, active.lease_until),
            hint = 'Wait for its end, or cancel it.';
    end if;
end
$$;
comment on function connectors.refuse_while_running(text) is 'Raises PT409 while an instance has an active run.';

create function connectors.get_connector_state(instance_id text)
returns table (state_json jsonb, partial_json jsonb, version bigint, run_id uuid, updated_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select s.state_json, s.partial_json, s.version, s.run_id, s.updated_at
    from connectors.connector_state as s
    where s.instance_id = get_connector_state.instance_id
$$;
comment on function connectors.get_connector_state(text) is 'The stored state of an instance; no row when it has none.';

create function connectors.set_connector_state(instance_id text, state jsonb, expected_version bigint default null)
returns bigint
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    current_version bigint;
begin
    if coalesce(jsonb_typeof(set_connector_state.state), '') <> 'object' then
        raise sqlstate 'PT422' using message = 'The state is not a JSON object.',
            hint = 'Singer state looks like {"bookmarks": {"issues": {...}}}.';
    end if;
    perform connectors.lock_instance(set_connector_state.instance_id);
    perform connectors.refuse_while_running(set_connector_state.instance_id);
    select s.version into current_version from connectors.connector_state as s
    where s.instance_id = set_connector_state.instance_id for update;
    if set_connector_state.expected_version is not null
        and set_connector_state.expected_version <> coalesce(current_version, 0) then
        raise sqlstate 'PT409' using
            message = format('State of %L has version %s, not %s.', set_connector_state.instance_id,
                coalesce(current_version, 0), set_connector_state.expected_version),
            hint = 'Read the state again and repeat.';
    end if;
    return connectors.store_state(set_connector_state.instance_id, set_connector_state.state, null, null, 'set');
end
$$;
comment on function connectors.set_connector_state(text, jsonb, bigint) is
    'Replaces the state of an instance by hand; refused during a run. The old one stays in the history.';

create function connectors.rollback_connector_state(instance_id text, version bigint) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    wanted connectors.connector_state_history;
begin
    perform connectors.lock_instance(rollback_connector_state.instance_id);
    perform connectors.refuse_while_running(rollback_connector_state.instance_id);
    select h.* into wanted from connectors.connector_state_history as h
    where h.instance_id = rollback_connector_state.instance_id and h.version = rollback_connector_state.version;
    if not found then
        raise sqlstate 'PT404' using
            message = format('State of %L has no version %s.', rollback_connector_state.instance_id, rollback_connector_state.version),
            detail = format('Kept versions: %s.', coalesce((
                select string_agg(v.version::text, ', ' order by v.version) from (
                    select h.version from connectors.connector_state_history as h
                    where h.instance_id = rollback_connector_state.instance_id
                    order by h.version desc limit 20) as v), 'none')),
            hint = 'List them with connector_state_versions(instance_id).';
    end if;
    return connectors.store_state(wanted.instance_id, wanted.state_json, wanted.partial_json, null, 'rollback');
end
$$;
comment on function connectors.rollback_connector_state(text, bigint) is
    'Makes a past version of the state the current one, as a new version; refused during a run.';

create function connectors.connector_state_versions(instance_id text, max_rows integer default 50)
returns table (
    version bigint, state_json jsonb, partial_json jsonb, run_id uuid, reason text, actor text, saved_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select h.version, h.state_json, h.partial_json, h.run_id, h.reason, h.actor, h.saved_at
    from connectors.connector_state_history as h
    where h.instance_id = connector_state_versions.instance_id
    order by h.version desc
    limit least(greatest(coalesce(max_rows, 50), 1), 1000)
$$;
comment on function connectors.connector_state_versions(text, integer) is 'Past states of an instance, newest first.';

create function connectors.lock_instance(instance_id text) returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    -- Claiming locks the same row: no run can start while the state is changed by hand.
    perform from connectors.connector_instances as i where i.id = lock_instance.instance_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = format('Instance %L does not exist.', lock_instance.instance_id),
            hint = 'List the instances with connector_list().';
    end if;
end
$$;
comment on function connectors.lock_instance(text) is 'Locks an instance for this transaction; PT404 if there is none.';
