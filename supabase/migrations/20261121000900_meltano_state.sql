-- SPDX-License-Identifier: Apache-2.0
-- Meltano's states, in the rows the runner uses. Meltano's state id is
-- <environment>:<tap>-to-<target>[:<suffix>]. When the suffix is the id of an instance of that very
-- tap in that environment, loading into one of our Bronze targets, both share the instance's row;
-- otherwise the row is keyed by the whole state id.

create function connectors.meltano_state_key(state_id text) returns text
language sql stable security definer set search_path = '' as $$
    select coalesce((
        select i.id
        from connectors.connector_instances as i
        join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
        where i.id = split_part(state_id, ':', 3)
            and i.env = split_part(state_id, ':', 1)
            and split_part(state_id, ':', 2) like 'tap-' || replace(d.type, '_', '-') || '-to-target-bronze-%'
    ), state_id)
$$;
comment on function connectors.meltano_state_key(text) is
    'The key of connector_state for one of Meltano''s state ids: the instance it names, else the id itself.';

create function connectors.get_meltano_state(state_id text)
returns table (completed jsonb, partial jsonb)
language sql stable security definer set search_path = '' as $$
    -- A state stored before its instance existed is found under the whole id.
    select s.state_json, s.partial_json
    from connectors.connector_state as s
    where s.instance_id in (connectors.meltano_state_key(get_meltano_state.state_id), get_meltano_state.state_id)
    order by s.instance_id = get_meltano_state.state_id
    limit 1
$$;
comment on function connectors.get_meltano_state(text) is 'The state stored for one of Meltano''s state ids; no row when there is none.';

create function connectors.set_meltano_state(state_id text, completed jsonb, partial jsonb default null) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    state_key text := connectors.meltano_state_key(set_meltano_state.state_id);
begin
    if state_key <> set_meltano_state.state_id then
        perform connectors.lock_instance(state_key);
        perform connectors.refuse_while_running(state_key);
    end if;
    return connectors.store_state(state_key, coalesce(set_meltano_state.completed, '{}'),
        set_meltano_state.partial, null, 'meltano');
end
$$;
comment on function connectors.set_meltano_state(text, jsonb, jsonb) is
    'Stores what Meltano gives for a state id; refused while a run of ours holds the instance.';

create function connectors.delete_meltano_state(state_id text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    state_key text := connectors.meltano_state_key(delete_meltano_state.state_id);
    removed connectors.connector_state;
    was_there boolean := false;
begin
    if state_key <> delete_meltano_state.state_id then
        perform connectors.lock_instance(state_key);
        perform connectors.refuse_while_running(state_key);
    end if;
    for removed in
        delete from connectors.connector_state as s
        where s.instance_id in (state_key, delete_meltano_state.state_id) returning s.*
    loop
        was_there := true;
        insert into connectors.connector_state_history (instance_id, version, state_json, reason)
        values (removed.instance_id, removed.version + 1, '{}', 'delete');
    end loop;
    return was_there;
end
$$;
comment on function connectors.delete_meltano_state(text) is
    'Forgets the state of one of Meltano''s state ids; its past versions stay in the history.';

create function connectors.meltano_state_ids() returns setof text
language sql stable security definer set search_path = '' as $$
    -- An instance's own row answers to the id that Meltano gives its tap and our default target.
    select coalesce(
        i.env || ':tap-' || replace(d.type, '_', '-') || '-to-target-bronze-postgres:' || i.id, s.instance_id)
    from connectors.connector_state as s
    left join connectors.connector_instances as i on i.id = s.instance_id
    left join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    order by 1
$$;
comment on function connectors.meltano_state_ids() is 'All states by Meltano''s state id.';
