-- SPDX-License-Identifier: Apache-2.0
-- The outbox. Every change of a run's status writes an event, and one delivery for each endpoint
-- that wants it, in the transaction of the change: what is told has happened, and what has happened
-- is told at least once. `ipai notifier` claims deliveries and posts them.

create table connectors.connector_events (
    id uuid not null default gen_random_uuid(),
    type text not null,
    at timestamptz not null default clock_timestamp(),
    run_id uuid,
    instance_id text,
    payload jsonb not null,
    constraint connector_events_pkey primary key (id),
    constraint connector_events_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete cascade,
    constraint connector_events_type_is_name check (type ~ '^(run|webhook)\.[a-z_]+$'),
    constraint connector_events_run_has_id check (type !~ '^run\.' or (run_id is not null and instance_id is not null)),
    constraint connector_events_payload_is_object check (jsonb_typeof(payload) = 'object')
);
create index connector_events_run_idx on connectors.connector_events (run_id);
create index connector_events_recent_idx on connectors.connector_events (at desc);
comment on table connectors.connector_events is 'Outbox: what happened to runs, written in the transaction in which it happened. Purged after 30 days.';
comment on column connectors.connector_events.id is 'Event id; receivers see it as webhook-id and drop what they have seen.';
comment on column connectors.connector_events.type is 'run.<status>, or webhook.test.';
comment on column connectors.connector_events.at is 'When it happened.';
comment on column connectors.connector_events.run_id is 'The run; null for test events.';
comment on column connectors.connector_events.instance_id is 'The instance of the run.';
comment on column connectors.connector_events.payload is 'What is posted; see schemas/run_event.schema.json. Holds no secrets.';

create table connectors.webhook_endpoints (
    id text not null,
    url text not null,
    secret_ref text not null,
    previous_secret_ref text,
    previous_secret_until timestamptz,
    envs text[],
    sources text[],
    instances text[],
    statuses text[],
    description text not null default '',
    timeout_seconds integer not null default 10,
    retry_seconds integer[] not null default '{5,30,120,600,3600,21600,86400}',
    status text not null default 'active',
    disabled_reason text,
    created_by text not null default session_user,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    constraint webhook_endpoints_pkey primary key (id),
    constraint webhook_endpoints_id_is_slug check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    constraint webhook_endpoints_url_is_http check (
        length(url) <= 2000 and url ~ '^https?://[^][[:space:]/?#@\\]+|^https?://\[[0-9a-fA-F:.]+\]'
        and url !~ '^https?://[^/?#]*@' and url !~ '[[:space:]#\\]'),
    constraint webhook_endpoints_secret_is_reference check (
        secret_ref ~ '^\$\{(secret:)?[A-Za-z_][A-Za-z0-9_./-]{0,199}\}$'
        and previous_secret_ref ~ '^\$\{(secret:)?[A-Za-z_][A-Za-z0-9_./-]{0,199}\}$'),
    constraint webhook_endpoints_previous_secret_ends check (
        (previous_secret_ref is null) = (previous_secret_until is null)),
    constraint webhook_endpoints_filters_not_empty check (
        coalesce(cardinality(envs), 1) > 0 and coalesce(cardinality(sources), 1) > 0
        and coalesce(cardinality(instances), 1) > 0 and coalesce(cardinality(statuses), 1) > 0),
    constraint webhook_endpoints_statuses_known check (
        statuses <@ array['queued', 'running', 'succeeded', 'failed', 'cancelled']),
    constraint webhook_endpoints_timeout_sensible check (timeout_seconds between 5 and 15),
    constraint webhook_endpoints_retries_sensible check (
        cardinality(retry_seconds) <= 20 and array_position(retry_seconds, null) is null
        and 0 <= all (retry_seconds) and 604800 >= all (retry_seconds)),
    constraint webhook_endpoints_status_known check (status in ('active', 'paused', 'disabled')),
    constraint webhook_endpoints_disabled_says_why check ((status = 'disabled') = (disabled_reason is not null))
);
comment on table connectors.webhook_endpoints is 'Where events are posted, which of them, and by which reference the notifier finds the signing secret.';
comment on column connectors.webhook_endpoints.id is 'Slug.';
comment on column connectors.webhook_endpoints.url is 'Address; https, unless the notifier is told to allow another.';
comment on column connectors.webhook_endpoints.secret_ref is 'Reference to the signing secret, e.g. ${N8N_WEBHOOK_SECRET}; never the secret.';
comment on column connectors.webhook_endpoints.previous_secret_ref is 'During a rotation: the old secret, which signs too.';
comment on column connectors.webhook_endpoints.previous_secret_until is 'When the old secret stops signing.';
comment on column connectors.webhook_endpoints.envs is 'Only events of these environments; null: all.';
comment on column connectors.webhook_endpoints.sources is 'Only events of these source types; null: all.';
comment on column connectors.webhook_endpoints.instances is 'Only events of these instances; null: all.';
comment on column connectors.webhook_endpoints.statuses is 'Only these statuses of a run; null: all.';
comment on column connectors.webhook_endpoints.description is 'What it is for.';
comment on column connectors.webhook_endpoints.timeout_seconds is 'How long a delivery may take, 5 to 15 s.';
comment on column connectors.webhook_endpoints.retry_seconds is 'Longest wait after each failed try (full jitter); one try more than waits.';
comment on column connectors.webhook_endpoints.status is 'active; paused: deliveries wait; disabled: nothing is recorded for it.';
comment on column connectors.webhook_endpoints.disabled_reason is 'Why it is disabled, e.g. it answered 410.';
comment on column connectors.webhook_endpoints.created_by is 'Database login that created it.';
comment on column connectors.webhook_endpoints.created_at is 'When it was created.';
comment on column connectors.webhook_endpoints.updated_at is 'When it was last changed.';

