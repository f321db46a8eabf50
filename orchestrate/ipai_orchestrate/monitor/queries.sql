-- SPDX-License-Identifier: Apache-2.0
-- The calls of metrics and alerts. Each query stands under a line with its name.

-- metrics --
-- All samples, grouped by metric.
select name, type, help, sample, labels, value from connectors.metrics();

-- check_alerts --
-- Look what is wrong; what changed.
select alert_id, condition, subject, severity, change, summary from connectors.check_alerts();

-- alerts --
-- Alerts, open ones first.
select id, condition, subject, severity, instances, summary, details, opened_at, last_seen_at, notified_at,
    notifications, acked_at, acked_by, resolved_at
from connectors.alert_list(only_open => %(only_open)s, max_rows => %(limit)s);

-- ack_alert --
-- Somebody looks after it.
select connectors.ack_alert(alert_id => %(alert_id)s) as acked_at;

-- alert_rules --
-- What alerts are raised for.
select condition, enabled, repeat_every, resolve_after, group_within, updated_at, actor from connectors.alert_rule_list();

-- set_alert_rule --
-- Change a rule; what is null stays.
select connectors.set_alert_rule(
    condition => %(condition)s, enabled => %(enabled)s, repeat_every => %(repeat_every)s) as done;

-- set_grouping --
-- How close failures of one reason must be to be one alert.
select connectors.set_alert_grouping(condition => %(condition)s, group_within => %(group_within)s) as done;

-- set_owner --
-- Who is told what is wrong with an instance.
select connectors.set_instance_owner(instance_id => %(instance_id)s, owner => %(owner)s) as done;

-- routes --
-- Which owners' alerts go where.
select owner, endpoint_id, conditions, min_severity, created_at, actor from connectors.alert_route_list();

-- set_route --
-- Lead the alerts of an owner to an endpoint.
select connectors.set_alert_route(
    owner => %(owner)s, endpoint_id => %(endpoint_id)s, conditions => %(conditions)s,
    min_severity => %(min_severity)s) as done;

-- delete_route --
-- Whether there was one.
select connectors.delete_alert_route(owner => %(owner)s, endpoint_id => %(endpoint_id)s) as deleted;

-- recipients --
-- Who would be told.
select endpoint_id, owners from connectors.alert_recipients(
    condition => %(condition)s, severity => %(severity)s, instance_id => %(instance_id)s, owner => %(owner)s);
