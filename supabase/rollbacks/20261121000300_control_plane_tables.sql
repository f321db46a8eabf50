-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000300_control_plane_tables, with everything the tables hold.

drop table connectors.stream_schemas;
drop table connectors.dead_letters;
drop table connectors.connector_state_history;
drop table connectors.connector_state;
drop table connectors.run_streams;
drop table connectors.connector_runs;
drop table connectors.connector_instances;
drop table connectors.connector_definitions;
drop function connectors.check_run_change();
drop function connectors.check_instance_change();
drop function connectors.check_definition_change();
drop schema connectors;