create table connectors.webhook_deliveries (
    id bigint generated always as identity,
    event_id uuid not null,
    endpoint_id text not null,
    status text not null default 'pending',
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default clock_timestamp(),
    claim_token uuid,
    claimed_by text,
    attempted_at timestamptz,
    http_status integer,
    error text,
    ended_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    constraint webhook_deliveries_pkey primary key (id),
    constraint webhook_deliveries_once unique (event_id, endpoint_id),
    constraint webhook_deliveries_event_fkey foreign key (event_id)
        references connectors.connector_events (id) on delete cascade,
    constraint webhook_deliveries_endpoint_fkey foreign key (endpoint_id)
        references connectors.webhook_endpoints (id) on delete cascade,
    constraint webhook_deliveries_status_known check (status in ('pending', 'sending', 'delivered', 'dead')),
    constraint webhook_deliveries_attempts_not_negative check (attempts >= 0),
    constraint webhook_deliveries_sending_is_claimed check ((status = 'sending') = (claim_token is not null)),
    constraint webhook_deliveries_end_is_dated check ((status in ('delivered', 'dead')) = (ended_at is not null)),
    constraint webhook_deliveries_delivered_was_accepted check (
        status <> 'delivered' or coalesce(http_status between 200 and 299, false)),
    constraint webhook_deliveries_dead_says_why check (status <> 'dead' or coalesce(error ~ '\S', false))
);
create index webhook_deliveries_endpoint_idx on connectors.webhook_deliveries (endpoint_id, status, next_attempt_at, id);
create index webhook_deliveries_sending_idx on connectors.webhook_deliveries (next_attempt_at) where status = 'sending';
comment on table connectors.webhook_deliveries is 'One event to one endpoint. Dead ones stay and can be sent again.';
comment on column connectors.webhook_deliveries.id is 'Number in order of arrival.';
comment on column connectors.webhook_deliveries.event_id is 'What is told; the same id on every try.';
comment on column connectors.webhook_deliveries.endpoint_id is 'Whom.';
comment on column connectors.webhook_deliveries.status is 'pending, sending (claimed by a notifier), delivered or dead.';
comment on column connectors.webhook_deliveries.attempts is 'Tries so far, counted when claimed.';
comment on column connectors.webhook_deliveries.next_attempt_at is 'Not tried before; while sending: when the claim counts as lost.';
comment on column connectors.webhook_deliveries.claim_token is 'Only its holder may record how the try went.';
comment on column connectors.webhook_deliveries.claimed_by is 'The notifier that tried last.';
comment on column connectors.webhook_deliveries.attempted_at is 'When it was last tried.';
comment on column connectors.webhook_deliveries.http_status is 'What the endpoint answered last.';
comment on column connectors.webhook_deliveries.error is 'What went wrong last.';
comment on column connectors.webhook_deliveries.ended_at is 'When it was delivered or given up.';
comment on column connectors.webhook_deliveries.created_at is 'When it was queued.';

create function connectors.record_run_event() returns trigger
language plpgsql volatile security definer set search_path = '' as $$
declare
    instance connectors.connector_instances;
    source text;
    happened timestamptz := clock_timestamp();
    new_id uuid := gen_random_uuid();
    -- RFC 3339. Written out below: this runs three times in the life of each run, and a function
    -- with a search path of its own costs more than what it does.
    moment constant text := 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';
