-- SPDX-License-Identifier: Apache-2.0
-- What is wrong, one alert for each thing until it is over. Schedulers look every few seconds; what
-- opens and what is over goes through the outbox to the endpoints that events of runs go to.

create table connectors.alert_rules (
    condition text not null,
    enabled boolean not null default true,
    repeat_every interval default interval '24 hours',
    resolve_after interval not null default interval '0',
    updated_at timestamptz not null default clock_timestamp(),
    actor text not null default session_user,
    constraint alert_rules_pkey primary key (condition),
    constraint alert_rules_condition_known check (
        condition in ('sync_failed', 'sla_breached', 'secret_expiring', 'quota_exceeded', 'worker_lost')),
    constraint alert_rules_repeat_sensible check (repeat_every >= interval '1 minute'),
    constraint alert_rules_resolve_sensible check (resolve_after >= interval '0')
);
comment on table connectors.alert_rules is 'What alerts are raised for.';
comment on column connectors.alert_rules.condition is 'sync_failed, sla_breached, secret_expiring, quota_exceeded or worker_lost.';
comment on column connectors.alert_rules.enabled is 'False: nobody is told, and what is open is resolved.';
comment on column connectors.alert_rules.repeat_every is 'How often an alert that nobody has acknowledged is told again; null: once is enough.';
comment on column connectors.alert_rules.resolve_after is 'How long it must be over: what comes and goes is one alert.';
comment on column connectors.alert_rules.updated_at is 'When it was last changed.';
comment on column connectors.alert_rules.actor is 'Who changed it.';
insert into connectors.alert_rules (condition, resolve_after)
values
    ('sync_failed', '0'), ('sla_breached', '0'), ('secret_expiring', '0'),
    ('quota_exceeded', '15 minutes'), ('worker_lost', '0');

create table connectors.alerts (
    id bigint generated always as identity,
    condition text not null,
    subject text not null,
    severity text not null,
    instances text[] not null default '{}',
    summary text not null,
    details jsonb not null default '{}',
    opened_at timestamptz not null,
    last_seen_at timestamptz not null,
    notified_at timestamptz not null,
    notifications integer not null default 1,
    acked_at timestamptz,
    acked_by text,
    resolved_at timestamptz,
    constraint alerts_pkey primary key (id),
    constraint alerts_condition_fkey foreign key (condition) references connectors.alert_rules (condition),
    constraint alerts_severity_known check (severity in ('warning', 'critical')),
    constraint alerts_details_is_object check (jsonb_typeof(details) = 'object'),
    constraint alerts_ack_whole check ((acked_at is null) = (acked_by is null)),
    constraint alerts_resolved_after_opened check (resolved_at >= opened_at)
);
create unique index alerts_open_idx on connectors.alerts (condition, subject) where resolved_at is null;
create index alerts_condition_idx on connectors.alerts (condition, id desc);
create index alerts_resolved_idx on connectors.alerts (resolved_at);
comment on table connectors.alerts is 'What is or was wrong; at most one open for each condition and subject. Kept for a year after its end.';
comment on column connectors.alerts.id is 'Number in order of opening.';
comment on column connectors.alerts.condition is 'What kind of thing is wrong.';
comment on column connectors.alerts.subject is 'With what: an instance, a secret, a credential at a source, a worker.';
comment on column connectors.alerts.severity is 'warning or critical.';
comment on column connectors.alerts.instances is 'Instances that suffer from it; their sources and environments decide who is told.';
comment on column connectors.alerts.summary is 'One sentence for people.';
comment on column connectors.alerts.details is 'The facts, for machines. Holds no secrets.';
comment on column connectors.alerts.opened_at is 'When it was found.';
comment on column connectors.alerts.last_seen_at is 'When it was found last.';
comment on column connectors.alerts.notified_at is 'When somebody was last told.';
comment on column connectors.alerts.notifications is 'How often.';
comment on column connectors.alerts.acked_at is 'Since when somebody looks after it; it is not repeated then.';
comment on column connectors.alerts.acked_by is 'Who.';
comment on column connectors.alerts.resolved_at is 'When it was over; null: it is open.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['alert_rules', 'alerts'] loop
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

-- Alerts take the way of the events of runs: opened and resolved are their statuses.

