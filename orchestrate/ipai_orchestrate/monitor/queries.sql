-- SPDX-License-Identifier: Apache-2.0
-- The calls of metrics and alerts. Each query stands under a line with its name.

-- metrics --
-- All samples, grouped by metric.
select name, type, help, sample, labels, value from connectors.metrics();
