-- SPDX-License-Identifier: Apache-2.0
-- What each instance ran with, and when: every change of its spec version or its settings is a
-- release. Into production an instance goes by promotion only, and only with a spec that has
-- succeeded in staging. A rollback goes back to an earlier release with the state of that time.

create table connectors.instance_releases (
    instance_id text not null,
    release integer not null,
    definition_id text not null,
    definition_version integer not null,
    config jsonb not null,
    state_version bigint,
    reason text not null default 'changed',
    proof_run_id uuid,
    actor text not null default session_user,
    released_at timestamptz not null default clock_timestamp(),
    constraint instance_releases_pkey primary key (instance_id, release),
    constraint instance_releases_instance_fkey foreign key (instance_id)
        references connectors.connector_instances (id) on delete cascade,
    constraint instance_releases_definition_fkey foreign key (definition_id, definition_version)
        references connectors.connector_definitions (id, version),
    constraint instance_releases_counts_from_one check (release > 0),
    constraint instance_releases_config_is_object check (jsonb_typeof(config) = 'object'),
    constraint instance_releases_reason_known check (reason in ('created', 'changed', 'promoted', 'rolled_back'))
);
create index instance_releases_definition_idx on connectors.instance_releases (definition_id, definition_version);
comment on table connectors.instance_releases is 'What an instance ran with: one row per change of its spec version or settings.';
comment on column connectors.instance_releases.instance_id is 'The instance.';
comment on column connectors.instance_releases.release is 'Counts its releases from 1.';
comment on column connectors.instance_releases.definition_id is 'The connector.';
comment on column connectors.instance_releases.definition_version is 'The version of its spec.';
comment on column connectors.instance_releases.config is 'Its settings, without secrets.';
comment on column connectors.instance_releases.state_version is 'Version of the state when this release began; null: there was none.';
comment on column connectors.instance_releases.reason is 'created, changed, promoted or rolled_back.';
comment on column connectors.instance_releases.proof_run_id is 'In production: the run that had succeeded with this spec before.';
comment on column connectors.instance_releases.actor is 'Database login that released it.';
comment on column connectors.instance_releases.released_at is 'When that was.';

create table connectors.instance_declarations (
    instance_id text not null,
    declared_in text not null,
    applied_by text not null default session_user,
    applied_at timestamptz not null default clock_timestamp(),
    constraint instance_declarations_pkey primary key (instance_id),
    constraint instance_declarations_instance_fkey foreign key (instance_id)
        references connectors.connector_instances (id) on delete cascade,
    constraint instance_declarations_file_named check (declared_in ~ '\S')
);
comment on table connectors.instance_declarations is 'Which instances are kept in reviewed files, applied by `ipai apply`.';
comment on column connectors.instance_declarations.instance_id is 'The instance.';
comment on column connectors.instance_declarations.declared_in is 'The file, relative to what was applied.';
comment on column connectors.instance_declarations.applied_by is 'Database login that applied it last.';
comment on column connectors.instance_declarations.applied_at is 'When that was.';

insert into connectors.instance_releases
    (instance_id, release, definition_id, definition_version, config, state_version, reason, released_at)
select i.id, 1, i.definition_id, i.definition_version, i.config, s.version, 'created', i.updated_at
from connectors.connector_instances as i
left join connectors.connector_state as s on s.instance_id = i.id;

create function connectors.staging_proof(
    instance_id text, definition_id text, definition_version integer, within_days integer default 30
) returns uuid
language sql stable security definer set search_path = '' as $$
    select coalesce((
        -- a run in staging with the very same text of the spec, whatever its version was there
        select r.id
        from connectors.connector_instances as i
        join connectors.connector_runs as r on r.instance_id = i.id
        join connectors.connector_definitions as d on d.id = i.definition_id and d.version = r.definition_version
        where i.env = 'staging' and i.definition_id = staging_proof.definition_id and r.status = 'succeeded'
            and r.ended_at > clock_timestamp() - make_interval(days => within_days)
            and d.spec_hash = (
                select w.spec_hash from connectors.connector_definitions as w
                where w.id = staging_proof.definition_id and w.version = staging_proof.definition_version)
        order by r.ended_at desc limit 1
    ), (
        -- or this instance had that version before, released on such a proof
        select l.proof_run_id from connectors.instance_releases as l
        where l.instance_id = staging_proof.instance_id and l.definition_version = staging_proof.definition_version
            and l.proof_run_id is not null
        order by l.release desc limit 1
    ), (
        -- or has succeeded with it
        select r.id from connectors.connector_runs as r
        where r.instance_id = staging_proof.instance_id and r.status = 'succeeded'
            and r.definition_version = staging_proof.definition_version
        order by r.ended_at desc limit 1
    ))
