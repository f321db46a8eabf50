-- SPDX-License-Identifier: Apache-2.0
-- The calls of the outbox. Each query stands under a line with its name.

-- create_endpoint --
-- Create an endpoint, or bring it up to date.
select id, endpoint_status, created from connectors.create_webhook_endpoint(
    endpoint_id => %(endpoint_id)s, url => %(url)s, secret_ref => %(secret_ref)s, envs => %(envs)s,
    sources => %(sources)s, instances => %(instances)s, statuses => %(statuses)s,
    description => %(description)s, timeout_seconds => %(timeout_seconds)s,
    retry_seconds => coalesce(%(retry_seconds)s::integer[], '{5,30,120,600,3600,21600,86400}'));

-- set_status --
-- Make an endpoint active, paused or disabled.
select connectors.set_webhook_status(endpoint_id => %(endpoint_id)s, status => %(status)s) as status;

-- rotate_secret --
-- Sign with a new secret, and with the old one too for a while.
select connectors.rotate_webhook_secret(
    endpoint_id => %(endpoint_id)s, secret_ref => %(secret_ref)s, overlap => %(overlap)s) as until;

-- delete_endpoint --
-- Remove an endpoint with its deliveries.
select connectors.delete_webhook_endpoint(endpoint_id => %(endpoint_id)s) as deleted;

-- send_test --
-- Queue a test event for one endpoint.
select connectors.send_webhook_test(endpoint_id => %(endpoint_id)s) as delivery_id;

-- claim --
-- Take deliveries that are due.
select * from connectors.claim_webhook_deliveries(
    notifier => %(notifier)s, max_rows => %(max_rows)s, lease_seconds => %(lease_seconds)s,
    per_endpoint => %(per_endpoint)s, only_delivery => %(only_delivery)s);

-- finish --
-- Record how a try went.
select status, next_attempt_at from connectors.finish_webhook_delivery(
    delivery_id => %(delivery_id)s, claim_token => %(claim_token)s, http_status => %(http_status)s,
    error => %(error)s, retry_after_seconds => %(retry_after_seconds)s);

-- retry --
-- Send deliveries again.
select connectors.retry_webhook_deliveries(
    delivery_ids => %(delivery_ids)s, of_endpoint => %(of_endpoint)s) as chosen;

-- purge --
-- Drop old events.
select connectors.purge_connector_events(keep_days => %(keep_days)s, max_rows => %(max_rows)s) as gone;

-- endpoints --
-- All endpoints with how their deliveries stand.
select * from connectors.webhook_list();

-- deliveries --
-- Deliveries, newest first.
select * from connectors.webhook_deliveries_list(
    of_endpoint => %(of_endpoint)s, in_status => %(in_status)s, max_rows => %(max_rows)s,
    before_id => %(before_id)s);

-- events --
-- Events, newest first.
select * from connectors.connector_events_list(
    for_run => %(for_run)s, for_instance => %(for_instance)s, max_rows => %(max_rows)s,
    before => %(before)s);

-- listen --
-- Be woken when something is to be told.
listen ipai_webhooks;

-- request_secret --
-- Ask for the signing secret of a claimed delivery.
select grant_id, outcome, message from connectors.request_webhook_secret(
    delivery_id => %(delivery_id)s, claim_token => %(claim_token)s, name => %(name)s);

-- read_secret --
-- Read what was granted, in a transaction of its own.
select connectors.read_secret(grant_id => %(grant_id)s) as answer;
