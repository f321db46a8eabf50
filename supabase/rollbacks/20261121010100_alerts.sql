-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121010100_alerts. Events of alerts and filters for them go with it.

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
    ) as s
    join connectors.metric_families() as f on f.name = s.name
    order by f.name, s.labels - 'le', s.suffix, (s.labels ->> 'le')::double precision
$$;

drop function connectors.set_alert_rule(text, boolean, interval);
drop function connectors.alert_rule_list();
drop function connectors.ack_alert(bigint);
drop function connectors.alert_list(boolean, integer);
drop function connectors.check_alerts();
drop function connectors.record_alert_event(connectors.alerts, text);
drop function connectors.alert_conditions();
drop function connectors.lost_workers();
drop function connectors.short_quotas();
drop function connectors.expiring_secrets();
drop function connectors.late_syncs();
drop function connectors.scheduled_due(text);
drop function connectors.failed_syncs();
drop index connectors.connector_runs_instance_failed_idx;
drop table connectors.alerts;
drop table connectors.alert_rules;

delete from connectors.connector_events where type like 'alert.%';
alter table connectors.connector_events
    drop constraint connector_events_type_is_name,
    add constraint connector_events_type_is_name check (type ~ '^(run|webhook)\.[a-z_]+$');
comment on column connectors.connector_events.type is 'run.<status>, or webhook.test.';
-- An endpoint for alerts alone would get everything without its filter: it is disabled instead.
update connectors.webhook_endpoints
set status = 'disabled', disabled_reason = coalesce(disabled_reason, 'it was for alerts'), statuses = null
where statuses <@ array['opened', 'resolved'];
update connectors.webhook_endpoints
set statuses = array_remove(array_remove(statuses, 'opened'), 'resolved')
where statuses && array['opened', 'resolved'];
alter table connectors.webhook_endpoints
    drop constraint webhook_endpoints_statuses_known,
    add constraint webhook_endpoints_statuses_known check (
        statuses <@ array['queued', 'running', 'succeeded', 'failed', 'cancelled']);
comment on column connectors.webhook_endpoints.statuses is 'Only these statuses of a run; null: all.';

notify pgrst, 'reload schema';
