-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121010200_retention.

drop function connectors.drop_old_records();

notify pgrst, 'reload schema';
