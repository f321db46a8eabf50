-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000400_run_logs, with all logs.

drop function connectors.purge_run_logs(integer);
drop function connectors.ensure_log_partitions(integer);
drop function connectors.create_log_partition(date);
drop table connectors.run_logs;
