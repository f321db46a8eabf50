-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121028000_settings_releases.

drop function connectors.rollback_connector_instance(text, integer, boolean, integer);
create function connectors.rollback_connector_instance(
    instance_id text, to_version integer default null, keep_state boolean default false
) returns table (release integer, version integer, previous_version integer, restored_release integer, state_version bigint)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    instance connectors.connector_instances := connectors.known_instance(rollback_connector_instance.instance_id);
    wanted connectors.instance_releases;
    ended_at_state bigint;
    restored connectors.connector_state_history;
    new_state bigint;
begin
    perform connectors.refuse_while_running(instance.id);
    if instance.status = 'archived' then
        raise sqlstate 'PT409' using message = format('Instance %L is archived.', instance.id), hint = 'It runs no more.';
    end if;
    select l.* into wanted from connectors.instance_releases as l
    where l.instance_id = instance.id
        and l.definition_version = coalesce(rollback_connector_instance.to_version, l.definition_version)
        and l.definition_version <> instance.definition_version
    order by l.release desc limit 1;
    if not found then
        raise sqlstate 'PT404' using
            message = format('Instance %L has not run with %s.', instance.id,
                coalesce('version ' || rollback_connector_instance.to_version || ' before', 'another version before')),
            detail = format('It has version %s; its releases had: %s.', instance.definition_version, (
                select string_agg(distinct l.definition_version::text, ', ') from connectors.instance_releases as l
                where l.instance_id = instance.id)),
            hint = 'List them with instance_release_list(instance_id).';
    end if;
    if not (select d.enabled from connectors.connector_definitions as d
            where d.id = wanted.definition_id and d.version = wanted.definition_version) then
        raise sqlstate 'PT409' using
            message = format('Version %s of %L is disabled.', wanted.definition_version, wanted.definition_id),
            hint = 'Go back to another version.';
    end if;
    update connectors.connector_instances as i
    set definition_version = wanted.definition_version, config = wanted.config
    where i.id = instance.id;

    if not coalesce(rollback_connector_instance.keep_state, false) then
        -- Where the wanted release ended, the next one began.
        select n.state_version into ended_at_state from connectors.instance_releases as n
        where n.instance_id = instance.id and n.release > wanted.release order by n.release limit 1;
        select h.* into restored from connectors.connector_state_history as h
        where h.instance_id = instance.id and h.version <= coalesce(ended_at_state, 0)
        order by h.version desc limit 1;
        if exists (
            select from connectors.connector_state as s
            where s.instance_id = instance.id and s.version is distinct from restored.version
        ) then
            new_state := connectors.store_state(instance.id, coalesce(restored.state_json, '{}'),
                restored.partial_json, null, 'rollback');
        end if;
    end if;
    return query select connectors.name_release(instance.id, 'rolled_back'), wanted.definition_version,
        instance.definition_version, wanted.release, new_state;
end
$$;
comment on function connectors.rollback_connector_instance(text, integer, boolean) is
    'Goes back to the spec version and settings of an earlier release, and to the state it ended with; refused during a run.';

revoke execute on all functions in schema connectors from public;
grant execute on function connectors.rollback_connector_instance(text, integer, boolean) to service_role, ipai_admin;

notify pgrst, 'reload schema';