$$;
comment on function connectors.staging_proof(text, text, integer, integer) is
    'The run that lets an instance run this version in production; null: there is none.';

create function connectors.record_release() returns trigger
language plpgsql volatile security definer set search_path = '' as $$
declare
    proof uuid;
    is_change boolean := tg_op = 'INSERT';
begin
    if tg_op = 'UPDATE' then
        is_change := (old.definition_version, old.config) is distinct from (new.definition_version, new.config);
    end if;
    if is_change then
        insert into connectors.instance_releases
            (instance_id, release, definition_id, definition_version, config, state_version, reason)
        values (new.id, coalesce((
                select max(l.release) from connectors.instance_releases as l where l.instance_id = new.id), 0) + 1,
            new.definition_id, new.definition_version, new.config,
            (select s.version from connectors.connector_state as s where s.instance_id = new.id),
            case when tg_op = 'INSERT' then 'created' else 'changed' end);
    end if;
    if new.env <> 'production' or new.status not in ('active', 'paused') then
        return null;
    end if;
    if tg_op = 'UPDATE' then
        if old.status <> 'draft' and old.definition_version = new.definition_version then
            return null; -- as proven as it was
        end if;
    end if;
    proof := connectors.staging_proof(new.id, new.definition_id, new.definition_version);
    if proof is null then
        raise sqlstate 'PT409' using
            message = format('Version %s of %L has not succeeded in staging.', new.definition_version, new.definition_id),
            detail = format('Instance %L is in production.', new.id),
            hint = 'Run an instance of it with env staging within 30 days, then promote_connector_instance(instance_id); until then keep this one a draft.';
    end if;
    update connectors.instance_releases as l set proof_run_id = proof
    where l.instance_id = new.id and l.release = (
        select max(m.release) from connectors.instance_releases as m where m.instance_id = new.id);
    return null;
end
$$;
comment on function connectors.record_release() is
    'Trigger: writes a release for each change of an instance, and refuses production without proof.';

create trigger connector_instances_release
    after insert or update of definition_version, config, status on connectors.connector_instances
    for each row execute function connectors.record_release();

create function connectors.name_release(instance_id text, reason text) returns integer
language sql volatile security definer set search_path = '' as $$
    update connectors.instance_releases as l set reason = name_release.reason
    where l.instance_id = name_release.instance_id and l.release = (
        select max(m.release) from connectors.instance_releases as m where m.instance_id = name_release.instance_id)
    returning l.release
$$;
comment on function connectors.name_release(text, text) is 'Says why the newest release was made; internal.';

create function connectors.known_instance(instance_id text) returns connectors.connector_instances
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    instance connectors.connector_instances;
begin
    perform connectors.lock_instance(known_instance.instance_id);
    select i.* into instance from connectors.connector_instances as i where i.id = known_instance.instance_id;
    return instance;
end
$$;
comment on function connectors.known_instance(text) is 'Locks an instance for this transaction and returns it; PT404 if there is none.';

create function connectors.apply_connector_instance(
    instance_id text,
    definition_id text,
    config jsonb,
    env text,
    declared_in text,
    schedule text default null,
    definition_version integer default null,
    status text default 'active'
) returns table (id text, version integer, instance_status text, created boolean)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    existing connectors.connector_instances;
    in_production boolean := apply_connector_instance.env = 'production';
    made record;
