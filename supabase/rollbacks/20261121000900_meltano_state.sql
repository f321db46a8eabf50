-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000900_meltano_state.

drop function connectors.meltano_state_ids();
drop function connectors.delete_meltano_state(text);
drop function connectors.set_meltano_state(text, jsonb, jsonb);
drop function connectors.get_meltano_state(text);
drop function connectors.meltano_state_key(text);