begin
    select i.* into instance from connectors.connector_instances as i where i.id = new.instance_id;
    source := substr(instance.definition_id, length('ipai_connector_') + 1);
    insert into connectors.connector_events (id, type, at, run_id, instance_id, payload)
    values (new_id, 'run.' || new.status, happened, new.id, new.instance_id, jsonb_build_object(
        'id', new_id,
        'type', 'run.' || new.status,
        'timestamp', to_char(happened at time zone 'UTC', moment),
        'data', jsonb_build_object(
            'run_id', new.id,
            'instance_id', new.instance_id,
            'source', source,
            'env', instance.env,
            'definition_version', coalesce(new.definition_version, instance.definition_version),
            'job_name', new.job_name,
            'mode', new.mode,
            'streams', new.streams,
            'triggered_by', new.triggered_by,
            'attempt', new.attempt,
            'max_attempts', new.max_attempts,
            'status', new.status,
            'previous_status', case when tg_op = 'UPDATE' then old.status end,
            'queued_at', to_char(new.queued_at at time zone 'UTC', moment),
            'started_at', to_char(new.started_at at time zone 'UTC', moment),
            'ended_at', to_char(new.ended_at at time zone 'UTC', moment),
            'rows_processed', new.rows_processed,
            'error_class', new.error_class,
            'error_summary', left(new.error_summary, 1000),
            'exit_code', new.exit_code,
            'retry_of', new.retry_of,
            -- Known because this runs at the end of the transaction that also queues the retry.
            'retried_as', case when new.status = 'failed' then (
                select r.id from connectors.connector_runs as r where r.retry_of = new.id) end)));
    insert into connectors.webhook_deliveries (event_id, endpoint_id)
    select new_id, e.id
    from connectors.webhook_endpoints as e
    where e.status <> 'disabled'
        and (e.statuses is null or new.status = any (e.statuses))
        and (e.envs is null or instance.env = any (e.envs))
        and (e.sources is null or source = any (e.sources))
        and (e.instances is null or new.instance_id = any (e.instances))
    -- Waits for whoever removes an endpoint just now, and then leaves it out.
    for key share of e;
    if found then -- NOTIFY makes commits wait for each other: only when somebody is to be told
        perform pg_notify('ipai_webhooks', '');
    end if;
    return null;
end
$$;
comment on function connectors.record_run_event() is 'Trigger: writes a run''s change of status into the outbox, with its deliveries.';

create constraint trigger connector_runs_event_of_insert after insert on connectors.connector_runs
    deferrable initially deferred for each row execute function connectors.record_run_event();
create constraint trigger connector_runs_event_of_update after update on connectors.connector_runs
    deferrable initially deferred for each row when (old.status is distinct from new.status)
    execute function connectors.record_run_event();

-- Endpoints

create function connectors.known_endpoint(endpoint_id text) returns connectors.webhook_endpoints
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    endpoint connectors.webhook_endpoints;
begin
    select e.* into endpoint from connectors.webhook_endpoints as e
    where e.id = known_endpoint.endpoint_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = format('Webhook endpoint %L does not exist.', known_endpoint.endpoint_id),
            hint = 'List the endpoints with webhook_list().';
    end if;
    return endpoint;
end
$$;
comment on function connectors.known_endpoint(text) is 'Locks an endpoint for this transaction; PT404 if there is none.';

create function connectors.refuse_webhook_secret(reference text) returns void
language plpgsql immutable set search_path = '' as $$
begin
    if coalesce(reference, '') !~ '^\$\{(secret:)?[A-Za-z_][A-Za-z0-9_./-]{0,199}\}$' then
        raise sqlstate 'PT422' using message = 'The signing secret is not given as a reference.',
            hint = 'Name an environment variable of the notifier, e.g. ${N8N_WEBHOOK_SECRET}, or a stored secret, e.g. ${secret:n8n}.';
    end if;
end
$$;
comment on function connectors.refuse_webhook_secret(text) is 'Raises PT422 unless the text is a reference to a secret.';

create function connectors.create_webhook_endpoint(
    endpoint_id text,
    url text,
    secret_ref text,
    envs text[] default null,
    sources text[] default null,
    instances text[] default null,
    statuses text[] default null,
    description text default '',
    timeout_seconds integer default 10,
    retry_seconds integer[] default '{5,30,120,600,3600,21600,86400}'
) returns table (id text, endpoint_status text, created boolean)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    was_new boolean;
    broken text;
