-- SPDX-License-Identifier: Apache-2.0
-- Settings may refer to a stored secret, ${secret:NAME}, as well as to a variable of the worker, ${NAME}.

create or replace function connectors.refuse_secrets(definition_id text, definition_version integer, config jsonb) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
    secret_name text;
    reference constant text := '"\$\{([A-Za-z_][A-Za-z0-9_]*|secret:[A-Za-z0-9][A-Za-z0-9._/-]{0,127})\}"';
begin
    select s.key into secret_name
    from connectors.connector_definitions as d
    cross join lateral jsonb_each(coalesce(d.spec -> 'settings', '{}')) as s
    where d.id = refuse_secrets.definition_id and d.version = refuse_secrets.definition_version
        and s.value -> 'secret' = 'true' and refuse_secrets.config ? s.key
        -- A reference, or a list of them, is no secret.
        and (refuse_secrets.config -> s.key)::text !~ ('^(' || reference || '|\[(' || reference || '(, )?)*\])$')
    limit 1;
    if secret_name is not null then
        raise sqlstate 'PT422' using
            message = format('Setting %L is a secret and is not stored in the configuration.', secret_name),
            hint = 'Store a reference instead: "${secret:NAME}" to a secret of the vault, '
                'or "${GITHUB_TOKEN}" to an environment variable of the worker.';
    end if;
end
$$;
