-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121005200_releases, with the record of all releases.

drop trigger connector_instances_release on connectors.connector_instances;
drop function connectors.instance_release_list(text, integer);
drop function connectors.rollback_connector_instance(text, integer, boolean);
drop function connectors.promote_connector_instance(text, text, text);
drop function connectors.retire_connector_instance(text);
drop function connectors.apply_connector_instance(text, text, jsonb, text, text, text, integer, text);
drop function connectors.known_instance(text);
drop function connectors.name_release(text, text);
drop function connectors.record_release();
drop function connectors.staging_proof(text, text, integer, integer);
drop table connectors.instance_declarations;
drop table connectors.instance_releases;

notify pgrst, 'reload schema';
