-- SPDX-License-Identifier: Apache-2.0
-- Who hears of which alert, and one alert for one outage. Endpoints with routes hear only what these
-- lead to them: by the owner of the instances that suffer, by condition and severity. Syncs that
-- fail or are late for one reason at about the same time are one alert.

alter table connectors.connector_instances
    add column owner text,
    -- squawk-ignore constraint-missing-not-valid -- the column is new: there is nothing to scan
    add constraint connector_instances_owner_says_something check (owner ~ '^\S(.{0,198}\S)?$');
comment on column connectors.connector_instances.owner is
    'Who is told what is wrong with it, e.g. a team or an address; null: the owner that the spec of its connector names.';

create table connectors.alert_routes (
    owner text not null,
    endpoint_id text not null,
    conditions text[],
    min_severity text not null default 'warning',
    created_at timestamptz not null default clock_timestamp(),
    actor text not null default session_user,
    constraint alert_routes_pkey primary key (owner, endpoint_id),
    constraint alert_routes_endpoint_fkey foreign key (endpoint_id) references connectors.webhook_endpoints (id) on delete cascade,
    constraint alert_routes_owner_says_something check (owner ~ '^\S(.{0,198}\S)?$'),
    constraint alert_routes_conditions_not_empty check (coalesce(cardinality(conditions), 1) > 0),
    constraint alert_routes_severity_known check (min_severity in ('warning', 'critical'))
);
create index alert_routes_endpoint_idx on connectors.alert_routes (endpoint_id);
comment on table connectors.alert_routes is 'Which owners'' alerts an endpoint hears; an endpoint without a route hears all that its filters pass.';
comment on column connectors.alert_routes.owner is 'Owner of an instance that suffers; * stands for all, and for alerts of no instance.';
comment on column connectors.alert_routes.endpoint_id is 'Who hears them.';
comment on column connectors.alert_routes.conditions is 'Only alerts of these conditions; null: all.';
comment on column connectors.alert_routes.min_severity is 'warning: all; critical: only critical ones.';
comment on column connectors.alert_routes.created_at is 'When it was made or changed.';
comment on column connectors.alert_routes.actor is 'Who did.';

alter table connectors.alert_routes enable row level security;
alter table connectors.alert_routes force row level security;
create policy owner_all on connectors.alert_routes for all to current_user using (true) with check (true);
create policy staff_read on connectors.alert_routes for select to service_role, ipai_admin, ipai_operator using (true);
revoke all on connectors.alert_routes from public;
grant select on connectors.alert_routes to service_role, ipai_admin, ipai_operator;

alter table connectors.alert_rules
    add column group_within interval default interval '15 minutes',
    -- squawk-ignore constraint-missing-not-valid -- a table of a few rows
    add constraint alert_rules_group_sensible check (group_within > interval '0');
comment on column connectors.alert_rules.group_within is
    'Syncs that began to fail, or were due, so close to one another and for the same reason are one alert; null: never.';
alter table connectors.alerts add column told_instances text[] not null default '{}';
comment on column connectors.alerts.told_instances is 'All instances that it was told of, those that are well again among them.';
update connectors.alerts set told_instances = instances;

-- The address of such an endpoint is a secret as a whole: its reference stands where others have that
-- of their signing secret.
alter table connectors.webhook_endpoints
    -- squawk-ignore ban-drop-constraint -- the one that follows admits all it did
    drop constraint webhook_endpoints_url_is_http,
    -- squawk-ignore constraint-missing-not-valid -- a table of a few rows
    add constraint webhook_endpoints_url_is_http check (
        url = 'apprise:' or (
            length(url) <= 2000 and url ~ '^https?://[^][[:space:]/?#@\\]+|^https?://\[[0-9a-fA-F:.]+\]'
            and url !~ '^https?://[^/?#]*@' and url !~ '[[:space:]#\\]'));
comment on column connectors.webhook_endpoints.url is
    'Address; https, unless the notifier is told to allow another. apprise: for a chat or mail whose address is the secret.';

-- One outage, one alert

