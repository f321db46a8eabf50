-- SPDX-License-Identifier: Apache-2.0
-- A secret that signs what is posted to a webhook is in use too: it is not deleted by mistake.

create function connectors.secret_endpoints(name text) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg('webhook ' || e.id order by e.id), '{}') from connectors.webhook_endpoints as e
    where '${secret:' || secret_endpoints.name || '}' in (
        e.secret_ref, case when e.previous_secret_until > clock_timestamp() then e.previous_secret_ref end)
$$;
comment on function connectors.secret_endpoints(text) is 'The webhook endpoints that sign with a secret; internal.';

create or replace function connectors.delete_secret(name text, force boolean default false) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    old connectors.secrets;
    users text[] := connectors.secret_users(delete_secret.name) || connectors.secret_endpoints(delete_secret.name);
begin
    if cardinality(users) > 0 and not coalesce(delete_secret.force, false) then
        raise sqlstate 'PT409' using message = format('Secret %L is used by %s.', delete_secret.name, array_to_string(users, ', ')),
            hint = 'Change them first, or delete it by force.';
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
comment on function connectors.delete_secret(text, boolean) is
    'Forgets a secret for good; refused while an instance or a webhook refers to it.';

revoke all on function connectors.secret_endpoints(text) from public;

notify pgrst, 'reload schema';
