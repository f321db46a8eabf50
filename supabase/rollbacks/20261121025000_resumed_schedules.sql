-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121025000_resumed_schedules.

drop function connectors.find_connector_runs(text, integer);
drop trigger pipelines_resumed on connectors.pipelines;
drop trigger connector_instances_resumed on connectors.connector_instances;
drop function connectors.resume_schedule_of();
drop trigger schedules_resumed on connectors.schedules;
drop function connectors.resume_schedule();

notify pgrst, 'reload schema';
