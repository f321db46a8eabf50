-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000600_state.

drop function connectors.lock_instance(text);
drop function connectors.connector_state_versions(text, integer);
drop function connectors.rollback_connector_state(text, bigint);
drop function connectors.set_connector_state(text, jsonb, bigint);
drop function connectors.get_connector_state(text);
drop function connectors.refuse_while_running(text);
drop function connectors.holds_bookmarks(jsonb);
drop function connectors.save_connector_state(uuid, uuid, jsonb, boolean, bigint);
drop function connectors.store_state(text, jsonb, jsonb, uuid, text);
drop function connectors.effective_state(jsonb, jsonb);
drop function connectors.merge_state(jsonb, jsonb, boolean);
drop function connectors.state_losses(jsonb, jsonb);
drop function connectors.cursor_precedes(jsonb, jsonb);
drop function connectors.state_cursors(jsonb);
drop function connectors.stream_partitions(jsonb);
drop function connectors.state_streams(jsonb);