begin
    if coalesce(apply_connector_instance.status, '') not in ('active', 'paused') then
        raise sqlstate 'PT422' using
            message = format('An instance cannot be declared as %L.', apply_connector_instance.status),
            hint = 'Declare it as active or paused.';
    end if;
    select i.* into existing from connectors.connector_instances as i where i.id = apply_connector_instance.instance_id;
    select c.* into made from connectors.create_connector_instance(
        apply_connector_instance.instance_id, apply_connector_instance.definition_id, apply_connector_instance.config,
        apply_connector_instance.env, apply_connector_instance.schedule,
        -- In production the version moves by promotion only.
        case when in_production and existing.id is not null then existing.definition_version
            else apply_connector_instance.definition_version end,
        case when in_production then 'draft' else 'active' end) as c;
    if made.instance_status in ('active', 'paused') and made.instance_status <> apply_connector_instance.status then
        made.instance_status := connectors.set_instance_status(made.id, apply_connector_instance.status);
    end if;
    insert into connectors.instance_declarations as d (instance_id, declared_in)
    values (made.id, apply_connector_instance.declared_in)
    on conflict on constraint instance_declarations_pkey do update
        set declared_in = excluded.declared_in, applied_by = excluded.applied_by, applied_at = excluded.applied_at;
    return query select made.id, made.version, made.instance_status, made.created;
end
$$;
comment on function connectors.apply_connector_instance(text, text, jsonb, text, text, text, integer, text) is
    'Brings an instance to what a reviewed file declares. In production a new one is a draft and the version of the spec stays: both move by promotion.';

create function connectors.retire_connector_instance(instance_id text) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    instance connectors.connector_instances := connectors.known_instance(retire_connector_instance.instance_id);
begin
    delete from connectors.instance_declarations as d where d.instance_id = instance.id;
    if instance.status = 'active' then
        return connectors.set_instance_status(instance.id, 'paused');
    end if;
    return instance.status;
end
$$;
comment on function connectors.retire_connector_instance(text) is
    'Pauses an instance that no file declares any more, and forgets that one did; returns its status.';

