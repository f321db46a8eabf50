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
select condition, enabled, repeat_every, resolve_after, updated_at, actor from connectors.alert_rule_list();

-- set_alert_rule --
-- Change a rule; what is null stays.
select connectors.set_alert_rule(
    condition => %(condition)s, enabled => %(enabled)s, repeat_every => %(repeat_every)s) as done;
