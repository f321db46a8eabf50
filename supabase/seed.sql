-- SPDX-License-Identifier: Apache-2.0
-- Data of a fresh development database. The control plane needs none: connectors register
-- themselves from their connector.yaml when they are first used.
select connectors.ensure_log_partitions(7);
