-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121021000_alert_routing. Owners of instances, routes and addresses of chats
-- go with it.

drop function connectors.set_alert_grouping(text, interval);
drop function connectors.alert_recipients(text, text, text, text);
drop function connectors.alert_route_list();
drop function connectors.delete_alert_route(text, text);
drop function connectors.set_alert_route(text, text, text[], text);
drop function connectors.set_instance_owner(text, text);

create or replace function connectors.check_alerts()
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

drop function connectors.alert_audience(text[], text[], text[], text[], text, text, text);
drop function connectors.grouped_conditions();
drop table connectors.alert_routes;

delete from connectors.webhook_endpoints where url = 'apprise:';
alter table connectors.webhook_endpoints
    drop constraint webhook_endpoints_url_is_http,
    add constraint webhook_endpoints_url_is_http check (
        length(url) <= 2000 and url ~ '^https?://[^][[:space:]/?#@\\]+|^https?://\[[0-9a-fA-F:.]+\]'
        and url !~ '^https?://[^/?#]*@' and url !~ '[[:space:]#\\]');
comment on column connectors.webhook_endpoints.url is 'Address; https, unless the notifier is told to allow another.';
alter table connectors.alerts drop column told_instances;
alter table connectors.alert_rules drop constraint alert_rules_group_sensible, drop column group_within;
alter table connectors.connector_instances drop constraint connector_instances_owner_says_something, drop column owner;

notify pgrst, 'reload schema';
