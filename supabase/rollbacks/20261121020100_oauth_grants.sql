-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121020100_oauth_grants; what was granted stays as plain secrets.

create or replace function connectors.tokens_report() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
    with used as (
        select u.kind, u.name, array_agg(distinct u.instance_id order by u.instance_id) as used_by,
            array_agg(distinct p.scope order by p.scope) filter (where p.scope is not null) as scopes
        from connectors.credential_uses() as u left join lateral unnest(u.scopes) as p (scope) on true
        group by u.kind, u.name
    ), known as (
        select 'stored' as kind, l.name, l.version, coalesce(l.rotated_at, l.created_at) as issued_at, l.rotated_at as last_rotated_at,
            l.expires_at, l.last_read_at
        from connectors.secret_list() as l
        union all
        select u.kind, u.name, null, null, null, null, null from used as u
        where u.kind <> 'stored' or not exists (select from connectors.secret_list() as l where l.name = u.name)
    ), entries as (
        select k.kind, k.name, k.version, coalesce(u.scopes, '{}') as scopes, k.issued_at,
            extract(day from clock_timestamp() - k.issued_at)::integer as age_days, k.last_rotated_at, k.expires_at,
            k.last_read_at, coalesce(u.used_by, '{}') as used_by,
            nullif(concat_ws('; ',
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
create or replace function connectors.expiring_secrets()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select s.name, case when s.expires_at <= clock_timestamp() then 'critical' else 'warning' end, coalesce(u.instances, '{}'),
        format('Secret %s %s at %s UTC.', s.name, case when s.expires_at <= clock_timestamp() then 'expired' else 'expires' end,
            to_char(s.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI')),
        jsonb_build_object('expires_at', s.expires_at, 'version', s.version)
    from connectors.secrets as s
    cross join lateral (
        select array_agg(i.id order by i.id) as instances from connectors.connector_instances as i
        where i.status <> 'archived' and position('${secret:' || s.name || '}' in i.config::text) > 0) as u
    where s.expires_at <= clock_timestamp() + interval '24 hours'
        -- One that never lives for a day is renewed by a program: it is news only if that has stopped.
        and (s.expires_at <= clock_timestamp()
            or s.expires_at - coalesce(s.rotated_at, s.created_at) > interval '24 hours')
$$;
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
$$;

delete from connectors.alerts where condition = 'needs_reauth';
delete from connectors.alert_rules where condition = 'needs_reauth';
alter table connectors.alert_rules
    drop constraint alert_rules_condition_known,
    add constraint alert_rules_condition_known check (condition in (
        'sync_failed', 'sla_breached', 'secret_expiring', 'quota_exceeded', 'worker_lost', 'review_overdue'));
comment on column connectors.alert_rules.condition is
    'sync_failed, sla_breached, secret_expiring, quota_exceeded, worker_lost or review_overdue.';

drop function connectors.refused_grants();
drop function connectors.fail_oauth_grant(uuid, text, integer, text);
drop function connectors.save_oauth_tokens(uuid, text, integer, text, jsonb, timestamptz, timestamptz);
drop function connectors.lock_oauth_grant(uuid, uuid, text);
drop function connectors.held_grant(uuid, uuid, text);
drop function connectors.store_oauth_grant(text, text, text, text, jsonb, text[], text, timestamptz, timestamptz);
drop table connectors.oauth_grants;

notify pgrst, 'reload schema';
