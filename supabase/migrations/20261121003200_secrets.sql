-- SPDX-License-Identifier: Apache-2.0
-- Secrets by name. An instance refers to one as ${secret:NAME}; the worker that holds a run of it reads
-- the value in two phases: request_secret writes the log and a grant and is committed, then read_secret
-- gives the value. So nothing that is rolled back can have read a secret without a trace.

alter table connectors.connector_runs add column claimed_by text;
comment on column connectors.connector_runs.claimed_by is 'Login that claimed it: a stolen lease opens no secret for another one.';

create function connectors.note_claimer() returns trigger
language plpgsql set search_path = '' as $$
begin
    new.claimed_by := connectors.caller();
    return new;
end
$$;
comment on function connectors.note_claimer() is 'Keeps who claims a run.';
create trigger connector_runs_claimer before update of status on connectors.connector_runs
    for each row when (old.status = 'queued' and new.status = 'running') execute function connectors.note_claimer();

create table connectors.secrets (
    name text not null,
    secret_id uuid not null,
    version integer not null default 1,
    description text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    created_by text not null,
    rotated_at timestamptz,
    rotated_by text,
    expires_at timestamptz,
    previous_id uuid,
    previous_until timestamptz,
    constraint secrets_pkey primary key (name),
    constraint secrets_secret_id_key unique (secret_id),
    constraint secrets_name_is_plain check (name ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$'),
    constraint secrets_version_positive check (version > 0),
    constraint secrets_rotation_whole check ((rotated_at is null) = (rotated_by is null)),
    constraint secrets_previous_whole check ((previous_id is null) = (previous_until is null))
);
comment on table connectors.secrets is 'Secrets by name, without their values: those are sealed in the vault.';
comment on column connectors.secrets.name is 'What ${secret:NAME} says, e.g. connector/production/github-acme/auth_token.';
comment on column connectors.secrets.secret_id is 'The current value in the vault; every version has its own id.';
comment on column connectors.secrets.version is 'Counts the values from 1.';
comment on column connectors.secrets.description is 'For people.';
comment on column connectors.secrets.created_at is 'When it was created.';
comment on column connectors.secrets.created_by is 'By whom.';
comment on column connectors.secrets.rotated_at is 'When the value was last replaced.';
comment on column connectors.secrets.rotated_by is 'By whom.';
comment on column connectors.secrets.expires_at is 'When its issuer stops to accept it, if that is known.';
comment on column connectors.secrets.previous_id is 'The value before in the vault, while both are valid.';
comment on column connectors.secrets.previous_until is 'When the value before stops to be handed out.';

create table connectors.secret_grants (
    id uuid not null default gen_random_uuid(),
    name text not null,
    secret_id uuid not null,
    run_id uuid,
    actor text not null,
    transaction_id xid8 not null default pg_current_xact_id(),
    granted_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null default clock_timestamp() + interval '30 seconds',
    used_at timestamptz,
    constraint secret_grants_pkey primary key (id),
    constraint secret_grants_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete cascade
);
create index secret_grants_run_idx on connectors.secret_grants (run_id);
create index secret_grants_name_idx on connectors.secret_grants (name, granted_at desc);
comment on table connectors.secret_grants is 'Permissions to read one secret once, soon, by the login that asked.';
comment on column connectors.secret_grants.id is 'What read_secret is called with.';
comment on column connectors.secret_grants.name is 'The secret.';
comment on column connectors.secret_grants.secret_id is 'Its value in the vault when it was asked for.';
comment on column connectors.secret_grants.run_id is 'The run it is for; null: not for a run, e.g. a check of an instance.';
comment on column connectors.secret_grants.actor is 'Who asked; nobody else can use it.';
comment on column connectors.secret_grants.transaction_id is 'The transaction that asked; must be committed before reading.';
comment on column connectors.secret_grants.granted_at is 'When.';
comment on column connectors.secret_grants.expires_at is 'Until when it can be used.';
comment on column connectors.secret_grants.used_at is 'When it was used.';

create function connectors.secret_sealing() returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
    able boolean;
begin
    if to_regprocedure('vault._keys()') is null then
        return 'server'; -- Supabase's own vault
    end if;
    select vault._pgcrypto() is not null and exists (select from vault._keys()) into able;
    return case when able then 'server' else 'client' end;
end
$$;
comment on function connectors.secret_sealing() is 'server: it seals and opens secrets itself; client: it keeps what clients have sealed.';

create function connectors.put_into_vault(name text, value text, sealed jsonb, description text) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    new_id uuid;
begin
    if (put_into_vault.value is null) = (put_into_vault.sealed is null) or put_into_vault.value = '' then
        raise sqlstate 'PT422' using message = format('Secret %L has no value.', put_into_vault.name),
            hint = 'Pass the value, or what the client has sealed; one of the two.';
    end if;
    if put_into_vault.sealed is null then
        return vault.create_secret(put_into_vault.value, put_into_vault.name, coalesce(put_into_vault.description, ''));
    end if;
    if to_regprocedure('vault._keys()') is null then
        raise sqlstate 'PT422' using message = 'This server seals secrets itself and takes no sealed ones.',
            hint = 'Pass the value.';
    end if;
    insert into vault.secrets as s (id, name, description, secret, key_id, nonce)
    values ((put_into_vault.sealed ->> 'id')::uuid, put_into_vault.name, coalesce(put_into_vault.description, ''),
        put_into_vault.sealed ->> 'secret', (put_into_vault.sealed ->> 'key_id')::uuid,
        decode(put_into_vault.sealed ->> 'nonce', 'base64'))
    returning s.id into new_id;
    return new_id;
exception
    when unique_violation then
        raise sqlstate 'PT409' using message = format('The vault holds a secret %L already.', put_into_vault.name),
            hint = 'Rotate it with rotate_secret(name, value), or choose another name.';
    when check_violation or invalid_text_representation or not_null_violation then
        raise sqlstate 'PT422' using message = format('What was sealed for %L is not in the form of this version.', put_into_vault.name),
            hint = 'Store it with `ipai secret set` of the same version as the database.';
end
$$;
comment on function connectors.put_into_vault(text, text, jsonb, text) is 'Stores a value, sealing it unless a client has; internal.';

create function connectors.create_secret(
    name text, value text default null, sealed jsonb default null, description text default '',
    expires_at timestamptz default null
) returns table (id uuid, version integer)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    new_id uuid;
begin
    if coalesce(create_secret.name, '') !~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$' then
        raise sqlstate 'PT422' using message = format('%L is no name for a secret.', create_secret.name),
            hint = 'Use up to 128 letters, digits, dots, dashes, underscores and slashes, e.g. connector/dev/github-acme/auth_token.';
    end if;
    if exists (select from connectors.secrets as s where s.name = create_secret.name) then
        raise sqlstate 'PT409' using message = format('Secret %L exists.', create_secret.name),
            hint = 'Replace its value with rotate_secret(name, value).';
    end if;
    new_id := connectors.put_into_vault(create_secret.name, create_secret.value, create_secret.sealed, create_secret.description);
    insert into connectors.secrets (name, secret_id, description, created_by, expires_at)
    values (create_secret.name, new_id, coalesce(create_secret.description, ''), connectors.caller(), create_secret.expires_at);
    perform connectors.append_secret_audit('create', create_secret.name, new_id, null, 'version 1');
    return query select new_id, 1;
end
$$;
comment on function connectors.create_secret(text, text, jsonb, text, timestamptz) is
    'Stores a new secret: its value, or what a client has sealed.';

create function connectors.rotate_secret(
    name text, value text default null, sealed jsonb default null, overlap interval default null,
    revoke boolean default false, expires_at timestamptz default null
) returns table (id uuid, version integer, cancelled uuid[])
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    old connectors.secrets;
    new_id uuid;
    stopped uuid[] := '{}';
begin
    select s.* into old from connectors.secrets as s where s.name = rotate_secret.name for update;
    if not found then
        -- Made with Vault's own functions: taken on as its first version.
        select s.name, s.id, 0, s.description, s.created_at, connectors.caller()
        into old.name, old.secret_id, old.version, old.description, old.created_at, old.created_by
        from vault.secrets as s where s.name = rotate_secret.name;
        if not found then
            raise sqlstate 'PT404' using message = format('Secret %L does not exist.', rotate_secret.name),
                hint = 'Store it with create_secret(name, value).';
        end if;
        insert into connectors.secrets (name, secret_id, version, description, created_at, created_by)
        values (old.name, old.secret_id, 1, old.description, old.created_at, old.created_by)
        returning * into old;
    end if;
    delete from vault.secrets as s where s.id = old.previous_id;
    if rotate_secret.overlap > interval '0' and not rotate_secret.revoke then
        perform vault.update_secret(old.secret_id, new_name => old.name || '@' || old.version);
    else
        delete from vault.secrets as s where s.id = old.secret_id;
        old.secret_id := null;
    end if;
    new_id := connectors.put_into_vault(old.name, rotate_secret.value, rotate_secret.sealed, old.description);
    update connectors.secrets as s
    set secret_id = new_id,
        version = old.version + 1,
        rotated_at = clock_timestamp(),
        rotated_by = connectors.caller(),
        expires_at = rotate_secret.expires_at,
        previous_id = old.secret_id,
        previous_until = case when old.secret_id is not null then clock_timestamp() + rotate_secret.overlap end
    where s.name = old.name;
    if rotate_secret.revoke then
        select coalesce(array_agg(distinct r.id), '{}') into stopped
        from connectors.secret_grants as g
        join connectors.connector_runs as r on r.id = g.run_id
        where g.name = old.name and r.status = 'running';
        perform connectors.cancel_connector_job(s.run_id, format('Secret %s was revoked.', old.name))
        from unnest(stopped) as s (run_id);
    end if;
    -- The log is always locked last, runs before it.
    perform connectors.append_secret_audit('rotate', old.name, new_id, null, format('version %s%s', old.version + 1,
        case when rotate_secret.revoke then ', the value before revoked'
            when old.secret_id is not null then ', the value before valid for ' || rotate_secret.overlap end));
    return query select new_id, old.version + 1, stopped;
end
$$;
comment on function connectors.rotate_secret(text, text, jsonb, interval, boolean, timestamptz) is
    'Replaces a value; overlap keeps handing out the one before too; revoke also cancels the runs that hold it.';

create function connectors.refers_to_secret(config jsonb, name text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
    select jsonb_path_exists(refers_to_secret.config, '$.** ? (@ == $reference)',
        jsonb_build_object('reference', '${secret:' || refers_to_secret.name || '}'))
$$;
comment on function connectors.refers_to_secret(jsonb, text) is 'Whether ${secret:NAME} stands anywhere in settings.';

create function connectors.secret_users(name text) returns text[]
language sql stable security definer set search_path = '' as $$
    select coalesce(array_agg(i.id order by i.id), '{}') from connectors.connector_instances as i
    where i.status <> 'archived' and connectors.refers_to_secret(i.config, secret_users.name)
$$;
comment on function connectors.secret_users(text) is 'The instances whose settings refer to a secret.';

create function connectors.delete_secret(name text, force boolean default false) returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    old connectors.secrets;
    users text[] := connectors.secret_users(delete_secret.name);
begin
    if cardinality(users) > 0 and not coalesce(delete_secret.force, false) then
        raise sqlstate 'PT409' using message = format('Secret %L is used by %s.', delete_secret.name, array_to_string(users, ', ')),
            hint = 'Change their settings first, or delete it by force.';
    end if;
    delete from connectors.secrets as s where s.name = delete_secret.name returning s.* into old;
    if old.name is null then
        delete from vault.secrets as s where s.name = delete_secret.name returning s.id into old.secret_id;
    else
        delete from vault.secrets as s where s.id in (old.secret_id, old.previous_id);
    end if;
    if old.secret_id is null then
        raise sqlstate 'PT404' using message = format('Secret %L does not exist.', delete_secret.name),
            hint = 'List the secrets with secret_list().';
    end if;
    perform connectors.append_secret_audit('delete', delete_secret.name, old.secret_id, null,
        'version ' || coalesce(old.version, 1));
end
$$;
comment on function connectors.delete_secret(text, boolean) is 'Forgets a secret for good; refused while an instance refers to it.';

create function connectors.secret_list() returns table (
    name text, version integer, description text, created_at timestamptz, created_by text, rotated_at timestamptz,
    rotated_by text, expires_at timestamptz, previous_until timestamptz, last_read_at timestamptz, key_id uuid,
    used_by text[])
language sql stable security definer set search_path = '' as $$
    select coalesce(s.name, v.name), coalesce(s.version, 1), coalesce(s.description, v.description),
        coalesce(s.created_at, v.created_at), s.created_by, s.rotated_at, s.rotated_by, s.expires_at,
        case when s.previous_until > clock_timestamp() then s.previous_until end,
        (select max(g.used_at) from connectors.secret_grants as g where g.name = coalesce(s.name, v.name)),
        v.key_id, connectors.secret_users(coalesce(s.name, v.name))
    from vault.secrets as v
    full join connectors.secrets as s on s.secret_id = v.id
    where s.name is not null
        or (v.name is not null and not exists (select from connectors.secrets as p where p.previous_id = v.id))
    order by 1
$$;
comment on function connectors.secret_list() is 'The secrets and who uses them, never a value; also those made with Vault''s own functions.';

create function connectors.grant_secret(name text, run_id uuid default null, detail text default null)
returns table (grant_id uuid, outcome text, message text)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    wanted uuid;
    new_id uuid;
begin
    select s.secret_id into wanted from connectors.secrets as s where s.name = grant_secret.name;
    if wanted is null and grant_secret.name ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$' then
        select s.id into wanted from vault.secrets as s where s.name = grant_secret.name;
    end if;
    if wanted is null then
        perform connectors.append_secret_audit('deny', coalesce(grant_secret.name, ''), null, grant_secret.run_id, 'unknown');
        return query select null::uuid, 'unknown', format('Secret %L does not exist.', grant_secret.name);
        return;
    end if;
    -- Spent permissions are needed no longer than to tell which runs hold a value.
    delete from connectors.secret_grants as g where g.id in (
        select o.id from connectors.secret_grants as o
        where o.name = grant_secret.name and o.granted_at < clock_timestamp() - interval '90 days' limit 100);
    delete from vault.secrets as v using connectors.secrets as s
    where s.name = grant_secret.name and v.id = s.previous_id and s.previous_until <= clock_timestamp();
    if found then
        update connectors.secrets as s set previous_id = null, previous_until = null where s.name = grant_secret.name;
    end if;
    insert into connectors.secret_grants as g (name, secret_id, run_id, actor)
    values (grant_secret.name, wanted, grant_secret.run_id, connectors.caller())
    returning g.id into new_id;
    perform connectors.append_secret_audit('grant', grant_secret.name, wanted, grant_secret.run_id, grant_secret.detail);
    return query select new_id, 'granted'::text, null::text;
end
$$;
comment on function connectors.grant_secret(text, uuid, text) is
    'Logs and grants one read; the caller has checked that it is due. Internal.';

create function connectors.request_secret(run_id uuid, lease_token uuid, name text)
returns table (grant_id uuid, outcome text, message text)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    instance text;
    settings jsonb;
begin
    select i.id, i.config into instance, settings
    from connectors.connector_runs as r join connectors.connector_instances as i on i.id = r.instance_id
    where r.id = request_secret.run_id and r.status = 'running' and r.lease_token = request_secret.lease_token
        and r.lease_until > clock_timestamp() and coalesce(r.claimed_by, connectors.caller()) = connectors.caller();
    -- A refusal returns instead of raising: what is raised would take its row in the log back.
    if instance is null then
        perform connectors.append_secret_audit('deny', coalesce(request_secret.name, ''), null,
            request_secret.run_id, 'no lease');
        return query select null::uuid, 'no_lease', format('Run %s is not held by this login under this lease.', request_secret.run_id);
    elsif connectors.refers_to_secret(settings, request_secret.name) is not true then
        perform connectors.append_secret_audit('deny', coalesce(request_secret.name, ''), null, request_secret.run_id, 'not referred to');
        return query select null::uuid, 'not_referred', format('Instance %L does not refer to secret %L.', instance, request_secret.name);
    else
        return query select * from connectors.grant_secret(request_secret.name, request_secret.run_id, 'instance ' || instance);
    end if;
end
$$;
comment on function connectors.request_secret(uuid, uuid, text) is
    'Phase 1, to be committed: logs that the holder of a run asks for a secret its instance refers to, and grants one read. Refusals have no grant_id.';

create function connectors.request_instance_secret(instance_id text, name text)
returns table (grant_id uuid, outcome text, message text)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if exists (
        select from connectors.connector_instances as i
        where i.id = request_instance_secret.instance_id and i.status <> 'archived'
            and connectors.refers_to_secret(i.config, request_instance_secret.name)
    ) then
        return query select * from connectors.grant_secret(
            request_instance_secret.name, null, 'instance ' || request_instance_secret.instance_id);
        return;
    end if;
    perform connectors.append_secret_audit('deny', coalesce(request_instance_secret.name, ''), null, null, 'not referred to');
    return query select null::uuid, 'not_referred', format('Instance %L does not refer to secret %L.',
        request_instance_secret.instance_id, request_instance_secret.name);
end
$$;
comment on function connectors.request_instance_secret(text, text) is
    'Phase 1 for administrators who check an instance or read it dry, without a run.';

create function connectors.open_secret(name text) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    known connectors.secrets;
    stored record;
    answers jsonb := '[]';
    wanted uuid;
begin
    select s.* into known from connectors.secrets as s where s.name = open_secret.name;
    foreach wanted in array array[coalesce(known.secret_id, (select v.id from vault.secrets as v where v.name = open_secret.name))]
        || case when known.previous_until > clock_timestamp() then array[known.previous_id] else '{}' end
    loop
        select d.* into stored from vault.decrypted_secrets as d where d.id = wanted;
        if not found then
            raise sqlstate 'PT404' using message = format('Secret %L does not exist any more.', open_secret.name),
                hint = 'Store it again.';
        end if;
        answers := answers || case
            when stored.decrypted_secret is not null then jsonb_build_object('value', stored.decrypted_secret)
            else jsonb_build_object('sealed', jsonb_build_object('id', stored.id, 'secret', stored.secret,
                'key_id', stored.key_id, 'nonce', encode(stored.nonce, 'base64')))
        end;
    end loop;
    return jsonb_build_object('name', open_secret.name, 'version', coalesce(known.version, 1)) || (answers -> 0)
        || case when answers -> 1 is null then '{}' else jsonb_build_object('previous', answers -> 1) end;
end
$$;
comment on function connectors.open_secret(text) is
    'The value, or what only a client can open; with the one before while both are valid. Internal.';

create function connectors.read_secret(grant_id uuid, run_id uuid default null, lease_token uuid default null) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    granted connectors.secret_grants;
    run connectors.connector_runs;
begin
    select g.* into granted from connectors.secret_grants as g
    where g.id = read_secret.grant_id and g.actor = connectors.caller() for update;
    if not found or granted.run_id is distinct from read_secret.run_id then
        raise log 'ipai secret: refused grant % to %', read_secret.grant_id, connectors.caller();
        raise sqlstate 'PT404' using message = format('There is no grant %s for this login and run.', read_secret.grant_id),
            hint = 'Ask with request_secret(run_id, lease_token, name) and commit.';
    end if;
    -- While the request can still be taken back, so can its row in the log.
    if pg_xact_status(granted.transaction_id) is distinct from 'committed' then
        raise log 'ipai secret %: uncommitted grant % tried by %', granted.name, granted.id, granted.actor;
        raise sqlstate 'PT409' using message = format('Grant %s was made in a transaction that is not committed.', granted.id),
            hint = 'Commit after request_secret, then call read_secret.';
    end if;
    if granted.used_at is not null or granted.expires_at <= clock_timestamp() then
        raise sqlstate 'PT410' using
            message = format('Grant %s %s.', granted.id, case when granted.used_at is null then 'has expired' else 'was used' end),
            hint = 'Ask again with request_secret(run_id, lease_token, name).';
    end if;
    if granted.run_id is not null then
        run := connectors.leased_run(granted.run_id, read_secret.lease_token);
        if run.lease_until <= clock_timestamp() or coalesce(run.claimed_by, granted.actor) <> granted.actor then
            raise sqlstate 'PT410' using message = format('The lease on run %s is lost.', run.id),
                hint = 'Stop working on it and write nothing more for it.';
        end if;
    end if;
    update connectors.secret_grants as g set used_at = clock_timestamp() where g.id = granted.id;
    perform connectors.append_secret_audit('read', granted.name, granted.secret_id, granted.run_id, null);
    return connectors.open_secret(granted.name);
end
$$;
comment on function connectors.read_secret(uuid, uuid, uuid) is
    'Phase 2: the value for a committed grant, once, within 30 seconds, to the login that asked and while it holds the run.';

create function connectors.rewrap_secrets() returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
    one record;
    changed integer := 0;
begin
    if to_regprocedure('vault._keys()') is null then
        return 0; -- Supabase rotates its key itself
    end if;
    for one in
        select v.id, coalesce(s.name, v.name, v.id::text) as name
        from vault.secrets as v left join connectors.secrets as s on v.id in (s.secret_id, s.previous_id)
        order by v.id
    loop
        if vault._rewrap(one.id) then
            perform connectors.append_secret_audit('rewrap', one.name, one.id);
            changed := changed + 1;
        end if;
    end loop;
    return changed;
end
$$;
comment on function connectors.rewrap_secrets() is 'Seals what the server has sealed under the newest of its keys; returns how many.';

create function connectors.secret_keys() returns table (key_id uuid, sealed_by text, secrets bigint)
language sql stable security definer set search_path = '' as $$
    select v.key_id, case split_part(v.secret, '.', 1) when 'gcm1' then 'client' else 'server' end, count(*)
    from vault.secrets as v
    group by 1, 2
    order by 1, 2
$$;
comment on function connectors.secret_keys() is 'How many values each key seals, values before a rotation included.';

create function connectors.client_sealed_secrets() returns table (id uuid, name text, secret text, key_id uuid, nonce text)
language sql stable security definer set search_path = '' as $$
    select v.id, coalesce(s.name, v.name, v.id::text), v.secret, v.key_id, encode(v.nonce, 'base64')
    from vault.secrets as v left join connectors.secrets as s on v.id in (s.secret_id, s.previous_id)
    where v.secret ~ '^gcm1\.'
    order by v.id
$$;
comment on function connectors.client_sealed_secrets() is 'What clients have sealed, to be sealed under a new key by one of them.';

create function connectors.store_rewrapped_secret(id uuid, old_secret text, new_secret text, new_key_id uuid) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    its_name text;
begin
    if split_part(store_rewrapped_secret.old_secret, '.', 3) is distinct from split_part(store_rewrapped_secret.new_secret, '.', 3) then
        raise sqlstate 'PT422' using message = format('Secret %s would get another value.', store_rewrapped_secret.id),
            hint = 'Change values with rotate_secret(name, value).';
    end if;
    update vault.secrets as v
    set secret = store_rewrapped_secret.new_secret, key_id = store_rewrapped_secret.new_key_id
    where v.id = store_rewrapped_secret.id and v.secret = store_rewrapped_secret.old_secret
    returning v.name into its_name;
    if not found then
        return false;
    end if;
    perform connectors.append_secret_audit('rewrap', coalesce(its_name, store_rewrapped_secret.id::text), store_rewrapped_secret.id);
    return true;
end
$$;
comment on function connectors.store_rewrapped_secret(uuid, text, text, uuid) is
    'Stores a data key that a client has sealed under a new key; false: the secret has changed meanwhile.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['secrets', 'secret_grants'] loop
        execute format('alter table connectors.%I enable row level security', table_name);
        execute format('alter table connectors.%I force row level security', table_name);
        execute format('create policy owner_all on connectors.%I for all to %I using (true) with check (true)',
            table_name, current_user);
        execute format('create policy staff_read on connectors.%I for select to service_role, ipai_admin, ipai_operator using (true)',
            table_name);
        execute format('grant select on connectors.%I to service_role, ipai_admin, ipai_operator', table_name);
    end loop;
end
$row_security$;

revoke execute on function connectors.note_claimer(), connectors.secret_sealing(),
    connectors.put_into_vault(text, text, jsonb, text),
    connectors.create_secret(text, text, jsonb, text, timestamptz),
    connectors.rotate_secret(text, text, jsonb, interval, boolean, timestamptz),
    connectors.refers_to_secret(jsonb, text), connectors.secret_users(text),
    connectors.delete_secret(text, boolean), connectors.secret_list(),
    connectors.grant_secret(text, uuid, text), connectors.request_secret(uuid, uuid, text),
    connectors.request_instance_secret(text, text), connectors.open_secret(text),
    connectors.read_secret(uuid, uuid, uuid), connectors.rewrap_secrets(), connectors.secret_keys(), connectors.client_sealed_secrets(),
    connectors.store_rewrapped_secret(uuid, text, text, uuid) from public;
grant execute on function connectors.secret_sealing(),
    connectors.create_secret(text, text, jsonb, text, timestamptz),
    connectors.rotate_secret(text, text, jsonb, interval, boolean, timestamptz),
    connectors.delete_secret(text, boolean), connectors.request_instance_secret(text, text),
    connectors.rewrap_secrets(), connectors.secret_keys(), connectors.client_sealed_secrets(),
    connectors.store_rewrapped_secret(uuid, text, text, uuid) to service_role, ipai_admin;
grant execute on function connectors.secret_list(), connectors.secret_users(text) to service_role, ipai_admin, ipai_operator;
grant execute on function connectors.request_secret(uuid, uuid, text) to service_role, ipai_worker;
grant execute on function connectors.read_secret(uuid, uuid, uuid) to service_role, ipai_admin, ipai_worker;

notify pgrst, 'reload schema';