begin
    perform connectors.refuse_webhook_secret(create_webhook_endpoint.secret_ref);
    begin
        insert into connectors.webhook_endpoints as e
            (id, url, secret_ref, envs, sources, instances, statuses, description, timeout_seconds, retry_seconds)
        values (create_webhook_endpoint.endpoint_id, create_webhook_endpoint.url, create_webhook_endpoint.secret_ref,
            create_webhook_endpoint.envs, create_webhook_endpoint.sources, create_webhook_endpoint.instances,
            create_webhook_endpoint.statuses, coalesce(create_webhook_endpoint.description, ''),
            coalesce(create_webhook_endpoint.timeout_seconds, 10),
            coalesce(create_webhook_endpoint.retry_seconds, '{5,30,120,600,3600,21600,86400}'))
        on conflict on constraint webhook_endpoints_pkey do update
            set url = excluded.url, envs = excluded.envs, sources = excluded.sources, instances = excluded.instances,
                statuses = excluded.statuses, description = excluded.description,
                timeout_seconds = excluded.timeout_seconds, retry_seconds = excluded.retry_seconds,
                updated_at = clock_timestamp()
            where e.secret_ref = excluded.secret_ref
        returning e.xmax = 0 into was_new; -- 0: inserted, not updated
    exception when check_violation or not_null_violation then
        get stacked diagnostics broken = constraint_name;
        raise sqlstate 'PT422' using
            message = case broken
                when 'webhook_endpoints_id_is_slug' then format('Endpoint id %L is not a slug.', create_webhook_endpoint.endpoint_id)
                when 'webhook_endpoints_url_is_http' then 'The address is no plain http(s) URL.'
                when 'webhook_endpoints_statuses_known' then format('Statuses %L are not all known.', create_webhook_endpoint.statuses)
                when 'webhook_endpoints_timeout_sensible' then format('A timeout of %s s is not possible.', create_webhook_endpoint.timeout_seconds)
                when 'webhook_endpoints_retries_sensible' then format('Waits %L are not possible.', create_webhook_endpoint.retry_seconds)
                when 'webhook_endpoints_filters_not_empty' then 'A filter is an empty list, which nothing passes.'
                else 'The endpoint has no id or no address.' end,
            hint = case broken
                when 'webhook_endpoints_id_is_slug' then 'Use up to 63 lower-case letters, digits, dashes and underscores, e.g. n8n-alerts.'
                when 'webhook_endpoints_url_is_http' then 'Use e.g. https://hooks.example.com/ipai, without user, password and fragment.'
                when 'webhook_endpoints_statuses_known' then 'Use queued, running, succeeded, failed, cancelled.'
                when 'webhook_endpoints_timeout_sensible' then 'Use 5 to 15 seconds.'
                when 'webhook_endpoints_retries_sensible' then 'Give up to 20 waits of 0 to 604800 seconds.'
                when 'webhook_endpoints_filters_not_empty' then 'Leave the filter out to let everything pass.'
                else 'Pass endpoint_id and url.' end;
    end;
    if was_new is null then
        raise sqlstate 'PT409' using
            message = format('Endpoint %L signs with another secret.', create_webhook_endpoint.endpoint_id),
            hint = 'Change it with rotate_webhook_secret(endpoint_id, secret_ref), so that receivers can follow.';
    end if;
    return query select e.id, e.status, was_new from connectors.webhook_endpoints as e
        where e.id = create_webhook_endpoint.endpoint_id;
end
$$;
comment on function connectors.create_webhook_endpoint(text, text, text, text[], text[], text[], text[], text, integer, integer[]) is
    'Creates an endpoint, or brings an existing one up to date; calling it again changes nothing.';

create function connectors.set_webhook_status(endpoint_id text, status text) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    perform connectors.known_endpoint(set_webhook_status.endpoint_id);
    if coalesce(set_webhook_status.status, '') not in ('active', 'paused', 'disabled') then
        raise sqlstate 'PT422' using message = format('Status %L is unknown.', set_webhook_status.status),
            hint = 'Use active, paused (deliveries wait) or disabled (nothing is recorded).';
    end if;
    update connectors.webhook_endpoints as e
    set status = set_webhook_status.status, updated_at = clock_timestamp(),
        disabled_reason = case when set_webhook_status.status = 'disabled' then 'disabled by ' || session_user end
    where e.id = set_webhook_status.endpoint_id;
    if set_webhook_status.status = 'disabled' then
        perform connectors.bury_deliveries(set_webhook_status.endpoint_id, 'The endpoint was disabled.');
    elsif set_webhook_status.status = 'active' then
        perform pg_notify('ipai_webhooks', '');
    end if;
    return set_webhook_status.status;
