-- SPDX-License-Identifier: Apache-2.0
-- Registering connectors and setting up instances of them.

create function connectors.register_connector_definition(type text, yaml_spec text, spec jsonb)
returns table (id text, version integer, created boolean)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    spec_id text := 'ipai_connector_' || register_connector_definition.type;
    new_hash text := encode(sha256(convert_to(register_connector_definition.yaml_spec, 'UTF8')), 'hex');
    latest connectors.connector_definitions;
begin
    if coalesce(register_connector_definition.type, '') !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$' then
        raise sqlstate 'PT422' using
            message = format('Source type %L is not a name.', register_connector_definition.type),
            hint = 'Use lower-case letters, digits and single underscores, e.g. google_ads.';
    end if;
    if coalesce(jsonb_typeof(register_connector_definition.spec), '') <> 'object'
        or coalesce(register_connector_definition.yaml_spec, '') !~ '\S' then
        raise sqlstate 'PT422' using message = format('The spec of %L is empty or no object.', spec_id),
            hint = 'Pass the text of connector.yaml as yaml_spec and the same spec as JSON as spec.';
    end if;
    -- One registration of a connector at a time, so that versions have no gaps and no doubles.
    perform pg_advisory_xact_lock(hashtextextended('connectors.definition:' || spec_id, 0));
    select d.* into latest from connectors.connector_definitions as d
    where d.id = spec_id order by d.version desc limit 1;
    if latest.spec_hash = new_hash then
        return query select latest.id, latest.version, false;
        return;
    end if;
    return query
        insert into connectors.connector_definitions as d (id, type, yaml_spec, version, spec, spec_hash)
        values (spec_id, register_connector_definition.type, register_connector_definition.yaml_spec,
            coalesce(latest.version, 0) + 1, register_connector_definition.spec, new_hash)
        returning d.id, d.version, true;
end
$$;
comment on function connectors.register_connector_definition(text, text, jsonb) is
    'Registers a spec: a changed text becomes a new version, the same text returns the one it has.';

create function connectors.refuse_secrets(definition_id text, definition_version integer, config jsonb) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
    secret_name text;
begin
    select s.key into secret_name
    from connectors.connector_definitions as d
    cross join lateral jsonb_each(coalesce(d.spec -> 'settings', '{}')) as s
    where d.id = refuse_secrets.definition_id and d.version = refuse_secrets.definition_version
        and s.value -> 'secret' = 'true' and refuse_secrets.config ? s.key
        -- A reference such as "${GITHUB_TOKEN}", or a list of them, is no secret.
        and (refuse_secrets.config -> s.key)::text !~
            '^("\$\{[A-Za-z_][A-Za-z0-9_]*\}"|\[("\$\{[A-Za-z_][A-Za-z0-9_]*\}"(, )?)*\])$'
    limit 1;
    if secret_name is not null then
        raise sqlstate 'PT422' using
            message = format('Setting %L is a secret and is not stored in the configuration.', secret_name),
            hint = 'Store a reference to an environment variable of the worker instead, e.g. "${GITHUB_TOKEN}".';
    end if;
end
$$;
comment on function connectors.refuse_secrets(text, integer, jsonb) is
    'Raises PT422 if a configuration holds a setting that the spec marks as secret.';

create function connectors.create_connector_instance(
    instance_id text,
    definition_id text,
    config jsonb default '{}',
    env text default 'dev',
    schedule text default null,
    definition_version integer default null,
    status text default 'active'
) returns table (id text, version integer, instance_status text, created boolean)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    chosen integer;
    existing connectors.connector_instances;
