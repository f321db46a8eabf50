-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121003000_vault, with all secrets; the extension of Supabase stays.

do $vault$
begin
    if not exists (select from pg_catalog.pg_extension where extname = 'supabase_vault') then
        drop view vault.decrypted_secrets;
        drop function vault.update_secret(uuid, text, text, text, uuid);
        drop function vault.create_secret(text, text, text, uuid);
        drop function vault._rewrap(uuid);
        drop function vault._open(uuid, text, uuid);
        drop function vault._data_key(uuid, text, uuid);
        drop function vault._seal(uuid, text);
        drop function vault._pgp(text, bytea, text);
        drop function vault._keys();
        drop function vault._pgcrypto();
        drop table vault.secrets;
        drop schema vault;
    end if;
    -- What the migration has made itself; somebody else may use it by now.
    if exists (
        select from pg_catalog.pg_extension as e
        where e.extname = 'pgcrypto'
            and obj_description(e.oid, 'pg_extension') = 'Cryptographic functions that schema vault needs.'
    ) then
        drop extension pgcrypto;
    end if;
    if obj_description(to_regnamespace('extensions'), 'pg_namespace') = 'Extensions that schema vault needs.' then
        drop schema extensions;
    end if;
exception when dependent_objects_still_exist then
    raise exception using message = sqlerrm, hint = 'Drop what uses it first.';
end
$vault$;
