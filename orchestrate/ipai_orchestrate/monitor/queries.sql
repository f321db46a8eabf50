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

-- overview_running --
-- What is being worked on, the oldest first.
select r.id as run_id, r.instance_id, r.started_at, r.rows_processed, r.attempt, r.worker
from connectors.connector_runs as r where r.status = 'running' order by r.started_at;

-- overview_waiting --
-- How many runs wait for what, and how long the oldest does.
select q.waits_for, sum(q.runs)::bigint as runs, extract(epoch from max(q.oldest))::double precision as oldest_seconds
from connectors.connector_queue_depth as q group by q.waits_for order by q.waits_for;

-- overview_costs --
-- What the runs that began lately took, by source.
select c.source, count(*) as runs, count(*) filter (where c.status = 'failed') as failed,
    coalesce(sum(c.seconds), 0)::double precision as seconds, coalesce(sum(c.rows_processed), 0)::bigint as rows,
    coalesce(sum(c.requests), 0)::bigint as requests, coalesce(sum(c.bytes), 0)::bigint as bytes,
    sum(c.cpu_seconds)::double precision as cpu_seconds
from connectors.run_costs as c
where c.started_at > clock_timestamp() - make_interval(hours => %(hours)s)
group by c.source order by c.source;

-- overview_secrets --
-- Who lately read, or was refused, which secret and for which instance.
select a.actor, a.action, a.secret_name, r.instance_id, count(*) as times, max(a.at) as last_at
from connectors.secret_audit as a left join connectors.connector_runs as r on r.id = a.run_id
where a.action in ('read', 'deny') and a.at > clock_timestamp() - make_interval(hours => %(hours)s)
group by a.actor, a.action, a.secret_name, r.instance_id order by max(a.at) desc limit %(limit)s;
