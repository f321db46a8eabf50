-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121026000_pipeline_retry.

drop function connectors.retry_pipeline(uuid);

notify pgrst, 'reload schema';
