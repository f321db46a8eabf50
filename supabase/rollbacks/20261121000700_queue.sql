-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000700_queue.

drop function connectors.run_connector(text, text, text[], text);
drop function connectors.cancel_connector_job(uuid, text);
drop function connectors.fail_connector_job(uuid, uuid, text, text, integer, timestamptz, bigint);
drop function connectors.complete_connector_job(uuid, uuid, bigint, jsonb, boolean);
drop function connectors.heartbeat_connector_job(uuid, uuid, integer);
drop function connectors.claim_connector_job(text, integer, uuid, text[]);
drop function connectors.explain_unclaimable(uuid);
drop function connectors.reap_connector_runs();
drop function connectors.queue_retry(connectors.connector_runs);
drop function connectors.retry_delay(integer);
drop function connectors.is_retryable(text);
drop function connectors.enqueue_connector_job(text, text, text[], text, text, integer, timestamptz, integer);
drop function connectors.leased_run(uuid, uuid);
drop function connectors.job_name(text, text, text);