begin
    select d.version into chosen from connectors.connector_definitions as d
    where d.id = create_connector_instance.definition_id
        and (create_connector_instance.definition_version is null
            or d.version = create_connector_instance.definition_version)
    order by d.version desc limit 1;
    if chosen is null then
        raise sqlstate 'PT404' using
            message = format('Connector definition %L%s is not registered.', create_connector_instance.definition_id,
                ' version ' || create_connector_instance.definition_version),
            hint = 'Register its spec first; connector names look like ipai_connector_github.';
    end if;
    if coalesce(jsonb_typeof(create_connector_instance.config), '') <> 'object' then
        raise sqlstate 'PT422' using message = 'The configuration is not a JSON object.',
            hint = 'Pass settings by name, e.g. {"repositories": ["owner/name"]}.';
    end if;
    if coalesce(create_connector_instance.instance_id, '') !~ '^[a-z0-9][a-z0-9_-]{0,62}$' then
        raise sqlstate 'PT422' using
            message = format('Instance id %L is not a slug.', create_connector_instance.instance_id),
            hint = 'Use up to 63 lower-case letters, digits, dashes and underscores, e.g. github-acme.';
    end if;
    if coalesce(create_connector_instance.env, '') !~ '^[a-z][a-z0-9_-]{0,30}$' then
        raise sqlstate 'PT422' using
            message = format('Environment %L is not a name.', create_connector_instance.env),
            hint = 'Use e.g. dev, staging or production.';
    end if;
    if coalesce(create_connector_instance.status, '') not in ('draft', 'active') then
        raise sqlstate 'PT422' using
            message = format('An instance cannot start as %L.', create_connector_instance.status),
            hint = 'Create it as draft or active.';
    end if;
    perform connectors.refuse_secrets(
        create_connector_instance.definition_id, chosen, create_connector_instance.config);

    insert into connectors.connector_instances as i
        (id, definition_id, definition_version, env, schedule, status, config)
    values (create_connector_instance.instance_id, create_connector_instance.definition_id, chosen,
        create_connector_instance.env, create_connector_instance.schedule,
        create_connector_instance.status, create_connector_instance.config)
    on conflict on constraint connector_instances_pkey do nothing;
    if found then
        return query select create_connector_instance.instance_id, chosen, create_connector_instance.status, true;
        return;
    end if;

    select i.* into existing from connectors.connector_instances as i
    where i.id = create_connector_instance.instance_id for update;
    if existing.status = 'archived' then
        raise sqlstate 'PT409' using message = format('Instance %L is archived.', existing.id),
            hint = 'Choose another instance id.';
    end if;
    if existing.definition_id <> create_connector_instance.definition_id
        or existing.env <> create_connector_instance.env then
        raise sqlstate 'PT409' using
            message = format('Instance %L exists as %s in environment %L.',
                existing.id, existing.definition_id, existing.env),
            hint = 'An instance keeps its connector and environment. Choose another instance id.';
    end if;
    if (existing.definition_version, existing.config, existing.schedule) is distinct from
        (chosen, create_connector_instance.config, create_connector_instance.schedule) then
        update connectors.connector_instances as i
        set definition_version = chosen,
            config = create_connector_instance.config,
            schedule = create_connector_instance.schedule
        where i.id = existing.id;
    end if;
    return query select existing.id, chosen, existing.status, false;
end
$$;
comment on function connectors.create_connector_instance(text, text, jsonb, text, text, integer, text) is
    'Creates an instance, or brings the settings of an existing one up to date; calling it again changes nothing.';

create function connectors.set_instance_status(instance_id text, status text) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    busy uuid;
begin
    if coalesce(set_instance_status.status, '') not in ('draft', 'active', 'paused', 'archived') then
        raise sqlstate 'PT422' using message = format('Status %L is unknown.', set_instance_status.status),
            hint = 'Use draft, active, paused or archived.';
    end if;
    select r.id into busy from connectors.connector_runs as r
    where r.instance_id = set_instance_status.instance_id and r.status = 'running';
    if busy is not null and set_instance_status.status = 'archived' then
        raise sqlstate 'PT409' using
            message = format('Instance %L has the active run %s.', set_instance_status.instance_id, busy),
            hint = 'Cancel the run, or wait for its end, then archive.';
    end if;
    update connectors.connector_instances as i set status = set_instance_status.status
    where i.id = set_instance_status.instance_id;
    if not found then
        raise sqlstate 'PT404' using
            message = format('Instance %L does not exist.', set_instance_status.instance_id),
            hint = 'List the instances with connector_list().';
    end if;
    if set_instance_status.status = 'archived' then
        update connectors.connector_runs as r
        set status = 'cancelled', ended_at = clock_timestamp(), error_class = 'cancelled',
            error_summary = 'Instance was archived.'
        where r.instance_id = set_instance_status.instance_id and r.status = 'queued';
    end if;
    return set_instance_status.status;
end
$$;
comment on function connectors.set_instance_status(text, text) is
    'Moves an instance through draft, active, paused, archived; archiving cancels what is queued.';
