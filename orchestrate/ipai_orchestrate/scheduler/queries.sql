-- SPDX-License-Identifier: Apache-2.0
-- The calls of the scheduler. Each query stands under a line with its name.

-- schedules --
-- All schedules, and the time of the database.
select subject, expression, timezone, active, misfire, catch_up_max, grace_seconds, jitter_seconds, paused,
    decided_for, decided_until, last_due, next_due, problem, seen_at
from connectors.schedule_list();

-- decide --
-- Turn due times into runs, unless another scheduler has decided.
select due_at, run_id from connectors.decide_schedule(
    subject => %(subject)s, expression => %(expression)s, decided_until => %(decided_until)s,
    until => %(until)s, due => %(due)s, next_due => %(next_due)s);

-- report_problem --
-- Note why a schedule cannot be followed; true when that is news.
select connectors.report_schedule_problem(subject => %(subject)s, problem => %(problem)s) as is_news;

-- set_schedule --
-- Change how a schedule is followed; what is null stays.
select misfire from connectors.set_schedule(
    subject => %(subject)s, misfire => %(misfire)s, catch_up_max => %(catch_up_max)s,
    grace_seconds => %(grace_seconds)s, jitter_seconds => %(jitter_seconds)s, paused => %(paused)s);

-- raise_waiting --
-- Let what has waited too long go with the first.
select connectors.raise_waiting_runs() as raised;

-- drop_old_records --
-- Keep the house: what is older than it must be kept.
select kind, dropped from connectors.drop_old_records();
