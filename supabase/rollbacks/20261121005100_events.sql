-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121005100_events, with all events and endpoints.

drop trigger connector_runs_event_of_update on connectors.connector_runs;
drop trigger connector_runs_event_of_insert on connectors.connector_runs;
drop function connectors.connector_events_list(uuid, text, integer, timestamptz);
drop function connectors.webhook_deliveries_list(text, text, integer, bigint);
drop function connectors.webhook_list();
drop function connectors.purge_connector_events(integer, integer);
drop function connectors.retry_webhook_deliveries(bigint[], text);
drop function connectors.finish_webhook_delivery(bigint, uuid, integer, text, double precision);
drop function connectors.claim_webhook_deliveries(text, integer, integer, integer, bigint);
drop function connectors.send_webhook_test(text);
drop function connectors.delete_webhook_endpoint(text);
drop function connectors.rotate_webhook_secret(text, text, interval);
drop function connectors.bury_deliveries(text, text);
drop function connectors.set_webhook_status(text, text);
drop function connectors.create_webhook_endpoint(text, text, text, text[], text[], text[], text[], text, integer, integer[]);
drop function connectors.refuse_webhook_secret(text);
drop function connectors.known_endpoint(text);
drop function connectors.record_run_event();
drop table connectors.webhook_deliveries;
drop table connectors.webhook_endpoints;
drop table connectors.connector_events;

notify pgrst, 'reload schema';