alter table connectors.connector_events
    -- squawk-ignore ban-drop-constraint -- the one that follows admits all it did
    drop constraint connector_events_type_is_name,
    -- squawk-ignore constraint-missing-not-valid -- events are kept for 30 days: the scan is short
    add constraint connector_events_type_is_name check (type ~ '^(run|webhook|alert)\.[a-z_]+$');
comment on column connectors.connector_events.type is 'run.<status>, alert.opened, alert.resolved, or webhook.test.';
alter table connectors.webhook_endpoints
    -- squawk-ignore ban-drop-constraint -- likewise
    drop constraint webhook_endpoints_statuses_known,
    -- squawk-ignore constraint-missing-not-valid -- a table of a few rows
    add constraint webhook_endpoints_statuses_known check (
        statuses <@ array['queued', 'running', 'succeeded', 'failed', 'cancelled', 'opened', 'resolved']);
comment on column connectors.webhook_endpoints.statuses is 'Only these statuses of a run, or opened and resolved of an alert; null: all.';

-- Healthy instances are found healthy without a look at their history.
create index connector_runs_instance_failed_idx on connectors.connector_runs (instance_id, ended_at desc)
    where status = 'failed';

-- The conditions. Each function finds what is wrong now.

create function connectors.failed_syncs()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select i.id, case t.tier when 'critical' then 'critical' else 'warning' end, array[i.id],
        format('Sync %s has failed for good: %s', i.id, left(f.error_summary, 300)),
        jsonb_build_object('run_id', f.id, 'job_name', f.job_name, 'attempts', f.attempt, 'ended_at', f.ended_at,
            'error_class', f.error_class, 'error_summary', left(f.error_summary, 1000), 'sla_tier', t.tier)
    from connectors.connector_instances as i
    cross join lateral connectors.sla_tier_of(i.id) as t
    left join lateral (
        select s.started_at from connectors.connector_runs as s
        where s.instance_id = i.id and s.status = 'succeeded' and s.streams is null
        order by s.queued_at desc limit 1) as l on true
    cross join lateral (
        select r.* from connectors.connector_runs as r
        -- A full run that began later has made everything good.
        where r.instance_id = i.id and r.status = 'failed' and r.ended_at > coalesce(l.started_at, '-infinity')
            and not exists (select from connectors.connector_runs as n where n.retry_of = r.id)
            and not exists (
                select from connectors.connector_runs as s
                where s.instance_id = r.instance_id and s.status = 'succeeded' and s.queued_at > r.queued_at
                    and s.started_at >= r.ended_at and (s.streams is null or s.streams @> r.streams))
        order by r.ended_at desc limit 1) as f
    where i.status = 'active'
$$;
comment on function connectors.failed_syncs() is
    'Active instances with a run that failed after all its retries and whose work no later run has done; internal.';

