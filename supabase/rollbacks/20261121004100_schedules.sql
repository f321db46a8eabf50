-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121004100_schedules.

drop function connectors.set_schedule(text, text, integer, integer, integer, boolean);
drop function connectors.report_schedule_problem(text, text);
drop function connectors.decide_schedule(text, text, timestamptz, timestamptz, timestamptz[], timestamptz);
drop function connectors.start_scheduled(text, timestamptz, integer, boolean);
drop function connectors.schedule_list();
drop function connectors.scheduled_subjects();
drop table connectors.schedules;

notify pgrst, 'reload schema';
