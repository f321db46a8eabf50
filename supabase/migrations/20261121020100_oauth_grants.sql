-- SPDX-License-Identifier: Apache-2.0
-- OAuth grants: secrets that renew themselves. The holder of a run trades the refresh token when the
-- access token is due; one at a time, and the new pair is stored before it is used. A grant that its
-- issuer refuses waits for a new login and is not tried again.

create table connectors.oauth_grants (
    name text not null,
    token_url text not null,
    client_id text not null,
    scopes text[] not null default '{}',
    status text not null default 'active',
    granted_at timestamptz not null default clock_timestamp(),
    granted_by text not null,
    access_expires_at timestamptz,
    refreshed_at timestamptz,
    refreshed_by text,
    failed_at timestamptz,
    failure text,
    constraint oauth_grants_pkey primary key (name),
    constraint oauth_grants_secret_fkey foreign key (name) references connectors.secrets (name) on delete cascade,
    constraint oauth_grants_status_known check (status in ('active', 'needs_reauth')),
    constraint oauth_grants_url_is_safe check (token_url ~ '^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])'
        and token_url !~ '://[^/]*@'),
    constraint oauth_grants_refresh_whole check ((refreshed_at is null) = (refreshed_by is null)),
    constraint oauth_grants_failure_told check ((status = 'needs_reauth') = (failed_at is not null)
        and (failed_at is null) = (failure is null))
);
comment on table connectors.oauth_grants is 'What a user has granted at an issuer: a secret with a refresh token that renews itself. Holds no tokens.';
comment on column connectors.oauth_grants.name is 'The secret that holds client secret, refresh token and access token.';
comment on column connectors.oauth_grants.token_url is 'Where tokens are asked for.';
comment on column connectors.oauth_grants.client_id is 'Who asks.';
comment on column connectors.oauth_grants.scopes is 'What was granted.';
comment on column connectors.oauth_grants.status is 'active; needs_reauth: the issuer refuses it, and only a new login helps.';
comment on column connectors.oauth_grants.granted_at is 'When somebody signed in.';
comment on column connectors.oauth_grants.granted_by is 'Who stored it.';
comment on column connectors.oauth_grants.access_expires_at is 'When the present access token ends.';
comment on column connectors.oauth_grants.refreshed_at is 'When it was last renewed.';
comment on column connectors.oauth_grants.refreshed_by is 'By which worker''s login.';
comment on column connectors.oauth_grants.failed_at is 'When the issuer refused it.';
comment on column connectors.oauth_grants.failure is 'The code it answered with.';
alter table connectors.oauth_grants enable row level security;
alter table connectors.oauth_grants force row level security;
do $row_security$
begin
    execute format('create policy owner_all on connectors.oauth_grants for all to %I using (true) with check (true)', current_user);
end
$row_security$;
create policy staff_read on connectors.oauth_grants for select to service_role, ipai_admin, ipai_operator using (true);
revoke all on connectors.oauth_grants from public;
grant select on connectors.oauth_grants to service_role, ipai_admin, ipai_operator;

create function connectors.store_oauth_grant(
    name text, token_url text, client_id text, value text default null, sealed jsonb default null, scopes text[] default '{}',
    description text default '', expires_at timestamptz default null, access_expires_at timestamptz default null)
returns integer
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    stored integer;
begin
    if exists (select from connectors.secrets as s where s.name = store_oauth_grant.name) then
        select r.version into stored from connectors.rotate_secret(store_oauth_grant.name, store_oauth_grant.value,
            store_oauth_grant.sealed, expires_at => store_oauth_grant.expires_at) as r;
    else
        select c.version into stored from connectors.create_secret(store_oauth_grant.name, store_oauth_grant.value,
            store_oauth_grant.sealed, store_oauth_grant.description, store_oauth_grant.expires_at) as c;
    end if;
    insert into connectors.oauth_grants as g (name, token_url, client_id, scopes, granted_by, access_expires_at)
    values (store_oauth_grant.name, store_oauth_grant.token_url, store_oauth_grant.client_id,
        coalesce(store_oauth_grant.scopes, '{}'), connectors.caller(), store_oauth_grant.access_expires_at)
    on conflict on constraint oauth_grants_pkey do update
        set token_url = excluded.token_url, client_id = excluded.client_id, scopes = excluded.scopes, status = 'active',
            granted_at = excluded.granted_at, granted_by = excluded.granted_by, access_expires_at = excluded.access_expires_at,
            refreshed_at = null, refreshed_by = null, failed_at = null, failure = null;
    return stored;
