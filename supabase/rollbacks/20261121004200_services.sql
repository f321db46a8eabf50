-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121004200_services.

drop function connectors.service_list(boolean);
drop function connectors.report_service(text, text, integer, integer, text[], boolean);
drop table connectors.services;

notify pgrst, 'reload schema';