end
$$;
comment on function connectors.set_webhook_status(text, text) is
    'active; paused: deliveries wait; disabled: what is open ends as dead letters and nothing more is recorded.';

create function connectors.bury_deliveries(endpoint_id text, reason text) returns void
language sql volatile security definer set search_path = '' as $$
    update connectors.webhook_deliveries as d
    set status = 'dead', ended_at = clock_timestamp(), claim_token = null, error = bury_deliveries.reason
    where d.endpoint_id = bury_deliveries.endpoint_id and d.status = 'pending'
$$;
comment on function connectors.bury_deliveries(text, text) is 'Makes dead letters of what waits for an endpoint; internal.';

create function connectors.rotate_webhook_secret(
    endpoint_id text, secret_ref text, overlap interval default '24 hours'
) returns timestamptz
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    endpoint connectors.webhook_endpoints;
    until timestamptz;
begin
    perform connectors.refuse_webhook_secret(rotate_webhook_secret.secret_ref);
    endpoint := connectors.known_endpoint(rotate_webhook_secret.endpoint_id);
    if endpoint.secret_ref = rotate_webhook_secret.secret_ref then
        raise sqlstate 'PT409' using message = format('Endpoint %L signs with that secret already.', endpoint.id),
            hint = 'Put the new secret under a name of its own, so that both can sign for a while.';
    end if;
    if coalesce(rotate_webhook_secret.overlap, interval '-1') < interval '0' then
        raise sqlstate 'PT422' using message = format('An overlap of %s is not possible.', rotate_webhook_secret.overlap),
            hint = 'Use e.g. 24 hours; 0 ends the old secret at once.';
    end if;
    until := clock_timestamp() + rotate_webhook_secret.overlap;
    update connectors.webhook_endpoints as e
    set secret_ref = rotate_webhook_secret.secret_ref, previous_secret_ref = endpoint.secret_ref,
        previous_secret_until = until, updated_at = clock_timestamp()
    where e.id = endpoint.id;
    return until;
end
$$;
comment on function connectors.rotate_webhook_secret(text, text, interval) is
    'Signs with a new secret, and with the old one too until the overlap ends; returns that time.';