exception when check_violation or not_null_violation then
    raise sqlstate 'PT422' using message = format('The token address %L of grant %L cannot be used.',
            store_oauth_grant.token_url, store_oauth_grant.name),
        hint = 'Use https without credentials in it; http is for loopback only. client_id must be given.';
end
$$;
comment on function connectors.store_oauth_grant(text, text, text, text, jsonb, text[], text, timestamptz, timestamptz) is
    'Stores what a user has granted, or replaces it after a new login; the value holds the tokens.';

create function connectors.held_grant(run_id uuid, lease_token uuid, name text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    instance text;
begin
    -- Without a lock on the run, which would keep its heartbeats waiting for as long as the issuer takes.
    select r.instance_id into instance from connectors.connector_runs as r
    where r.id = held_grant.run_id
        and case when held_grant.lease_token is null
            -- What the issuer has given must not be lost with the lease: who had claimed the run may store it.
            then r.claimed_by = connectors.caller()
            else r.status = 'running' and r.lease_token = held_grant.lease_token and r.lease_until > clock_timestamp()
                and coalesce(r.claimed_by, connectors.caller()) = connectors.caller() end;
    if instance is null then
        raise sqlstate 'PT410' using message = format('Run %s is not held by this login under this lease.', held_grant.run_id),
            hint = 'Stop working on it and write nothing more for it.';
    end if;
    if not exists (
        select from connectors.connector_instances as i join connectors.oauth_grants as g on g.name = held_grant.name
        where i.id = instance and connectors.refers_to_secret(i.config, held_grant.name)) then
        raise sqlstate 'PT404' using message = format('Run %s refers to no grant %L.', held_grant.run_id, held_grant.name),
            hint = 'Store it with store_oauth_grant(name, token_url, client_id, value).';
    end if;
end
$$;
comment on function connectors.held_grant(uuid, uuid, text) is
    'Refuses whoever does not hold a run that refers to the grant; without a token, whoever did not claim it. Internal.';

create function connectors.lock_oauth_grant(run_id uuid, lease_token uuid, name text)
returns table (version integer, status text, failure text, token_url text, client_id text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '60s' as $$
#variable_conflict use_column
begin
    perform connectors.held_grant(lock_oauth_grant.run_id, lock_oauth_grant.lease_token, lock_oauth_grant.name);
    -- Until the caller's transaction ends, also by its death. Not a row lock: the caller stores the
    -- new pair on another connection, so that it is committed while the lock is held.
    perform pg_advisory_xact_lock(hashtextextended('connectors.oauth_grants/' || lock_oauth_grant.name, 0));
    return query
        select s.version, g.status, g.failure, g.token_url, g.client_id
        from connectors.oauth_grants as g join connectors.secrets as s on s.name = g.name
        where g.name = lock_oauth_grant.name;
end
$$;
comment on function connectors.lock_oauth_grant(uuid, uuid, text) is
    'Lets one holder of a run at a time renew a grant, until its transaction ends; says which version is stored.';

create function connectors.save_oauth_tokens(
    run_id uuid, name text, expected_version integer, value text default null, sealed jsonb default null,
    access_expires_at timestamptz default null, expires_at timestamptz default null)
returns integer
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    old connectors.secrets;
    new_id uuid;
begin
    perform connectors.held_grant(save_oauth_tokens.run_id, null, save_oauth_tokens.name);
    select s.* into old from connectors.secrets as s where s.name = save_oauth_tokens.name for update;
    if old.version <> save_oauth_tokens.expected_version then
        raise sqlstate 'PT409' using message = format('Grant %L is at version %s, not %s: another worker has renewed it.',
                old.name, old.version, save_oauth_tokens.expected_version),
            hint = 'Read it again.';
    end if;
    delete from vault.secrets as v where v.id in (old.secret_id, old.previous_id);
    new_id := connectors.put_into_vault(old.name, save_oauth_tokens.value, save_oauth_tokens.sealed, old.description);
    update connectors.secrets as s
    set secret_id = new_id, version = old.version + 1, rotated_at = clock_timestamp(), rotated_by = connectors.caller(),
        expires_at = coalesce(save_oauth_tokens.expires_at, old.expires_at), previous_id = null, previous_until = null
    where s.name = old.name;
    update connectors.oauth_grants as g
    set status = 'active', access_expires_at = save_oauth_tokens.access_expires_at, refreshed_at = clock_timestamp(),
        refreshed_by = connectors.caller(), failed_at = null, failure = null
    where g.name = old.name;
    perform connectors.append_secret_audit('rotate', old.name, new_id, save_oauth_tokens.run_id,
        format('version %s, renewed', old.version + 1));
    return old.version + 1;
end
$$;
comment on function connectors.save_oauth_tokens(uuid, text, integer, text, jsonb, timestamptz, timestamptz) is
    'Stores a renewed pair of tokens, unless another worker was first; to be committed before they are used.';

create function connectors.fail_oauth_grant(
    run_id uuid, name text, expected_version integer, failure text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    perform connectors.held_grant(fail_oauth_grant.run_id, null, fail_oauth_grant.name);
    update connectors.oauth_grants as g
    set status = 'needs_reauth', failed_at = clock_timestamp(), failure = left(coalesce(fail_oauth_grant.failure, 'refused'), 200)
    from connectors.secrets as s
    where g.name = fail_oauth_grant.name and s.name = g.name and s.version = fail_oauth_grant.expected_version
        and g.status = 'active';
end
$$;
comment on function connectors.fail_oauth_grant(uuid, text, integer, text) is
    'Notes that the issuer refuses a grant: it is not tried again before somebody has signed in anew.';

-- A grant's age counts from its login, not from its last renewal.

create or replace function connectors.expiring_secrets()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select s.name, case when s.expires_at <= clock_timestamp() then 'critical' else 'warning' end, coalesce(u.instances, '{}'),
        format('Secret %s %s at %s UTC.', s.name, case when s.expires_at <= clock_timestamp() then 'expired' else 'expires' end,
            to_char(s.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI')),
        jsonb_build_object('expires_at', s.expires_at, 'version', s.version)
    from connectors.secrets as s
    left join connectors.oauth_grants as g on g.name = s.name
    cross join lateral (
        select array_agg(i.id order by i.id) as instances from connectors.connector_instances as i
        where i.status <> 'archived' and position('${secret:' || s.name || '}' in i.config::text) > 0) as u
    where s.expires_at <= clock_timestamp() + interval '24 hours'
        -- One that never lives for a day is renewed by a program: it is news only if that has stopped.
        and (s.expires_at <= clock_timestamp()
            or s.expires_at - coalesce(g.granted_at, s.rotated_at, s.created_at) > interval '24 hours')
$$;

create function connectors.refused_grants()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select g.name, 'critical', coalesce(u.instances, '{}'),
        format('Grant %s is refused by its issuer (%s): sign in again and store it with `ipai secret grant %s`.', g.name, g.failure, g.name),
        jsonb_build_object('failed_at', g.failed_at, 'failure', g.failure, 'granted_at', g.granted_at)
    from connectors.oauth_grants as g
    cross join lateral (
        select array_agg(i.id order by i.id) as instances from connectors.connector_instances as i
        where i.status <> 'archived' and connectors.refers_to_secret(i.config, g.name)) as u
    where g.status = 'needs_reauth'
$$;
comment on function connectors.refused_grants() is 'Grants that need a new login; internal.';

alter table connectors.alert_rules
    -- squawk-ignore ban-drop-constraint -- the one that follows admits all it did
    drop constraint alert_rules_condition_known,
    -- squawk-ignore constraint-missing-not-valid -- a table of a few rows
    add constraint alert_rules_condition_known check (condition in (
        'sync_failed', 'sla_breached', 'secret_expiring', 'quota_exceeded', 'worker_lost', 'review_overdue', 'needs_reauth'));
comment on column connectors.alert_rules.condition is
    'sync_failed, sla_breached, secret_expiring, quota_exceeded, worker_lost, review_overdue or needs_reauth.';
insert into connectors.alert_rules (condition) values ('needs_reauth');

create or replace function connectors.alert_conditions()
returns table (condition text, subject text, severity text, instances text[], summary text, details jsonb)
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select 'sync_failed', c.* from connectors.failed_syncs() as c
    union all
    select 'sla_breached', c.* from connectors.late_syncs() as c
    union all
    select 'secret_expiring', c.* from connectors.expiring_secrets() as c
    union all
    select 'quota_exceeded', c.* from connectors.short_quotas() as c
    union all
    select 'worker_lost', c.* from connectors.lost_workers() as c
    union all
    select 'review_overdue', c.* from connectors.overdue_reviews() as c
    union all
    select 'needs_reauth', c.* from connectors.refused_grants() as c
$$;

create or replace function connectors.tokens_report() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
    with used as (
        select u.kind, u.name, array_agg(distinct u.instance_id order by u.instance_id) as used_by,
            array_agg(distinct p.scope order by p.scope) filter (where p.scope is not null) as scopes
        from connectors.credential_uses() as u left join lateral unnest(u.scopes) as p (scope) on true
        group by u.kind, u.name
    ), known as (
        select 'stored' as kind, l.name, l.version, coalesce(l.rotated_at, l.created_at) as issued_at, l.rotated_at as last_rotated_at,
            l.expires_at, l.last_read_at, null::text as status
        from connectors.secret_list() as l
        where not exists (select from connectors.oauth_grants as g where g.name = l.name)
        union all
        select 'stored', l.name, l.version, g.granted_at, g.refreshed_at, l.expires_at, l.last_read_at, g.status
        from connectors.secret_list() as l join connectors.oauth_grants as g on g.name = l.name
        union all
        select u.kind, u.name, null, null, null, null, null, null from used as u
        where u.kind <> 'stored' or not exists (select from connectors.secret_list() as l where l.name = u.name)
    ), entries as (
        select case when k.status is null then k.kind else 'OAuth grant' end as kind, k.name, k.version,
            coalesce((select g.scopes from connectors.oauth_grants as g where g.name = k.name), u.scopes, '{}') as scopes,
            k.issued_at,
            extract(day from clock_timestamp() - k.issued_at)::integer as age_days, k.last_rotated_at, k.expires_at,
            k.last_read_at, coalesce(u.used_by, '{}') as used_by, k.status,
            nullif(concat_ws('; ',
                case when k.status = 'needs_reauth' then 'refused by its issuer: needs a new login' end,
                case when k.kind = 'stored' and k.issued_at is null then 'referred to, but not stored' end,
                case when k.expires_at <= clock_timestamp() then 'expired'
                    when k.expires_at <= clock_timestamp() + interval '30 days' then 'expires within 30 days' end,
                case when k.issued_at < clock_timestamp() - interval '90 days' then 'older than 90 days: rotate it' end,
                case when k.kind <> 'stored' then 'age unknown: keep it in the vault' end,
                case when u.used_by is null then 'no instance uses it' end), '') as finding
        from known as k left join used as u on u.kind = k.kind and u.name = k.name
    )
    select coalesce(jsonb_agg(to_jsonb(e) order by e.kind, e.name), '[]') from entries as e
$$;
revoke all on function
    connectors.store_oauth_grant(text, text, text, text, jsonb, text[], text, timestamptz, timestamptz),
    connectors.held_grant(uuid, uuid, text),
    connectors.lock_oauth_grant(uuid, uuid, text),
    connectors.save_oauth_tokens(uuid, text, integer, text, jsonb, timestamptz, timestamptz),
    connectors.fail_oauth_grant(uuid, text, integer, text),
    connectors.refused_grants()
from public;
grant execute on function
    connectors.store_oauth_grant(text, text, text, text, jsonb, text[], text, timestamptz, timestamptz)
to service_role, ipai_admin;
grant execute on function
    connectors.lock_oauth_grant(uuid, uuid, text),
    connectors.save_oauth_tokens(uuid, text, integer, text, jsonb, timestamptz, timestamptz),
    connectors.fail_oauth_grant(uuid, text, integer, text)
to service_role, ipai_worker;

notify pgrst, 'reload schema';