create function connectors.grouped_conditions()
returns table (condition text, subject text, severity text, instances text[], summary text, details jsonb)
language sql volatile set search_path = pg_catalog, pg_temp as $$
    with single as materialized (
        select c.*, r.group_within, substr(i.definition_id, length('ipai_connector_') + 1) as source, i.quota_key,
            case c.condition when 'sync_failed' then c.details ->> 'error_class' else '' end as class,
            case c.condition
                when 'sla_breached' then (c.details ->> 'due_at')::timestamptz
                when 'sync_failed' then ( -- its first failure: later ones must not take it out of its group
                    select f.ended_at
                    from connectors.connector_runs as f
                    where f.instance_id = c.subject and f.status = 'failed' and f.ended_at > coalesce((
                            select s.started_at from connectors.connector_runs as s
                            where s.instance_id = c.subject and s.status = 'succeeded' and s.streams is null
                            order by s.queued_at desc limit 1), '-infinity')
                        and not exists (select from connectors.connector_runs as n where n.retry_of = f.id)
                    order by f.ended_at limit 1) end as since
        from connectors.alert_conditions() as c
        join connectors.alert_rules as r on r.condition = c.condition and r.enabled
        left join connectors.connector_instances as i on i.id = c.subject and c.condition in ('sync_failed', 'sla_breached')
    ), reasoned as (
        select s.*, case
            when s.since is null then s.subject
            when s.class in ('database', 'worker_lost') then '' -- whatever the source
            else s.source || '/' || s.quota_key end as reason
        from single as s
    ), parted as (
        select r.*, coalesce(r.since - lag(r.since) over w > r.group_within, true)::integer as begins
        from reasoned as r
        window w as (partition by r.condition, r.reason, r.class order by r.since, r.subject)
    ), numbered as (
        select p.*, sum(p.begins) over (partition by p.condition, p.reason, p.class order by p.since, p.subject) as part
        from parted as p
    ), placed as (
        select n.*, row_number() over w as place, count(*) over (partition by n.condition, n.reason, n.class, n.part) as members
        from numbered as n
        window w as (partition by n.condition, n.reason, n.class, n.part order by n.since, n.subject)
    ), many as (
        select m.condition, m.reason, m.class, m.part, min(m.severity) as severity, array_agg(m.subject order by m.subject) as subjects,
            count(distinct m.source) as sources,
            jsonb_agg(m.details || jsonb_build_object('instance', m.subject) order by m.place) filter (where m.place <= 20) as details
        from placed as m
        where m.members > 1
        group by m.condition, m.reason, m.class, m.part
    )
    select p.condition, p.subject, p.severity, p.instances, p.summary, p.details
    from placed as p
    where p.members = 1
    union all
    select p.condition, p.subject, g.severity, g.subjects,
        format(case p.condition when 'sync_failed' then '%s syncs%s have failed for good since %s UTC; the first: %s'
                else '%s syncs%s are late since %s UTC; the first: %s' end,
            p.members, case when g.sources = 1 then ' of ' || p.source else '' end,
            to_char(p.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), p.summary),
        jsonb_strip_nulls(jsonb_build_object('members', p.members, 'source', case when g.sources = 1 then p.source end,
            'credential', case when p.reason <> '' then p.quota_key end, 'error_class', nullif(p.class, ''),
            'since', p.since, 'first', g.details))
    from placed as p
    join many as g on g.condition = p.condition and g.reason = p.reason and g.class = p.class and g.part = p.part
    where p.place = 1
$$;
comment on function connectors.grouped_conditions() is
    'All that somebody is to be told of now: syncs of one source and credential that fail with one class of error, or are late, '
    'within a while are one, named for the first. Failures of database and workers are one whatever the source. Internal.';

create function connectors.alert_audience(
    owners text[], sources text[], envs text[], instances text[], condition text, severity text, state text
) returns setof text
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select e.id
    from connectors.webhook_endpoints as e
    where e.status <> 'disabled'
        and (e.statuses is null or alert_audience.state = any (e.statuses))
        and (e.envs is null or e.envs && alert_audience.envs)
        and (e.sources is null or e.sources && alert_audience.sources)
        and (e.instances is null or e.instances && alert_audience.instances)
        and (not exists (select from connectors.alert_routes as t where t.endpoint_id = e.id)
            or exists (
                select from connectors.alert_routes as t
                where t.endpoint_id = e.id and (t.owner = '*' or t.owner = any (alert_audience.owners))
                    and (t.conditions is null or alert_audience.condition = any (t.conditions))
                    and (t.min_severity = 'warning' or alert_audience.severity = 'critical')))
    order by e.id
    for key share of e
$$;
comment on function connectors.alert_audience(text[], text[], text[], text[], text, text, text) is
    'Endpoints that hear of an alert: by their filters and routes; internal.';

create or replace function connectors.record_alert_event(alert connectors.alerts, change text) returns void
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
        coalesce(array_agg(distinct coalesce(i.owner, d.spec ->> 'owner'))
            filter (where coalesce(i.owner, d.spec ->> 'owner') ~ '\S'), '{}') as owners
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
    select new_id, a.id
    from connectors.alert_audience(suffers.owners, suffers.sources, suffers.envs, alert.instances, alert.condition,
        alert.severity, state) as a (id);
    if found then
        perform pg_notify('ipai_webhooks', '');
    end if;
end
$$;

