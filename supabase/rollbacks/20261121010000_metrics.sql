-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121010000_metrics.

drop function connectors.metrics();
drop function connectors.plane_samples();
drop function connectors.stream_samples();
drop function connectors.run_samples();
drop function connectors.metric_families();

notify pgrst, 'reload schema';
