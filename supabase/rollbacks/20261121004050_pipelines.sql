-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121004050_pipelines.

drop function connectors.pipeline_status(uuid);
drop function connectors.pipeline_list();
drop function connectors.cancel_pipeline(uuid, text);
drop function connectors.advance_pipelines();
drop function connectors.start_fresh_pipelines();
drop function connectors.advance_pipeline(uuid);
drop function connectors.start_step(connectors.pipeline_runs, jsonb);
drop function connectors.last_attempt(uuid);
drop function connectors.run_pipeline(text, text, text, timestamptz);
drop function connectors.set_pipeline_status(text, text);
drop function connectors.apply_pipeline(text, text, jsonb);
drop function connectors.check_pipeline(jsonb);
drop function connectors.transform_instance(text, text);
drop table connectors.pipeline_steps;
drop table connectors.pipeline_runs;
drop table connectors.pipelines;

notify pgrst, 'reload schema';