create function connectors.promote_connector_instance(
    instance_id text, to_env text default 'production', target_id text default null
) returns table (id text, env text, version integer, previous_version integer, created boolean, proof_run_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    origin connectors.connector_instances := connectors.known_instance(promote_connector_instance.instance_id);
    target connectors.connector_instances;
    wanted integer := origin.definition_version;
    wanted_id text;
    is_new boolean := false;
begin
    if coalesce(promote_connector_instance.to_env, '') !~ '^[a-z][a-z0-9_-]{0,30}$' then
        raise sqlstate 'PT422' using message = format('Environment %L is not a name.', promote_connector_instance.to_env),
            hint = 'Use e.g. staging or production.';
    end if;
    if origin.status = 'archived' then
        raise sqlstate 'PT409' using message = format('Instance %L is archived.', origin.id),
            hint = 'Promote another instance.';
    end if;
    if origin.env = promote_connector_instance.to_env then
        wanted_id := origin.id; -- it is there: to the newest version of its spec
        select max(d.version) into wanted from connectors.connector_definitions as d
        where d.id = origin.definition_id and d.enabled;
    elsif promote_connector_instance.to_env = 'production' and origin.env <> 'staging' then
        raise sqlstate 'PT409' using
            message = format('Instance %L is in environment %L, not in staging.', origin.id, origin.env),
            hint = 'Promote it to staging first, let it succeed there, then promote that one to production.';
    else
        wanted_id := coalesce(promote_connector_instance.target_id,
            regexp_replace(origin.id, '-' || origin.env || '$', '') || '-' || promote_connector_instance.to_env);
    end if;
    if promote_connector_instance.to_env = 'production'
        and connectors.staging_proof(wanted_id, origin.definition_id, wanted) is null then
        raise sqlstate 'PT409' using
            message = format('Version %s of %L has not succeeded in staging.', wanted, origin.definition_id),
            hint = 'Run an instance of this very spec with env staging to its end, within 30 days before the promotion.';
    end if;

    select i.* into target from connectors.connector_instances as i where i.id = wanted_id for no key update;
    if not found then
        perform connectors.create_connector_instance(
            wanted_id, origin.definition_id, origin.config, promote_connector_instance.to_env, origin.schedule, wanted);
        is_new := true;
    elsif target.env <> promote_connector_instance.to_env or target.definition_id <> origin.definition_id then
        raise sqlstate 'PT409' using
            message = format('Instance %L exists as %s in environment %L.', target.id, target.definition_id, target.env),
            hint = 'Name another with target_id.';
    elsif target.status = 'archived' then
        raise sqlstate 'PT409' using message = format('Instance %L is archived.', target.id), hint = 'Name another with target_id.';
    else
        perform connectors.refuse_secrets(target.definition_id, wanted, target.config);
        update connectors.connector_instances as i
        set definition_version = wanted, status = case i.status when 'draft' then 'active' else i.status end
        where i.id = target.id and (i.definition_version <> wanted or i.status = 'draft');
    end if;
    if is_new or target.definition_version <> wanted then
        perform connectors.name_release(wanted_id, 'promoted');
    end if;
    return query select wanted_id, promote_connector_instance.to_env, wanted, target.definition_version, is_new, (
        select l.proof_run_id from connectors.instance_releases as l
        where l.instance_id = wanted_id order by l.release desc limit 1);
end
$$;
comment on function connectors.promote_connector_instance(text, text, text) is
    'Takes the spec version of an instance to its counterpart in another environment, creating that if need be; an instance that is there already moves to the newest version. Production needs a success in staging.';

create function connectors.rollback_connector_instance(
    instance_id text, to_version integer default null, keep_state boolean default false
) returns table (release integer, version integer, previous_version integer, restored_release integer, state_version bigint)
language plpgsql volatile security definer set search_path = '' as $$
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

create function connectors.instance_release_list(instance_id text, max_rows integer default 50)
returns table (
    release integer, definition_id text, definition_version integer, config jsonb, state_version bigint,
    reason text, proof_run_id uuid, actor text, released_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select l.release, l.definition_id, l.definition_version, l.config, l.state_version, l.reason, l.proof_run_id,
        l.actor, l.released_at
    from connectors.instance_releases as l
    where l.instance_id = instance_release_list.instance_id
    order by l.release desc
    limit least(greatest(coalesce(max_rows, 50), 1), 1000)
$$;
comment on function connectors.instance_release_list(text, integer) is 'The releases of an instance, newest first.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['instance_releases', 'instance_declarations'] loop
        execute format('alter table connectors.%I enable row level security', table_name);
        execute format('alter table connectors.%I force row level security', table_name);
        execute format('create policy owner_all on connectors.%I for all to current_user using (true) with check (true)',
            table_name);
        execute format('create policy staff_read on connectors.%I for select to service_role, ipai_admin, ipai_operator using (true)',
            table_name);
        execute format('revoke all on connectors.%I from public', table_name);
        execute format('grant select on connectors.%I to service_role, ipai_admin, ipai_operator', table_name);
    end loop;
end
$row_security$;

revoke all on function
    connectors.staging_proof(text, text, integer, integer),
    connectors.record_release(),
    connectors.name_release(text, text),
    connectors.known_instance(text),
    connectors.apply_connector_instance(text, text, jsonb, text, text, text, integer, text),
    connectors.retire_connector_instance(text),
    connectors.promote_connector_instance(text, text, text),
    connectors.rollback_connector_instance(text, integer, boolean),
    connectors.instance_release_list(text, integer)
    from public;
grant execute on function
    connectors.apply_connector_instance(text, text, jsonb, text, text, text, integer, text),
    connectors.retire_connector_instance(text),
    connectors.promote_connector_instance(text, text, text),
    connectors.rollback_connector_instance(text, integer, boolean)
    to service_role, ipai_admin;
grant execute on function connectors.instance_release_list(text, integer) to service_role, ipai_admin, ipai_operator;

notify pgrst, 'reload schema';
