-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000500_definitions_and_instances.

drop function connectors.set_instance_status(text, text);
drop function connectors.create_connector_instance(text, text, jsonb, text, text, integer, text);
drop function connectors.refuse_secrets(text, integer, jsonb);
drop function connectors.register_connector_definition(text, text, jsonb);
