-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121005000_run_versions.

drop trigger connector_runs_version on connectors.connector_runs;
drop function connectors.note_run_version();
alter table connectors.connector_runs drop column definition_version;