create function connectors.delete_webhook_endpoint(endpoint_id text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    delete from connectors.webhook_endpoints as e where e.id = delete_webhook_endpoint.endpoint_id;
    return found;
end
$$;
comment on function connectors.delete_webhook_endpoint(text) is 'Removes an endpoint with its deliveries; whether there was one.';

create function connectors.send_webhook_test(endpoint_id text) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    endpoint connectors.webhook_endpoints;
    test_id uuid := gen_random_uuid();
    new_id bigint;
begin
    endpoint := connectors.known_endpoint(send_webhook_test.endpoint_id);
    if endpoint.status = 'disabled' then
        raise sqlstate 'PT409' using message = format('Endpoint %L is disabled.', endpoint.id),
            detail = endpoint.disabled_reason, hint = 'Make it active with set_webhook_status(endpoint_id, status).';
    end if;
    insert into connectors.connector_events (id, type, payload)
    values (test_id, 'webhook.test', jsonb_build_object(
        'id', test_id,
        'type', 'webhook.test',
        'timestamp', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'data', jsonb_build_object('endpoint_id', endpoint.id)));
    insert into connectors.webhook_deliveries as d (event_id, endpoint_id) values (test_id, endpoint.id)
    returning d.id into new_id;
    perform pg_notify('ipai_webhooks', '');
    return new_id;
end
$$;
comment on function connectors.send_webhook_test(text) is 'Queues an event of type webhook.test for one endpoint; returns the delivery.';

-- Delivering

create function connectors.claim_webhook_deliveries(
    notifier text,
    max_rows integer default 10,
    lease_seconds integer default 120,
    per_endpoint integer default 4,
    only_delivery bigint default null
) returns table (
    delivery_id bigint, claim_token uuid, attempt integer, max_attempts integer, endpoint_id text, url text,
    secret_refs text[], timeout_seconds integer, event_id uuid, event_type text, body text)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if coalesce(claim_webhook_deliveries.notifier, '') !~ '\S'
        or coalesce(claim_webhook_deliveries.lease_seconds, 0) not between 1 and 3600 then
        raise sqlstate 'PT422' using message = 'The notifier has no name, or asks for an impossible lease.',
            hint = 'Pass e.g. host:pid as notifier, and 1 to 3600 seconds.';
    end if;
    -- What a lost notifier had claimed is tried again, or given up when that was the last try.
    update connectors.webhook_deliveries as d
    set status = case when d.attempts > cardinality(e.retry_seconds) then 'dead' else 'pending' end,
        claim_token = null,
        error = format('Notifier %s was lost while sending.', d.claimed_by),
        ended_at = case when d.attempts > cardinality(e.retry_seconds) then clock_timestamp() end
    from connectors.webhook_endpoints as e
    where e.id = d.endpoint_id and d.id in (
        select l.id from connectors.webhook_deliveries as l
        where l.status = 'sending' and l.next_attempt_at <= clock_timestamp() for update skip locked);
    return query
        with due as (
            select waiting.id
            from connectors.webhook_endpoints as e
            cross join lateral (
                select d.id, d.next_attempt_at
                from connectors.webhook_deliveries as d
                where d.endpoint_id = e.id and d.status = 'pending' and d.next_attempt_at <= clock_timestamp()
                    and (claim_webhook_deliveries.only_delivery is null or d.id = claim_webhook_deliveries.only_delivery)
                order by d.next_attempt_at, d.id
                -- An endpoint that hangs takes its share of the notifier, not all of it.
                limit greatest(0, coalesce(claim_webhook_deliveries.per_endpoint, 4) - (
                    select count(*) from connectors.webhook_deliveries as s
                    where s.endpoint_id = e.id and s.status = 'sending'))
                for update of d skip locked
            ) as waiting
            where e.status = 'active' or claim_webhook_deliveries.only_delivery is not null
            order by waiting.next_attempt_at, waiting.id
            limit least(greatest(coalesce(claim_webhook_deliveries.max_rows, 10), 0), 1000)
        ), claimed as (
            update connectors.webhook_deliveries as d
            set status = 'sending', attempts = d.attempts + 1, claim_token = gen_random_uuid(),
                claimed_by = claim_webhook_deliveries.notifier, attempted_at = clock_timestamp(),
                next_attempt_at = clock_timestamp() + make_interval(secs => claim_webhook_deliveries.lease_seconds)
            from due
            where d.id = due.id
            returning d.*
        )
        select c.id, c.claim_token, c.attempts, cardinality(e.retry_seconds) + 1, e.id, e.url,
            case when e.previous_secret_until > clock_timestamp()
                then array[e.secret_ref, e.previous_secret_ref] else array[e.secret_ref] end,
            e.timeout_seconds, v.id, v.type, v.payload::text
        from claimed as c
        join connectors.webhook_endpoints as e on e.id = c.endpoint_id
        join connectors.connector_events as v on v.id = c.event_id
        order by c.id;
end
$$;
comment on function connectors.claim_webhook_deliveries(text, integer, integer, integer, bigint) is
    'Hands deliveries that are due to a notifier, each to one only; a claim that is not finished within its lease is handed out again.';

create function connectors.finish_webhook_delivery(
    delivery_id bigint,
    claim_token uuid,
    http_status integer default null,
    error text default null,
    retry_after_seconds double precision default null
) returns table (status text, next_attempt_at timestamptz)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    delivery connectors.webhook_deliveries;
    endpoint connectors.webhook_endpoints;
    accepted boolean := coalesce(finish_webhook_delivery.http_status between 200 and 299, false);
    gone boolean := coalesce(finish_webhook_delivery.http_status = 410, false);
    longest double precision;
begin
    select d.* into delivery from connectors.webhook_deliveries as d
    where d.id = finish_webhook_delivery.delivery_id for no key update;
    if delivery.claim_token is distinct from finish_webhook_delivery.claim_token or delivery.claim_token is null then
        raise sqlstate 'PT410' using message = format('The claim on delivery %s is lost.', finish_webhook_delivery.delivery_id),
            hint = 'Another notifier tries it again; receivers know it by its id.';
    end if;
    select e.* into endpoint from connectors.webhook_endpoints as e where e.id = delivery.endpoint_id;
    longest := endpoint.retry_seconds[delivery.attempts];
    if accepted then
        delivery.status := 'delivered';
    elsif gone or longest is null or endpoint.status = 'disabled' then
        delivery.status := 'dead';
    else
        delivery.status := 'pending';
    end if;
    return query
        update connectors.webhook_deliveries as d
        set status = delivery.status,
            claim_token = null,
            http_status = finish_webhook_delivery.http_status,
            error = case when not accepted then coalesce(
                nullif(btrim(left(finish_webhook_delivery.error, 1000)), ''), 'no reason given') end,
            ended_at = case when delivery.status <> 'pending' then clock_timestamp() end,
            -- Full jitter: many endpoints, or many events of one, do not come back at one moment.
            next_attempt_at = case when delivery.status = 'pending' then clock_timestamp() + make_interval(secs => greatest(
                random() * longest, least(coalesce(finish_webhook_delivery.retry_after_seconds, 0), 86400))) else d.next_attempt_at end
        where d.id = delivery.id
        returning d.status, d.next_attempt_at;
    if gone then
        update connectors.webhook_endpoints as e
        set status = 'disabled', disabled_reason = 'it answered 410 Gone', updated_at = clock_timestamp()
        where e.id = endpoint.id;
        perform connectors.bury_deliveries(endpoint.id, 'The endpoint answered 410 Gone.');
    end if;
end
$$;
comment on function connectors.finish_webhook_delivery(bigint, uuid, integer, text, double precision) is
    'Records how a try went: delivered, to be tried again later, or dead. 410 disables the endpoint.';

create function connectors.retry_webhook_deliveries(
    delivery_ids bigint[] default null, of_endpoint text default null
) returns integer
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    chosen integer;
begin
    if retry_webhook_deliveries.delivery_ids is null and retry_webhook_deliveries.of_endpoint is null then
        raise sqlstate 'PT422' using message = 'Nothing is named to be sent again.',
            hint = 'Pass delivery_ids, or of_endpoint for all its dead letters.';
    end if;
    if retry_webhook_deliveries.of_endpoint is not null then
        perform connectors.known_endpoint(retry_webhook_deliveries.of_endpoint);
    end if;
    if exists (
        select from connectors.webhook_deliveries as d
        join connectors.webhook_endpoints as e on e.id = d.endpoint_id
        where e.status = 'disabled' and (d.id = any (retry_webhook_deliveries.delivery_ids)
            or e.id = retry_webhook_deliveries.of_endpoint)
    ) then
        raise sqlstate 'PT409' using message = 'The endpoint is disabled.',
            hint = 'Make it active with set_webhook_status(endpoint_id, status), then send again.';
    end if;
    update connectors.webhook_deliveries as d
    set status = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), ended_at = null
    where d.status in ('dead', 'delivered', 'pending')
        and (d.id = any (retry_webhook_deliveries.delivery_ids)
            or (retry_webhook_deliveries.delivery_ids is null and d.status = 'dead'
                and d.endpoint_id = retry_webhook_deliveries.of_endpoint));
    get diagnostics chosen = row_count;
    perform pg_notify('ipai_webhooks', '');
    return chosen;