create or replace function connectors.check_alerts()
returns table (alert_id bigint, condition text, subject text, severity text, change text, summary text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    wrong jsonb;
    found_now record;
    alert connectors.alerts;
    moment timestamptz;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('connectors.check_alerts', 0)) then
        return; -- another scheduler looks just now
    end if;
    moment := clock_timestamp();
    select coalesce(jsonb_agg(to_jsonb(c)), '[]') into wrong from connectors.grouped_conditions() as c;
    -- When the first of a group is well again, the alert goes on under the name of the next.
    update connectors.alerts as a
    set subject = n.subject
    from (
        select distinct on (o.id) o.id, o.subject
        from (
            select distinct on (c.condition, c.subject) l.id, c.subject
            from jsonb_to_recordset(wrong) as c (condition text, subject text, instances text[])
            join connectors.alerts as l on l.condition = c.condition and l.instances && c.instances and l.resolved_at is null
            where c.condition in ('sync_failed', 'sla_breached')
                and not exists (
                    select from connectors.alerts as s
                    where s.condition = c.condition and s.subject = c.subject and s.resolved_at is null)
                and not exists (
                    select from jsonb_to_recordset(wrong) as s (condition text, subject text)
                    where s.condition = l.condition and s.subject = l.subject)
            order by c.condition, c.subject, l.id) as o
        order by o.id, o.subject) as n
    where a.id = n.id;
    for found_now in
        select c.*, r.repeat_every
        from jsonb_to_recordset(wrong) as c (
            condition text, subject text, severity text, instances text[], summary text, details jsonb)
        join connectors.alert_rules as r on r.condition = c.condition
        order by c.condition, c.subject
    loop
        select a.* into alert from connectors.alerts as a
        where a.condition = found_now.condition and a.subject = found_now.subject and a.resolved_at is null for update;
        change := case
            when alert.id is null then 'opened'
            when found_now.severity = 'critical' and alert.severity <> 'critical' then 'worsened'
            -- Others suffer now, whose owners do not know yet; while it spreads, that is told now and then.
            when found_now.condition in ('sync_failed', 'sla_breached') and not found_now.instances <@ alert.told_instances
                and alert.notified_at + interval '5 minutes' <= moment then 'grown'
            when alert.acked_at is null and alert.notified_at + found_now.repeat_every <= moment then 'repeated' end;
        insert into connectors.alerts as a
            (condition, subject, severity, instances, told_instances, summary, details, opened_at, last_seen_at, notified_at)
        values (found_now.condition, found_now.subject, found_now.severity, found_now.instances, found_now.instances,
            found_now.summary, found_now.details, moment, moment, moment)
        on conflict (condition, subject) where resolved_at is null do update
            -- It stays as grave as it was: who was told of it must be told of its end.
            set severity = least(a.severity, excluded.severity), instances = excluded.instances, summary = excluded.summary,
                details = excluded.details, last_seen_at = moment,
                told_instances = case when change is null then a.told_instances else (
                    select coalesce(array_agg(distinct u.name order by u.name), '{}')
                    from unnest(a.told_instances || excluded.instances) as u (name)) end,
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
        alert.instances := alert.told_instances;
        perform connectors.record_alert_event(alert, 'resolved');
        return query select alert.id, alert.condition, alert.subject, alert.severity, 'resolved'::text, alert.summary;
    end loop;
    delete from connectors.alerts as a where a.resolved_at < moment - interval '1 year';
end
$$;

-- What people say

