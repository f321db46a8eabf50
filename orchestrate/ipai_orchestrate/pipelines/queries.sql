-- SPDX-License-Identifier: Apache-2.0
-- The calls about pipelines. Each query stands under a line with its name.

-- apply --
-- Create a pipeline, or bring it up to date.
select pipeline, version, created, changed
from connectors.apply_pipeline(name => %(name)s, yaml_spec => %(yaml_spec)s, spec => %(spec)s);

-- set_status --
-- Pause the triggers of a pipeline, or make them active.
select connectors.set_pipeline_status(name => %(name)s, status => %(status)s) as status;

-- run --
-- Start a pipeline.
select connectors.run_pipeline(name => %(name)s, triggered_by => %(triggered_by)s) as id;

-- retry --
-- Start what has not succeeded in a run, and what comes after it.
select connectors.retry_pipeline(run_id => %(run_id)s) as id;

-- cancel --
-- End the run of a pipeline.
select connectors.cancel_pipeline(run_id => %(run_id)s, reason => %(reason)s) as outcome;

-- advance --
-- Move all running pipelines on; what has ended is returned.
select pipeline, run_id, status from connectors.advance_pipelines();

-- list --
-- All pipelines with their last run.
select name, version, status, steps, schedule, timezone, fresh, last_run_id, last_status, last_started_at,
    last_ended_at, last_error_summary
from connectors.pipeline_list();

-- specs --
-- What each pipeline is made of.
select name, status, spec from connectors.pipelines order by name;

-- status --
-- A run of a pipeline with its steps.
select id, pipeline, version, triggered_by, status, started_at, ended_at, error_summary, steps
from connectors.pipeline_status(run_id => %(run_id)s);
