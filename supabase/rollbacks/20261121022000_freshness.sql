-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121022000_freshness. gold_freshness goes with it until dbt builds it again.

drop function ipai_gold_core.sync_freshness() cascade;

notify pgrst, 'reload schema';
