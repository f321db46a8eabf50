-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121027000_waiting_runs.

drop function connectors.raise_waiting_runs();

notify pgrst, 'reload schema';
