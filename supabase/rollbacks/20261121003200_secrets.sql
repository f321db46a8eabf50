-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121003200_secrets. The values stay in the vault, under their names.

drop function connectors.store_rewrapped_secret(uuid, text, text, uuid);
drop function connectors.client_sealed_secrets();
drop function connectors.secret_keys();
drop function connectors.rewrap_secrets();
drop function connectors.read_secret(uuid, uuid, uuid);
drop function connectors.open_secret(text);
drop function connectors.request_instance_secret(text, text);
drop function connectors.request_secret(uuid, uuid, text);
drop function connectors.grant_secret(text, uuid, text);
drop function connectors.secret_list();
drop function connectors.delete_secret(text, boolean);
drop function connectors.secret_users(text);
drop function connectors.refers_to_secret(jsonb, text);
drop function connectors.rotate_secret(text, text, jsonb, interval, boolean, timestamptz);
drop function connectors.create_secret(text, text, jsonb, text, timestamptz);
drop function connectors.put_into_vault(text, text, jsonb, text);
drop function connectors.secret_sealing();
drop table connectors.secret_grants;
drop table connectors.secrets;
drop trigger connector_runs_claimer on connectors.connector_runs;
drop function connectors.note_claimer();
alter table connectors.connector_runs drop column claimed_by;

notify pgrst, 'reload schema';
