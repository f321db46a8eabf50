-- SPDX-License-Identifier: Apache-2.0
-- When instances run by themselves. Schedulers compute the due times of a cron expression; here they
-- are turned into runs, each once, whatever number of schedulers is at work.

create table connectors.schedules (
    subject text not null,
    misfire text not null default 'once',
    catch_up_max integer not null default 24,
    grace_seconds integer not null default 60,
    jitter_seconds integer not null default 0,
    paused boolean not null default false,
    expression text,
    decided_until timestamptz,
    last_due timestamptz,
    next_due timestamptz,
    problem text,
    updated_at timestamptz not null default clock_timestamp(),
    constraint schedules_pkey primary key (subject),
    constraint schedules_subject_named check (subject ~ '^(instance|pipeline):[a-z0-9][a-z0-9_-]{0,62}$'),
    constraint schedules_misfire_known check (misfire in ('skip', 'once', 'catch_up')),
    constraint schedules_catch_up_bounded check (catch_up_max between 1 and 1000),
    constraint schedules_seconds_bounded check (
        grace_seconds between 10 and 86400 and jitter_seconds between 0 and 86400)
);
comment on table connectors.schedules is 'How the schedule of an instance or pipeline is followed, and up to when its due times are decided.';
comment on column connectors.schedules.subject is 'instance:<id> or pipeline:<name>.';
comment on column connectors.schedules.misfire is 'Due times nobody was there for: skip them, make them good by one run (once), or run each (catch_up).';
comment on column connectors.schedules.catch_up_max is 'With catch_up, at most so many, the newest.';
comment on column connectors.schedules.grace_seconds is 'A due time found later than this counts as missed.';
comment on column connectors.schedules.jitter_seconds is 'Spread over this time after each due time, so that not all start at once.';
comment on column connectors.schedules.paused is 'Due times pass without a run; runs by hand are still possible.';
comment on column connectors.schedules.expression is 'The expression and time zone that decided_until was decided for.';
comment on column connectors.schedules.decided_until is 'Due times up to here have been decided and are never looked at again.';
comment on column connectors.schedules.last_due is 'Last due time that became a run.';
comment on column connectors.schedules.next_due is 'The due time after that, as the scheduler that decided last saw it.';
comment on column connectors.schedules.problem is 'Why it cannot be followed; null when it can.';
comment on column connectors.schedules.updated_at is 'When this row was last changed.';

alter table connectors.schedules enable row level security;
alter table connectors.schedules force row level security;
create policy owner_all on connectors.schedules for all to current_user using (true) with check (true);
create policy staff_read on connectors.schedules for select to service_role, ipai_admin, ipai_operator using (true);
revoke all on connectors.schedules from public;
grant select on connectors.schedules to service_role, ipai_admin, ipai_operator;

create function connectors.scheduled_subjects() returns table (subject text, expression text, timezone text, active boolean)
language sql stable security definer set search_path = '' as $$
    select 'instance:' || i.id,
        case i.schedule when 'default' then d.spec ->> 'schedule' else i.schedule end,
        coalesce(d.spec ->> 'timezone', 'UTC'),
        i.status = 'active' and d.enabled
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    where i.schedule is not null and i.status <> 'archived'
    union all
    select 'pipeline:' || p.name, p.spec #>> '{trigger,schedule}', coalesce(p.spec #>> '{trigger,timezone}', 'UTC'),
        p.status = 'active'
    from connectors.pipelines as p where p.spec #>> '{trigger,schedule}' is not null
$$;
comment on function connectors.scheduled_subjects() is
    'Everything with a schedule; the word default stands for the schedule of the connector''s spec. Internal.';

create function connectors.schedule_list() returns table (
    subject text, expression text, timezone text, active boolean, misfire text, catch_up_max integer,
    grace_seconds integer, jitter_seconds integer, paused boolean, decided_for text, decided_until timestamptz,
    last_due timestamptz, next_due timestamptz, problem text, seen_at timestamptz)
language sql volatile security definer set search_path = '' as $$
    select s.subject, s.expression, s.timezone, s.active, coalesce(k.misfire, 'once'), coalesce(k.catch_up_max, 24),
        coalesce(k.grace_seconds, 60), coalesce(k.jitter_seconds, 0), coalesce(k.paused, false), k.expression,
        k.decided_until, k.last_due, k.next_due, k.problem, clock_timestamp()
    from connectors.scheduled_subjects() as s
    left join connectors.schedules as k on k.subject = s.subject
    order by s.subject
$$;
comment on function connectors.schedule_list() is
    'All schedules with how they are followed and the database''s time, which alone counts.';

