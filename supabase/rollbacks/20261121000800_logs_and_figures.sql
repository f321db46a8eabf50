-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000800_logs_and_figures.

drop view connectors.ipai_connector_run;
drop view connectors.ipai_connector_config;
drop function connectors.connector_logs(uuid, bigint, integer, text, text);
drop function connectors.connector_list(text, text, text, integer);
drop function connectors.connector_status(uuid);
drop function connectors.connector_runs_list(text, integer, timestamptz);
drop function connectors.record_stream_schema(uuid, uuid, text, jsonb);
drop function connectors.record_run_streams(uuid, uuid, jsonb);
drop function connectors.append_connector_logs(uuid, uuid, jsonb);