end
$$;
comment on function connectors.retry_webhook_deliveries(bigint[], text) is
    'Sends deliveries again, those named or the dead letters of an endpoint, with all their tries; how many.';

create function connectors.purge_connector_events(keep_days integer default 30, max_rows integer default 10000)
returns bigint
language plpgsql volatile security definer set search_path = '' as $$
declare
    gone bigint;
begin
    if coalesce(keep_days, 0) < 1 then
        raise sqlstate 'PT422' using message = format('Keeping events for %s days is not possible.', keep_days),
            hint = 'Use 1 or more.';
    end if;
    delete from connectors.connector_events as e
    where e.id in (
        select o.id from connectors.connector_events as o
        where o.at < clock_timestamp() - make_interval(days => keep_days)
            and not exists (
                select from connectors.webhook_deliveries as d
                where d.event_id = o.id and d.status in ('pending', 'sending'))
        order by o.at limit max_rows for update skip locked);
    get diagnostics gone = row_count;
    return gone;
end
$$;
comment on function connectors.purge_connector_events(integer, integer) is
    'Drops events older than that many days with their deliveries, unless one is still to be made; how many, at most max_rows.';

-- Reading

create function connectors.webhook_list()
returns table (
    id text, url text, secret_ref text, previous_secret_until timestamptz, envs text[], sources text[],
    instances text[], statuses text[], description text, timeout_seconds integer, retry_seconds integer[],
    status text, disabled_reason text, pending bigint, dead bigint, last_delivered_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select e.id, e.url, e.secret_ref, e.previous_secret_until, e.envs, e.sources, e.instances, e.statuses,
        e.description, e.timeout_seconds, e.retry_seconds, e.status, e.disabled_reason,
        (select count(*) from connectors.webhook_deliveries as d
            where d.endpoint_id = e.id and d.status in ('pending', 'sending')),
        (select count(*) from connectors.webhook_deliveries as d where d.endpoint_id = e.id and d.status = 'dead'),
        (select max(d.ended_at) from connectors.webhook_deliveries as d
            where d.endpoint_id = e.id and d.status = 'delivered')
    from connectors.webhook_endpoints as e
    order by e.id
$$;
comment on function connectors.webhook_list() is 'All endpoints with how their deliveries stand.';

create function connectors.webhook_deliveries_list(
    of_endpoint text default null, in_status text default null, max_rows integer default 50, before_id bigint default null
) returns table (
    id bigint, event_id uuid, event_type text, run_id uuid, instance_id text, endpoint_id text, status text,
    attempts integer, max_attempts integer, next_attempt_at timestamptz, attempted_at timestamptz,
    http_status integer, error text, ended_at timestamptz, created_at timestamptz)
language sql stable security definer set search_path = '' as $$
    select d.id, d.event_id, v.type, v.run_id, v.instance_id, d.endpoint_id, d.status, d.attempts,
        cardinality(e.retry_seconds) + 1, case when d.status = 'pending' then d.next_attempt_at end,
        d.attempted_at, d.http_status, d.error, d.ended_at, d.created_at
    from connectors.webhook_deliveries as d
    join connectors.connector_events as v on v.id = d.event_id
    join connectors.webhook_endpoints as e on e.id = d.endpoint_id
    where (of_endpoint is null or d.endpoint_id = of_endpoint)
        and (in_status is null or d.status = in_status)
        and (before_id is null or d.id < before_id)
    order by d.id desc
    limit least(greatest(coalesce(max_rows, 50), 1), 1000)
$$;
comment on function connectors.webhook_deliveries_list(text, text, integer, bigint) is
    'Deliveries, newest first; page with before_id.';

create function connectors.connector_events_list(
    for_run uuid default null, for_instance text default null, max_rows integer default 50, before timestamptz default null
) returns table (id uuid, type text, at timestamptz, run_id uuid, instance_id text, payload jsonb)
language sql stable security definer set search_path = '' as $$
    select e.id, e.type, e.at, e.run_id, e.instance_id, e.payload
    from connectors.connector_events as e
    where (for_run is null or e.run_id = for_run)
        and (for_instance is null or e.instance_id = for_instance)
        and (before is null or e.at < before)
    order by e.at desc, e.id
    limit least(greatest(coalesce(max_rows, 50), 1), 1000)
$$;
comment on function connectors.connector_events_list(uuid, text, integer, timestamptz) is
    'Events, newest first; page with before.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['connector_events', 'webhook_endpoints', 'webhook_deliveries'] loop
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
    connectors.record_run_event(),
    connectors.known_endpoint(text),
    connectors.refuse_webhook_secret(text),
    connectors.bury_deliveries(text, text),
    connectors.create_webhook_endpoint(text, text, text, text[], text[], text[], text[], text, integer, integer[]),
    connectors.set_webhook_status(text, text),
    connectors.rotate_webhook_secret(text, text, interval),
    connectors.delete_webhook_endpoint(text),
    connectors.send_webhook_test(text),
    connectors.claim_webhook_deliveries(text, integer, integer, integer, bigint),
    connectors.finish_webhook_delivery(bigint, uuid, integer, text, double precision),
    connectors.retry_webhook_deliveries(bigint[], text),
    connectors.purge_connector_events(integer, integer),
    connectors.webhook_list(),
    connectors.webhook_deliveries_list(text, text, integer, bigint),
    connectors.connector_events_list(uuid, text, integer, timestamptz)
    from public;
grant execute on function
    connectors.create_webhook_endpoint(text, text, text, text[], text[], text[], text[], text, integer, integer[]),
    connectors.set_webhook_status(text, text),
    connectors.rotate_webhook_secret(text, text, interval),
    connectors.delete_webhook_endpoint(text)
    to service_role, ipai_admin;
grant execute on function
    connectors.send_webhook_test(text),
    connectors.retry_webhook_deliveries(bigint[], text),
    connectors.webhook_list(),
    connectors.webhook_deliveries_list(text, text, integer, bigint),
    connectors.connector_events_list(uuid, text, integer, timestamptz)
    to service_role, ipai_admin, ipai_operator;
grant execute on function connectors.connector_events_list(uuid, text, integer, timestamptz) to ipai_agent;
grant execute on function
    connectors.claim_webhook_deliveries(text, integer, integer, integer, bigint),
    connectors.finish_webhook_delivery(bigint, uuid, integer, text, double precision)
    to service_role, ipai_worker;
grant execute on function connectors.purge_connector_events(integer, integer) to service_role, ipai_admin, ipai_worker;

notify pgrst, 'reload schema';