create function connectors.scheduled_due(dedupe_key text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return substr(dedupe_key, length('schedule:') + 1)::timestamptz;
exception when data_exception then
    return null;
end
$$;
comment on function connectors.scheduled_due(text) is 'The due time that a scheduler''s key of a run names; null when it names none. Internal.';

create function connectors.late_syncs()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select i.id, case t.tier when 'critical' then 'critical' else 'warning' end, array[i.id],
        format('Sync %s was due at %s UTC and has not succeeded within %s minutes.', i.id,
            to_char(u.due at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), round(extract(epoch from t.max_latency) / 60)),
        jsonb_build_object('due_at', u.due, 'sla_tier', t.tier, 'last_success_started_at', l.started_at,
            'max_latency_seconds', extract(epoch from t.max_latency))
    from connectors.connector_instances as i
    cross join lateral connectors.sla_tier_of(i.id) as t
    left join connectors.schedules as k on k.subject = 'instance:' || i.id
    left join lateral (
        select s.started_at from connectors.connector_runs as s
        where s.instance_id = i.id and s.status = 'succeeded' and s.streams is null
        order by s.queued_at desc limit 1) as l on true
    cross join lateral (
        select min(d.due) as due
        from (
            select coalesce(connectors.scheduled_due(r.dedupe_key), r.queued_at) as due
            from connectors.connector_runs as r
            where r.instance_id = i.id and r.triggered_by = 'schedule' and r.retry_of is null and r.status <> 'cancelled'
                and r.queued_at > coalesce(l.started_at, '-infinity')
            order by r.queued_at limit 25) as d
        where d.due > coalesce(l.started_at, '-infinity')) as u
    where i.status = 'active' and i.schedule is not null and not coalesce(k.paused, false)
        and u.due + make_interval(secs => coalesce(k.jitter_seconds, 0)) + t.max_latency < clock_timestamp()
$$;
comment on function connectors.late_syncs() is
    'Active instances whose oldest due time without a success is further back than their SLA tier allows; internal.';

create function connectors.expiring_secrets()
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
comment on function connectors.expiring_secrets() is 'Secrets that expire within 24 hours or have expired; internal.';

create function connectors.short_quotas()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select q.source_type || '/' || q.credential_key, 'warning', coalesce(u.instances, '{}'),
        format('The quota of %s for credential %s will not last: %s of %s requests are left until %s UTC.', q.source_type,
            q.credential_key, q.remaining, q.budget, to_char(q.reset_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI')),
        jsonb_build_object('source', q.source_type, 'credential', q.credential_key, 'budget', q.budget,
            'remaining', q.remaining, 'exhausted_at', q.exhausted_at, 'reset_at', q.reset_at)
    from connectors.quota_forecast as q
    cross join lateral (
        select array_agg(i.id order by i.id) as instances from connectors.connector_instances as i
        where i.status = 'active' and i.definition_id = 'ipai_connector_' || q.source_type
            and i.quota_key = q.credential_key) as u
    where q.exceeded_before_reset
$$;
comment on function connectors.short_quotas() is 'Budgets that will be used up before their reset at the present pace; internal.';

create function connectors.lost_workers()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select w.worker, 'critical', array_agg(distinct w.instance_id),
        format('Worker %s is gone; it was at %s run(s).', w.worker, count(*)),
        jsonb_build_object('runs', jsonb_agg(w.id order by w.id))
    from (
        select r.worker, r.instance_id, r.id
        from connectors.services as s
        join connectors.connector_runs as r on r.worker = s.name and r.status = 'running'
        where s.kind = 'worker' and s.ended_at is null and s.seen_at < clock_timestamp() - interval '1 minute'
            and not exists (
                select from connectors.services as o
                where o.name = s.name and o.kind = s.kind and o.seen_at >= clock_timestamp() - interval '1 minute')
        union
        select r.worker, r.instance_id, r.id
        from connectors.connector_runs as r
        where r.status = 'failed' and r.error_class = 'worker_lost' and r.ended_at > clock_timestamp() - interval '15 minutes'
    ) as w
    group by w.worker
$$;
comment on function connectors.lost_workers() is
    'Workers that were not seen for a minute while they have runs, or lost one within the last 15 minutes; internal.';

create function connectors.alert_conditions()
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
$$;
comment on function connectors.alert_conditions() is 'All that is wrong now; internal.';

create function connectors.record_alert_event(alert connectors.alerts, change text) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    state text := case when alert.resolved_at is null then 'opened' else 'resolved' end;
    happened timestamptz := clock_timestamp();
    new_id uuid := gen_random_uuid();
    moment constant text := 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';
    suffers record;
begin
    select coalesce(array_agg(distinct substr(i.definition_id, length('ipai_connector_') + 1)), '{}') as sources,
        coalesce(array_agg(distinct i.env), '{}') as envs,
        coalesce(array_agg(distinct d.spec ->> 'owner') filter (where d.spec ->> 'owner' ~ '\S'), '{}') as owners
    into suffers
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    where i.id = any (alert.instances);
    insert into connectors.connector_events (id, type, at, instance_id, payload)
    values (new_id, 'alert.' || state, happened,
        case when cardinality(alert.instances) = 1 then alert.instances[1] end, jsonb_build_object(
        'id', new_id,
        'type', 'alert.' || state,
        'timestamp', to_char(happened at time zone 'UTC', moment),
        'data', jsonb_build_object(
            'alert_id', alert.id,
            'condition', alert.condition,
            'subject', alert.subject,
            'severity', alert.severity,
            'status', state,
            'change', record_alert_event.change,
            'summary', alert.summary,
            'instances', alert.instances,
            'sources', suffers.sources,
            'envs', suffers.envs,
            'owners', suffers.owners,
            'opened_at', to_char(alert.opened_at at time zone 'UTC', moment),
            'resolved_at', to_char(alert.resolved_at at time zone 'UTC', moment),
            'notifications', alert.notifications,
            'details', alert.details)));
    insert into connectors.webhook_deliveries (event_id, endpoint_id)
    select new_id, e.id
    from connectors.webhook_endpoints as e
    where e.status <> 'disabled'
        and (e.statuses is null or state = any (e.statuses))
        and (e.envs is null or e.envs && suffers.envs)
        and (e.sources is null or e.sources && suffers.sources)
        and (e.instances is null or e.instances && alert.instances)
    for key share of e;
    if found then
        perform pg_notify('ipai_webhooks', '');
    end if;
end
$$;
comment on function connectors.record_alert_event(connectors.alerts, text) is
    'Writes an alert into the outbox, for the endpoints of the instances that suffer; internal.';

create function connectors.check_alerts()
returns table (alert_id bigint, condition text, subject text, severity text, change text, summary text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    found_now record;
    alert connectors.alerts;
    moment timestamptz;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('connectors.check_alerts', 0)) then
        return; -- another scheduler looks just now
    end if;
    moment := clock_timestamp();
    for found_now in
        select c.*, r.repeat_every
        from connectors.alert_conditions() as c
        join connectors.alert_rules as r on r.condition = c.condition
        where r.enabled
        order by c.condition, c.subject
    loop
        select a.* into alert from connectors.alerts as a
        where a.condition = found_now.condition and a.subject = found_now.subject and a.resolved_at is null for update;
        change := case
            when alert.id is null then 'opened'
            when found_now.severity = 'critical' and alert.severity <> 'critical' then 'worsened'
            when alert.acked_at is null and alert.notified_at + found_now.repeat_every <= moment then 'repeated' end;
        insert into connectors.alerts as a
            (condition, subject, severity, instances, summary, details, opened_at, last_seen_at, notified_at)
        values (found_now.condition, found_now.subject, found_now.severity, found_now.instances, found_now.summary,
            found_now.details, moment, moment, moment)
        on conflict (condition, subject) where resolved_at is null do update
            set severity = excluded.severity, instances = excluded.instances, summary = excluded.summary,
                details = excluded.details, last_seen_at = moment,
                notified_at = case when change is null then a.notified_at else moment end,
                notifications = a.notifications + (change is not null)::integer
        returning a.* into alert;
        if change is not null then
            perform connectors.record_alert_event(alert, change);
            return query select alert.id, alert.condition, alert.subject, alert.severity, change, alert.summary;
        end if;
    end loop;
    for alert in
        update connectors.alerts as a
        set resolved_at = moment
        from connectors.alert_rules as r
        where r.condition = a.condition and a.resolved_at is null and a.last_seen_at < moment
            and (not r.enabled or a.last_seen_at + r.resolve_after <= moment)
        returning a.*
    loop
        perform connectors.record_alert_event(alert, 'resolved');
        return query select alert.id, alert.condition, alert.subject, alert.severity, 'resolved'::text, alert.summary;
    end loop;
    delete from connectors.alerts as a where a.resolved_at < moment - interval '1 year';
end
$$;
comment on function connectors.check_alerts() is
    'Looks what is wrong: opens, repeats and resolves alerts and writes that into the outbox; returns what changed. Schedulers call it.';

create function connectors.alert_list(only_open boolean default true, max_rows integer default 100) returns table (
    id bigint, condition text, subject text, severity text, instances text[], summary text, details jsonb,
    opened_at timestamptz, last_seen_at timestamptz, notified_at timestamptz, notifications integer,
    acked_at timestamptz, acked_by text, resolved_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select a.id, a.condition, a.subject, a.severity, a.instances, a.summary, a.details, a.opened_at, a.last_seen_at,
        a.notified_at, a.notifications, a.acked_at, a.acked_by, a.resolved_at
    from connectors.alerts as a
    where a.resolved_at is null or not alert_list.only_open
    order by a.resolved_at is not null, a.severity, a.id desc
    limit least(greatest(coalesce(alert_list.max_rows, 100), 1), 1000)
$$;
comment on function connectors.alert_list(boolean, integer) is 'Open alerts, critical ones first; with only_open false those that are over too.';

create function connectors.ack_alert(alert_id bigint) returns timestamptz
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    alert connectors.alerts;
begin
    select a.* into alert from connectors.alerts as a where a.id = ack_alert.alert_id for update;
    if not found then
        raise sqlstate 'PT404' using message = format('Alert %s does not exist.', ack_alert.alert_id),
            hint = 'List the open ones with alert_list().';
    end if;
    if alert.resolved_at is not null then
        raise sqlstate 'PT409' using message = format('Alert %s is over since %s.', alert.id, alert.resolved_at),
            hint = 'There is nothing left to look after.';
    end if;
    update connectors.alerts as a
    set acked_at = coalesce(a.acked_at, clock_timestamp()), acked_by = coalesce(a.acked_by, session_user)
    where a.id = alert.id returning a.* into alert;
    return alert.acked_at;
end
$$;
comment on function connectors.ack_alert(bigint) is 'Says that somebody looks after an alert: it is not repeated; its end is told all the same.';

create function connectors.alert_rule_list() returns setof connectors.alert_rules
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select r.* from connectors.alert_rules as r order by r.condition
$$;
comment on function connectors.alert_rule_list() is 'What alerts are raised for, and how often they are repeated.';

create function connectors.set_alert_rule(condition text, enabled boolean default null, repeat_every interval default null)
returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    update connectors.alert_rules as r
    set enabled = coalesce(set_alert_rule.enabled, r.enabled),
        repeat_every = case when set_alert_rule.repeat_every = interval '0' then null
            else coalesce(set_alert_rule.repeat_every, r.repeat_every) end,
        updated_at = clock_timestamp(), actor = session_user
    where r.condition = set_alert_rule.condition;
    if not found then
        raise sqlstate 'PT404' using message = format('No alert is raised for %L.', set_alert_rule.condition),
            hint = 'Use one of alert_rule_list().';
    end if;
exception when check_violation then
    raise sqlstate 'PT422' using message = format('Repeating every %s is not possible.', set_alert_rule.repeat_every),
        hint = 'Use a minute or more; 0 repeats never.';
end
$$;
comment on function connectors.set_alert_rule(text, boolean, interval) is
    'Turns an alert on or off and says how often it is repeated, 0 for never; what is null stays.';

create or replace function connectors.metrics()
returns table (name text, type text, help text, sample text, labels jsonb, value double precision)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select f.name, f.type, f.help, f.name || s.suffix, s.labels, s.value
    from (
        select * from connectors.run_samples()
        union all
        select * from connectors.stream_samples()
        union all
        select * from connectors.plane_samples()
        union all
        select 'ipai_alerts_open', '', jsonb_build_object('condition', r.condition), count(a.id)
        from connectors.alert_rules as r
        left join connectors.alerts as a on a.condition = r.condition and a.resolved_at is null
        group by r.condition
    ) as s
    join (
        select * from connectors.metric_families()
        union all
        values ('ipai_alerts_open', 'gauge', 'Alerts that are open.')
    ) as f on f.name = s.name
    order by f.name, s.labels - 'le', s.suffix, (s.labels ->> 'le')::double precision
$$;

revoke all on function
    connectors.failed_syncs(),
    connectors.scheduled_due(text),
    connectors.late_syncs(),
    connectors.expiring_secrets(),
    connectors.short_quotas(),
    connectors.lost_workers(),
    connectors.alert_conditions(),
    connectors.record_alert_event(connectors.alerts, text),
    connectors.check_alerts(),
    connectors.alert_list(boolean, integer),
    connectors.ack_alert(bigint),
    connectors.alert_rule_list(),
    connectors.set_alert_rule(text, boolean, interval)
from public;
grant execute on function
    connectors.check_alerts(),
    connectors.alert_list(boolean, integer),
    connectors.ack_alert(bigint),
    connectors.alert_rule_list()
to service_role, ipai_admin, ipai_operator;
grant execute on function connectors.alert_list(boolean, integer) to ipai_agent;
grant execute on function connectors.set_alert_rule(text, boolean, interval) to service_role, ipai_admin;

notify pgrst, 'reload schema';
