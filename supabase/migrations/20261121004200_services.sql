-- SPDX-License-Identifier: Apache-2.0
-- Which workers and schedulers are at work: each says so every few seconds. Nothing depends on it but
-- people, health checks and alerts; what a worker holds is decided by leases.

create table connectors.services (
    name text not null,
    kind text not null,
    login text not null default session_user,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    capacity integer not null default 0,
    busy integer not null default 0,
    sources text[],
    constraint services_pkey primary key (name, kind, login),
    constraint services_name_given check (name ~ '\S' and length(name) <= 200),
    constraint services_kind_known check (kind in ('worker', 'scheduler')),
    constraint services_counts_not_negative check (capacity >= 0 and busy >= 0)
);
create index services_seen_idx on connectors.services (seen_at);
comment on table connectors.services is 'Workers and schedulers, one row per process, kept for a week after its last sign of life.';
comment on column connectors.services.name is '<host>:<process id>; a worker''s name in its runs.';
comment on column connectors.services.kind is 'worker or scheduler.';
comment on column connectors.services.login is 'Database login it uses; no other writes this row.';
comment on column connectors.services.started_at is 'First sign of life.';
comment on column connectors.services.seen_at is 'Last sign of life; older than a minute means gone.';
comment on column connectors.services.ended_at is 'When it said that it ends; null for one at work, or killed.';
comment on column connectors.services.capacity is 'How many runs it performs at once.';
comment on column connectors.services.busy is 'How many it performs now.';
comment on column connectors.services.sources is 'Source types it takes; null: all.';

alter table connectors.services enable row level security;
alter table connectors.services force row level security;
create policy owner_all on connectors.services for all to current_user using (true) with check (true);
create policy staff_read on connectors.services for select to service_role, ipai_admin, ipai_operator using (true);
revoke all on connectors.services from public;
grant select on connectors.services to service_role, ipai_admin, ipai_operator;

create function connectors.report_service(
    name text, kind text, capacity integer default 0, busy integer default 0, sources text[] default null,
    is_ending boolean default false
) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    insert into connectors.services as s (name, kind, capacity, busy, sources, ended_at)
    values (report_service.name, report_service.kind, coalesce(report_service.capacity, 0), coalesce(report_service.busy, 0),
        report_service.sources, case when report_service.is_ending then clock_timestamp() end)
    on conflict on constraint services_pkey do update
        set seen_at = clock_timestamp(), capacity = excluded.capacity, busy = excluded.busy, sources = excluded.sources,
            ended_at = excluded.ended_at;
    delete from connectors.services as s where s.seen_at < clock_timestamp() - interval '7 days';
    return true;
end
$$;
comment on function connectors.report_service(text, text, integer, integer, text[], boolean) is
    'A sign of life of a worker or scheduler, or its last word.';

create function connectors.service_list(at_work boolean default true) returns table (
    name text, kind text, login text, started_at timestamptz, seen_at timestamptz, ended_at timestamptz,
    capacity integer, busy integer, sources text[], is_alive boolean)
language sql stable security definer set search_path = '' as $$
    select s.name, s.kind, s.login, s.started_at, s.seen_at, s.ended_at, s.capacity, s.busy, s.sources, l.is_alive
    from connectors.services as s
    cross join lateral (
        select s.ended_at is null and s.seen_at > clock_timestamp() - interval '1 minute' as is_alive) as l
    where l.is_alive or not service_list.at_work
    order by s.kind, s.started_at
$$;
comment on function connectors.service_list(boolean) is 'Workers and schedulers at work, or with at_work false all of the last week.';

revoke execute on function
    connectors.report_service(text, text, integer, integer, text[], boolean),
    connectors.service_list(boolean)
from public;
grant execute on function connectors.report_service(text, text, integer, integer, text[], boolean)
    to service_role, ipai_admin, ipai_operator, ipai_worker;
grant execute on function connectors.service_list(boolean)
    to service_role, ipai_admin, ipai_operator, ipai_worker, ipai_agent;

notify pgrst, 'reload schema';