create function connectors.set_instance_owner(instance_id text, owner text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    update connectors.connector_instances as i set owner = nullif(btrim(set_instance_owner.owner), '')
    where i.id = set_instance_owner.instance_id;
    if not found then
        raise sqlstate 'PT404' using message = format('Instance %L does not exist.', set_instance_owner.instance_id),
            hint = 'List the instances with connector_list().';
    end if;
exception when check_violation then
    raise sqlstate 'PT422' using message = format('Owner %L is no name.', left(set_instance_owner.owner, 50)),
        hint = 'Use up to 200 characters in one line, e.g. data@example.com.';
end
$$;
comment on function connectors.set_instance_owner(text, text) is
    'Says who is told what is wrong with an instance; empty: the owner that the spec of its connector names.';

create function connectors.set_alert_route(
    owner text, endpoint_id text, conditions text[] default null, min_severity text default 'warning'
) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    unknown text;
begin
    perform connectors.known_endpoint(set_alert_route.endpoint_id);
    select c.name into unknown from unnest(set_alert_route.conditions) as c (name)
    where not exists (select from connectors.alert_rules as r where r.condition = c.name) limit 1;
    if unknown is not null then
        raise sqlstate 'PT404' using message = format('No alert is raised for %L.', unknown), hint = 'Use one of alert_rule_list().';
    end if;
    insert into connectors.alert_routes as t (owner, endpoint_id, conditions, min_severity)
    values (btrim(set_alert_route.owner), set_alert_route.endpoint_id, set_alert_route.conditions,
        coalesce(set_alert_route.min_severity, 'warning'))
    on conflict on constraint alert_routes_pkey do update
        set conditions = excluded.conditions, min_severity = excluded.min_severity, created_at = clock_timestamp(), actor = session_user;
exception when check_violation or not_null_violation then
    raise sqlstate 'PT422' using message = format('A route for owner %L, conditions %L and severity %L is not possible.',
            left(set_alert_route.owner, 50), set_alert_route.conditions, set_alert_route.min_severity),
        hint = 'Name an owner, or * for all; warning or critical; conditions or null.';
end
$$;
comment on function connectors.set_alert_route(text, text, text[], text) is
    'Leads the alerts of an owner to an endpoint, which then hears only what its routes lead to it; * stands for all owners.';

create function connectors.delete_alert_route(owner text, endpoint_id text) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    delete from connectors.alert_routes as t
    where t.owner = delete_alert_route.owner and t.endpoint_id = delete_alert_route.endpoint_id;
    return found;
end
$$;
comment on function connectors.delete_alert_route(text, text) is 'Takes a route away; whether there was one.';

create function connectors.alert_route_list() returns setof connectors.alert_routes
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select t.* from connectors.alert_routes as t order by t.endpoint_id, t.owner
$$;
comment on function connectors.alert_route_list() is 'Which owners'' alerts go where.';

create function connectors.alert_recipients(
    condition text default 'sync_failed', severity text default 'warning', instance_id text default null, owner text default null
) returns table (endpoint_id text, owners text[])
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    suffers record;
begin
    select array_agg(substr(i.definition_id, length('ipai_connector_') + 1)) as sources, array_agg(i.env) as envs,
        array_remove(array_agg(coalesce(alert_recipients.owner, i.owner, nullif(d.spec ->> 'owner', ''))), null) as owners
    into suffers
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    where i.id = alert_recipients.instance_id;
    if suffers.envs is null and alert_recipients.instance_id is not null then
        raise sqlstate 'PT404' using message = format('Instance %L does not exist.', alert_recipients.instance_id),
            hint = 'List the instances with connector_list().';
    end if;
    return query
        select a.id, coalesce(suffers.owners, array_remove(array[alert_recipients.owner], null))
        from connectors.alert_audience(coalesce(suffers.owners, array_remove(array[alert_recipients.owner], null)),
            coalesce(suffers.sources, '{}'), coalesce(suffers.envs, '{}'),
            array_remove(array[alert_recipients.instance_id], null), alert_recipients.condition,
            alert_recipients.severity, 'opened') as a (id);
end
$$;
comment on function connectors.alert_recipients(text, text, text, text) is
    'Who would be told of an alert of an instance, or of an owner: the endpoints, by their filters and routes.';

create function connectors.set_alert_grouping(condition text, group_within interval) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    update connectors.alert_rules as r
    set group_within = nullif(set_alert_grouping.group_within, interval '0'), updated_at = clock_timestamp(), actor = session_user
    where r.condition = set_alert_grouping.condition;
    if not found then
        raise sqlstate 'PT404' using message = format('No alert is raised for %L.', set_alert_grouping.condition),
            hint = 'Use one of alert_rule_list().';
    end if;
exception when check_violation then
    raise sqlstate 'PT422' using message = format('Grouping within %s is not possible.', set_alert_grouping.group_within),
        hint = 'Use e.g. 15 minutes; 0 groups never.';
end
$$;
comment on function connectors.set_alert_grouping(text, interval) is
    'Says how close failures of one reason must be to be one alert; 0: each is one of its own.';

revoke all on function
    connectors.grouped_conditions(),
    connectors.alert_audience(text[], text[], text[], text[], text, text, text),
    connectors.set_instance_owner(text, text),
    connectors.set_alert_route(text, text, text[], text),
    connectors.delete_alert_route(text, text),
    connectors.alert_route_list(),
    connectors.alert_recipients(text, text, text, text),
    connectors.set_alert_grouping(text, interval)
from public;
grant execute on function
    connectors.alert_route_list(),
    connectors.alert_recipients(text, text, text, text),
    connectors.set_instance_owner(text, text)
to service_role, ipai_admin, ipai_operator;
grant execute on function
    connectors.set_alert_route(text, text, text[], text),
    connectors.delete_alert_route(text, text),
    connectors.set_alert_grouping(text, interval)
to service_role, ipai_admin;

notify pgrst, 'reload schema';