create function connectors.start_scheduled(subject text, due timestamptz, jitter_seconds integer, coalesced boolean)
returns uuid
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    kind text := split_part(start_scheduled.subject, ':', 1);
    owner text := split_part(start_scheduled.subject, ':', 2);
    key text := 'schedule:' || to_char(start_scheduled.due at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
    -- Computed, not drawn: the same due time is spread to the same moment whoever asks.
    spread integer := (hashtextextended(start_scheduled.subject || key, 0) & 2147483647)
        % (start_scheduled.jitter_seconds + 1);
    begins timestamptz := start_scheduled.due + make_interval(secs => spread);
begin
    if kind = 'pipeline' then
        return connectors.run_pipeline(owner, 'schedule', key, begins);
    end if;
    if start_scheduled.coalesced and exists (
        select from connectors.connector_runs as r
        where r.instance_id = owner and r.status = 'queued' and r.triggered_by = 'schedule'
    ) then
        return null; -- one that has not begun yet will do the work of this one too
    end if;
    return connectors.enqueue_connector_job(
        instance_id => owner, triggered_by => 'schedule', dedupe_key => key, run_after => begins);
end
$$;
comment on function connectors.start_scheduled(text, timestamptz, integer, boolean) is
    'Queues the run of one due time under a key made from it, or starts the pipeline; internal.';

create function connectors.decide_schedule(
    subject text,
    expression text,
    decided_until timestamptz,
    until timestamptz,
    due timestamptz[] default '{}',
    next_due timestamptz default null
) returns table (due_at timestamptz, run_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    schedule connectors.schedules;
    trouble text;
begin
    if decide_schedule.until is null or decide_schedule.until > clock_timestamp() then
        raise sqlstate 'PT422' using
            message = format('Due times cannot be decided up to %s: that is not past.', decide_schedule.until),
            hint = 'Use the time that schedule_list() gives as seen_at.';
    end if;
    if exists (select from unnest(decide_schedule.due) as d (at)
        where d.at is null or d.at > decide_schedule.until or d.at <= decide_schedule.decided_until) then
        raise sqlstate 'PT422' using message = 'A due time lies outside the time that is decided.',
            hint = 'Give due times after decided_until and up to until.';
    end if;
    insert into connectors.schedules as k (subject) values (decide_schedule.subject) on conflict (subject) do nothing;
    select k.* into schedule from connectors.schedules as k where k.subject = decide_schedule.subject for no key update;
    if schedule.decided_until is distinct from decide_schedule.decided_until then
        return; -- another scheduler was first
    end if;
    for due_at in select d.at from unnest(decide_schedule.due) as d (at) order by d.at loop
        begin
            run_id := connectors.start_scheduled(
                schedule.subject, due_at, schedule.jitter_seconds, schedule.misfire <> 'catch_up');
            if run_id is not null then
                schedule.last_due := due_at;
                return next;
            end if;
        exception when sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT422' then
            get stacked diagnostics trouble = message_text; -- its time passes all the same
        end;
    end loop;
    update connectors.schedules as k
    set expression = decide_schedule.expression,
        decided_until = decide_schedule.until,
        last_due = schedule.last_due,
        next_due = decide_schedule.next_due,
        problem = trouble,
        updated_at = clock_timestamp()
    where k.subject = schedule.subject;
end
$$;
comment on function connectors.decide_schedule(text, text, timestamptz, timestamptz, timestamptz[], timestamptz) is
    'Turns due times into runs and notes up to when that is done; nothing happens if another scheduler has decided since decided_until.';

create function connectors.report_schedule_problem(subject text, problem text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    insert into connectors.schedules as k (subject, problem)
    values (report_schedule_problem.subject, left(report_schedule_problem.problem, 1000))
    on conflict (subject) do update set problem = excluded.problem, next_due = null, updated_at = clock_timestamp()
        where k.problem is distinct from excluded.problem;
    return found;
end
$$;
comment on function connectors.report_schedule_problem(text, text) is
    'Notes why a schedule cannot be followed; true when that is news.';

create function connectors.set_schedule(
    subject text,
    misfire text default null,
    catch_up_max integer default null,
    grace_seconds integer default null,
    jitter_seconds integer default null,
    paused boolean default null
) returns connectors.schedules
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    changed connectors.schedules;
begin
    if not exists (select from connectors.scheduled_subjects() as s where s.subject = set_schedule.subject) then
        raise sqlstate 'PT404' using message = format('%L has no schedule.', set_schedule.subject),
            hint = 'Give the instance or pipeline a schedule first; schedule_list() names all that have one.';
    end if;
    insert into connectors.schedules as k (subject) values (set_schedule.subject) on conflict (subject) do nothing;
    begin
        update connectors.schedules as k
        set misfire = coalesce(set_schedule.misfire, k.misfire),
            catch_up_max = coalesce(set_schedule.catch_up_max, k.catch_up_max),
            grace_seconds = coalesce(set_schedule.grace_seconds, k.grace_seconds),
            jitter_seconds = coalesce(set_schedule.jitter_seconds, k.jitter_seconds),
            paused = coalesce(set_schedule.paused, k.paused),
            updated_at = clock_timestamp()
        where k.subject = set_schedule.subject
        returning k.* into changed;
    exception when check_violation then
        raise sqlstate 'PT422' using message = 'That is no way to follow a schedule.',
            hint = 'misfire is skip, once or catch_up; catch_up_max 1 to 1000; grace_seconds 10 to 86400; jitter_seconds 0 to 86400.';
    end;
    return changed;
end
$$;
comment on function connectors.set_schedule(text, text, integer, integer, integer, boolean) is
    'Changes how a schedule is followed, or pauses it; what is left out stays.';

revoke execute on function
    connectors.scheduled_subjects(),
    connectors.schedule_list(),
    connectors.start_scheduled(text, timestamptz, integer, boolean),
    connectors.decide_schedule(text, text, timestamptz, timestamptz, timestamptz[], timestamptz),
    connectors.report_schedule_problem(text, text),
    connectors.set_schedule(text, text, integer, integer, integer, boolean)
from public;
grant execute on function
    connectors.schedule_list(),
    connectors.decide_schedule(text, text, timestamptz, timestamptz, timestamptz[], timestamptz),
    connectors.report_schedule_problem(text, text),
    connectors.set_schedule(text, text, integer, integer, integer, boolean)
to service_role, ipai_admin, ipai_operator;

notify pgrst, 'reload schema';
