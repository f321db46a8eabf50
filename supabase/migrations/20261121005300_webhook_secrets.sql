-- SPDX-License-Identifier: Apache-2.0
-- Signing secrets from the vault: a notifier asks for the secret of a delivery it holds, and reads
-- it in a second transaction with read_secret(grant_id), as the holder of a run does.

create function connectors.request_webhook_secret(delivery_id bigint, claim_token uuid, name text)
returns table (grant_id uuid, outcome text, message text)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    endpoint text;
    wanted text := '${secret:' || request_webhook_secret.name || '}';
begin
    select e.id into endpoint
    from connectors.webhook_deliveries as d join connectors.webhook_endpoints as e on e.id = d.endpoint_id
    where d.id = request_webhook_secret.delivery_id and d.claim_token = request_webhook_secret.claim_token
        and d.status = 'sending' and d.next_attempt_at > clock_timestamp()
        and (e.secret_ref = wanted
            or (e.previous_secret_ref = wanted and e.previous_secret_until > clock_timestamp()));
    if endpoint is not null then
        return query select * from connectors.grant_secret(request_webhook_secret.name, null, 'webhook ' || endpoint);
        return;
    end if;
    -- A refusal returns instead of raising: what is raised would take its row in the log back.
    perform connectors.append_secret_audit('deny', coalesce(request_webhook_secret.name, ''), null, null, 'no delivery');
    return query select null::uuid, 'no_delivery', format('Delivery %s is not held, or its endpoint does not sign with secret %L.',
        request_webhook_secret.delivery_id, request_webhook_secret.name);
end
$$;
comment on function connectors.request_webhook_secret(bigint, uuid, text) is
    'Phase 1 for notifiers, to be committed: logs and grants one read of the signing secret of a claimed delivery.';
revoke all on function connectors.request_webhook_secret(bigint, uuid, text) from public;
grant execute on function connectors.request_webhook_secret(bigint, uuid, text) to service_role, ipai_worker;

notify pgrst, 'reload schema';
