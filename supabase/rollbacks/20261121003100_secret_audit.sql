-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121003100_secret_audit, with the log.

drop function connectors.secret_audit_list(bigint, integer, text);
drop table connectors.secret_audit;
drop table connectors.secret_audit_head;
drop function connectors.refuse_audit_change();
drop function connectors.append_secret_audit(text, text, uuid, uuid, text);
drop function connectors.secret_audit_hash(text[]);
drop function connectors.caller();

notify pgrst, 'reload schema';
