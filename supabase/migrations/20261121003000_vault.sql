-- SPDX-License-Identifier: Apache-2.0
-- Supabase's Vault on a PostgreSQL without it: the same table, view and functions. Where the
-- extension exists, nothing of this is created. Values are sealed by envelope encryption: each has a
-- data key of its own, and that is sealed under a key that never is in the database. pgcrypto does it
-- (OpenPGP, AES-256 with integrity protection); a server without pgcrypto or without a key stores what
-- its clients have sealed (AES-256-GCM) and cannot open it.

do $pgcrypto$
begin
    if exists (select from pg_catalog.pg_extension where extname in ('pgcrypto', 'supabase_vault'))
        or not exists (select from pg_catalog.pg_available_extensions where name = 'pgcrypto') then
        return;
    end if;
    if to_regnamespace('extensions') is null then
        create schema extensions;
        comment on schema extensions is 'Extensions that schema vault needs.';
    end if;
    create extension pgcrypto with schema extensions;
    comment on extension pgcrypto is 'Cryptographic functions that schema vault needs.';
exception when insufficient_privilege then
    raise notice 'Role % may not create the extension pgcrypto: clients will seal secrets themselves.', current_user;
end
$pgcrypto$;

do $vault$
begin
    if exists (select from pg_catalog.pg_extension where extname = 'supabase_vault') then
        return;
    end if;

    create schema vault;
    comment on schema vault is 'Secrets, sealed; the interface of Supabase Vault for servers without it.';
    revoke all on schema vault from public;
    grant usage on schema vault to service_role;

    create table vault.secrets (
        id uuid not null default gen_random_uuid(),
        name text,
        description text not null default '',
        secret text not null,
        key_id uuid,
        nonce bytea,
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now(),
        constraint secrets_pkey primary key (id),
        constraint secrets_sealed check (secret ~ '^(pgp1|gcm1)\.[A-Za-z0-9+/=]+\.[A-Za-z0-9+/=]+$')
    );
    create unique index secrets_name_idx on vault.secrets (name) where name is not null;
    comment on table vault.secrets is 'One sealed value per row. Never insert here: vault.create_secret seals.';
    comment on column vault.secrets.id is 'Bound into the sealed value: another row''s value does not open.';
    comment on column vault.secrets.name is 'Unique, if it has one.';
    comment on column vault.secrets.description is 'For people.';
    comment on column vault.secrets.secret is '<format>.<sealed data key>.<value sealed under it>, base64.';
    comment on column vault.secrets.key_id is 'The key that seals the data key; it is outside the database.';
    comment on column vault.secrets.nonce is 'Nonce of the value where its format needs one.';
    comment on column vault.secrets.created_at is 'When it was created.';
    comment on column vault.secrets.updated_at is 'When it was last changed.';
    alter table vault.secrets enable row level security;
    alter table vault.secrets force row level security;
    execute format('create policy owner_all on vault.secrets for all to %I using (true) with check (true)', current_user);
    create policy service_read on vault.secrets for select to service_role using (true);
    create policy service_delete on vault.secrets for delete to service_role using (true);

    execute $sql$
    create function vault._pgcrypto() returns text
    language sql stable set search_path = '' as $function$
        select n.nspname::text from pg_catalog.pg_extension as e
        join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
        where e.extname = 'pgcrypto'
    $function$
    $sql$;
    comment on function vault._pgcrypto() is 'The schema of pgcrypto; null where the server has none.';

    execute $sql$
    create function vault._keys() returns table (place bigint, id uuid, key text)
    language plpgsql stable security definer set search_path = '' as $function$
    declare
        ring text;
    begin
        begin
            -- Beside the data directory, not in it: copies of the data do not carry the keys.
            ring := pg_catalog.pg_read_file('../ipai-vault.keys', 0, 65536, true);
        exception when insufficient_privilege then
            ring := null; -- the owner may not read the server's files
        end;
        return query
            select l.place, split_part(l.line, ' ', 1)::uuid, split_part(l.line, ' ', 2)
            from regexp_split_to_table(
                coalesce(ring, current_setting('ipai.vault_keys', true)), E'[\r\n]+') with ordinality as l (line, place)
            where l.line ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} [A-Za-z0-9+/]{43}=$';
    end
    $function$
    $sql$;
    comment on function vault._keys() is
        'The key ring: of the server''s file ipai-vault.keys, else of the session''s setting ipai.vault_keys. The last key seals.';

    execute $sql$
    create function vault._pgp(verb text, data bytea, key text) returns bytea
    language plpgsql volatile set search_path = '' as $function$
    declare
        place text := vault._pgcrypto();
        answer bytea;
    begin
        if verb = 'seal' then
            execute format('select %I.pgp_sym_encrypt_bytea($1, $2, %L)', place, 'cipher-algo=aes256')
                into answer using data, key;
            return answer;
        end if;
        -- Only the packet with integrity protection (18) is opened, never the older one without (9).
        if length(data) < 4 or get_byte(data, 0) <> 195 or get_byte(data, 2 + get_byte(data, 1)) <> 210 then
            return null;
        end if;
        execute format('select %I.pgp_sym_decrypt_bytea($1, $2)', place) into answer using data, key;
        return answer;
    exception when external_routine_invocation_exception or array_subscript_error then
        return null; -- wrong key, or not as it was written
    end
    $function$
    $sql$;
    comment on function vault._pgp(text, bytea, text) is 'pgcrypto''s OpenPGP, wherever it is installed; null: it does not open.';

    execute $sql$
    create function vault._seal(secret_id uuid, value text, out sealed text, out key_id uuid)
    language plpgsql volatile security definer set search_path = '' as $function$
    declare
        key text;
        data_key bytea;
    begin
        select k.id, k.key into key_id, key from vault._keys() as k order by k.place desc limit 1;
        if key is null or vault._pgcrypto() is null then
            raise sqlstate 'PT409' using
                message = 'This server cannot seal a secret: ' || case when key is null
                    then 'it has no key.' else 'it has no pgcrypto.' end,
                hint = 'Use `ipai secret set`, which seals in the client where the server cannot.';
        end if;
        execute format('select %I.gen_random_bytes(32)', vault._pgcrypto()) into data_key;
        sealed := 'pgp1.'
            || translate(encode(vault._pgp('seal', convert_to('ipai-vault ' || secret_id || ' ', 'UTF8') || data_key, key), 'base64'), E'\n', '')
            || '.'
            || translate(encode(vault._pgp('seal', convert_to(value, 'UTF8'), encode(data_key, 'hex')), 'base64'), E'\n', '');
    end
    $function$
    $sql$;
    comment on function vault._seal(uuid, text) is 'Seals a value for one row under a new data key.';

    execute $sql$
    create function vault._data_key(secret_id uuid, sealed text, key_id uuid) returns bytea
    language plpgsql volatile security definer set search_path = '' as $function$
    declare
        bound bytea := convert_to('ipai-vault ' || _data_key.secret_id || ' ', 'UTF8');
        key text;
        opened bytea;
    begin
        select k.key into key from vault._keys() as k where k.id = _data_key.key_id;
        if key is null or vault._pgcrypto() is null then
            raise sqlstate 'PT409' using
                message = format('Secret %s is sealed under key %s, which this server does not have.', secret_id, key_id),
                hint = 'Put the key back into the server''s key file, and pgcrypto into the database.';
        end if;
        opened := vault._pgp('open', decode(split_part(sealed, '.', 2), 'base64'), key);
        if opened is null or substr(opened, 1, length(bound)) <> bound then
            raise sqlstate 'PT422' using
                message = format('Secret %s does not open: it was changed, or belongs to another row.', secret_id),
                hint = 'Find out who wrote to vault.secrets, then store the value anew.';
        end if;
        return substr(opened, length(bound) + 1);
    end
    $function$
    $sql$;
    comment on function vault._data_key(uuid, text, uuid) is 'Opens the data key of a row; refuses that of another.';

    execute $sql$
    create function vault._open(secret_id uuid, sealed text, key_id uuid) returns text
    language plpgsql volatile security definer set search_path = '' as $function$
    declare
        opened bytea;
    begin
        if split_part(sealed, '.', 1) <> 'pgp1' then
            return null; -- sealed by a client: only clients can open it
        end if;
        opened := vault._pgp('open', decode(split_part(sealed, '.', 3), 'base64'),
            encode(vault._data_key(secret_id, sealed, key_id), 'hex'));
        if opened is null then
            raise sqlstate 'PT422' using
                message = format('Secret %s does not open: it was changed, or belongs to another row.', secret_id),
                hint = 'Find out who wrote to vault.secrets, then store the value anew.';
        end if;
        return convert_from(opened, 'UTF8');
    end
    $function$
    $sql$;
    comment on function vault._open(uuid, text, uuid) is 'Opens what this server has sealed; null for what clients have.';

    execute $sql$
    create function vault._rewrap(secret_id uuid) returns boolean
    language plpgsql volatile security definer set search_path = '' as $function$
    declare
        row vault.secrets;
        newest record;
        data_key bytea;
    begin
        select k.id, k.key into newest from vault._keys() as k order by k.place desc limit 1;
        select s.* into row from vault.secrets as s where s.id = _rewrap.secret_id for update;
        if newest.id is null or row.id is null or row.key_id = newest.id or row.secret !~ '^pgp1\.' then
            return false;
        end if;
        data_key := vault._data_key(row.id, row.secret, row.key_id);
        update vault.secrets as s
        set key_id = newest.id,
            secret = 'pgp1.'
                || translate(encode(vault._pgp('seal', convert_to('ipai-vault ' || row.id || ' ', 'UTF8') || data_key, newest.key), 'base64'), E'\n', '')
                || '.' || split_part(row.secret, '.', 3)
        where s.id = row.id;
        return true;
    end
    $function$
    $sql$;
    comment on function vault._rewrap(uuid) is 'Seals the data key of a row under the newest key; the value stays as it is.';

    execute $sql$
    create function vault.create_secret(
        new_secret text, new_name text default null, new_description text default '', new_key_id uuid default null
    ) returns uuid
    language plpgsql volatile security definer set search_path = '' as $function$
    declare
        new_id uuid := gen_random_uuid();
        made record;
    begin
        made := vault._seal(new_id, new_secret);
        insert into vault.secrets (id, name, description, secret, key_id)
        values (new_id, new_name, coalesce(new_description, ''), made.sealed, made.key_id);
        return new_id;
    end
    $function$
    $sql$;
    comment on function vault.create_secret(text, text, text, uuid) is
        'Seals a value and returns its id. Pass the value as a parameter, never as a literal. new_key_id is not used.';

    execute $sql$
    create function vault.update_secret(
        secret_id uuid, new_secret text default null, new_name text default null,
        new_description text default null, new_key_id uuid default null
    ) returns void
    language plpgsql volatile security definer set search_path = '' as $function$
    declare
        made record;
    begin
        if new_secret is not null then
            made := vault._seal(update_secret.secret_id, new_secret);
            update vault.secrets as s set secret = made.sealed, key_id = made.key_id, nonce = null
            where s.id = update_secret.secret_id;
        end if;
        update vault.secrets as s
        set name = coalesce(new_name, s.name),
            description = coalesce(new_description, s.description),
            updated_at = now()
        where s.id = update_secret.secret_id;
    end
    $function$
    $sql$;
    comment on function vault.update_secret(uuid, text, text, text, uuid) is
        'Changes what is given; a value is sealed anew under the newest key.';

    execute $sql$
    create view vault.decrypted_secrets with (security_barrier = true) as
    select s.id, s.name, s.description, s.secret, vault._open(s.id, s.secret, s.key_id) as decrypted_secret,
        s.key_id, s.nonce, s.created_at, s.updated_at
    from vault.secrets as s
    $sql$;
    comment on view vault.decrypted_secrets is
        'The secrets with their values; null where a client has sealed it. Reading here leaves no trace: use request_secret.';

    revoke all on all functions in schema vault from public;
    revoke all on all tables in schema vault from public;
    grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
    grant execute on function vault.create_secret(text, text, text, uuid),
        vault.update_secret(uuid, text, text, text, uuid), vault._open(uuid, text, uuid) to service_role;
end
$vault$;
