-- SPDX-License-Identifier: Apache-2.0
-- What a run asks of the control plane beside the queue. Each query stands under a line with its name.

-- hand_back --
-- Give a run back to the queue; the attempt is not counted.
select retry_id from connectors.hand_back_connector_job(
    run_id => %(run_id)s, lease_token => %(lease_token)s, reason => %(reason)s);

-- previous_status --
-- How the run of the same instance that started before this one ended.
select connectors.previous_run_status(run_id => %(run_id)s, lease_token => %(lease_token)s) as status;
