-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121004000_worker.

drop function connectors.previous_run_status(uuid, uuid);
drop function connectors.hand_back_connector_job(uuid, uuid, text);

notify pgrst, 'reload schema';
