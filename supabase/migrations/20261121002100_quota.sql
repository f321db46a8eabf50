-- SPDX-License-Identifier: Apache-2.0
-- What runs may ask of a source together. Instances that sign in with the same credential share one
-- budget, a bucket; each run holds a share of it from its claim to its end.

create table connectors.source_limits (
    source_type text not null,
    max_running integer not null,
    updated_at timestamptz not null default clock_timestamp(),
    actor text not null default session_user,
    constraint source_limits_pkey primary key (source_type),
    constraint source_limits_positive check (max_running > 0)
);
comment on table connectors.source_limits is 'How many runs of a source may be running at once, where that is limited.';
comment on column connectors.source_limits.source_type is 'Source type, e.g. github.';
comment on column connectors.source_limits.max_running is 'Most runs at once, over all its instances.';
comment on column connectors.source_limits.updated_at is 'When it was set.';
comment on column connectors.source_limits.actor is 'Database login that set it.';

create table connectors.quota_buckets (
    source_type text not null,
    credential_key text not null,
    requests_per_second numeric,
    concurrency integer,
    max_shares integer not null default 8,
    window_requests bigint,
    window_seconds integer,
    reported_limit bigint,
    reported_remaining bigint,
    reported_reset_at timestamptz,
    reported_at timestamptz,
    updated_at timestamptz not null default clock_timestamp(),
    actor text not null default session_user,
    constraint quota_buckets_pkey primary key (source_type, credential_key),
    constraint quota_buckets_limits_positive check (
        requests_per_second > 0 and concurrency > 0 and max_shares > 0 and window_requests > 0 and window_seconds > 0),
    constraint quota_buckets_window_whole check ((window_requests is null) = (window_seconds is null)),
    constraint quota_buckets_report_whole check (
        (reported_remaining is null) = (reported_reset_at is null) and (reported_remaining is null) = (reported_at is null))
);
comment on table connectors.quota_buckets is 'The budget of one credential at one source.';
comment on column connectors.quota_buckets.source_type is 'Source type, e.g. github.';
comment on column connectors.quota_buckets.credential_key is 'Names of the secrets the instances refer to, and the address if it is not the public one; default: none named.';
comment on column connectors.quota_buckets.requests_per_second is 'Rate of all runs together; null: the highest of its instances'' settings, else of the spec.';
comment on column connectors.quota_buckets.concurrency is 'Requests under way at once, of all runs together; null: likewise.';
comment on column connectors.quota_buckets.max_shares is 'Into how many shares the budget is divided at most: runs at once.';
comment on column connectors.quota_buckets.window_requests is 'Requests allowed per window, as set by an admin.';
comment on column connectors.quota_buckets.window_seconds is 'Length of that window; windows begin at whole multiples of it since 1970 (UTC).';
comment on column connectors.quota_buckets.reported_limit is 'Requests per window, as the source said last.';
comment on column connectors.quota_buckets.reported_remaining is 'Requests left, as the source said last.';
comment on column connectors.quota_buckets.reported_reset_at is 'When the source''s window ends.';
comment on column connectors.quota_buckets.reported_at is 'When a run passed that on.';
comment on column connectors.quota_buckets.updated_at is 'When an admin set it last, or when it was first used.';
comment on column connectors.quota_buckets.actor is 'Database login that did.';

create table connectors.quota_shares (
    run_id uuid not null,
    source_type text not null,
    credential_key text not null,
    requests_per_second numeric,
    concurrency integer,
    requests_total bigint,
    requests_used bigint not null default 0,
    granted_at timestamptz not null default clock_timestamp(),
    constraint quota_shares_pkey primary key (run_id),
    constraint quota_shares_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete cascade,
    constraint quota_shares_bucket_fkey foreign key (source_type, credential_key)
        references connectors.quota_buckets (source_type, credential_key),
    constraint quota_shares_positive check (
        requests_per_second > 0 and concurrency > 0 and requests_total > 0 and requests_used >= 0)
);
create index quota_shares_bucket_idx on connectors.quota_shares (source_type, credential_key);
comment on table connectors.quota_shares is 'What each running run may ask of its source; returned when the run ends, however it ends.';
comment on column connectors.quota_shares.run_id is 'The run.';
comment on column connectors.quota_shares.source_type is 'Source type of its bucket.';
comment on column connectors.quota_shares.credential_key is 'Credential of its bucket.';
comment on column connectors.quota_shares.requests_per_second is 'Its part of the rate; null: not limited.';
comment on column connectors.quota_shares.concurrency is 'Its part of the requests under way at once; null: not limited.';
comment on column connectors.quota_shares.requests_total is 'Requests it may make in all; null: not limited.';
comment on column connectors.quota_shares.requests_used is 'Requests it has reported so far.';
comment on column connectors.quota_shares.granted_at is 'When it was claimed.';

create table connectors.quota_usage (
    run_id uuid not null,
    slice timestamptz not null,
    source_type text not null,
    credential_key text not null,
    requests bigint not null,
    last_at timestamptz not null default clock_timestamp(),
    constraint quota_usage_pkey primary key (run_id, slice),
    constraint quota_usage_run_fkey foreign key (run_id) references connectors.connector_runs (id) on delete cascade,
    constraint quota_usage_bucket_fkey foreign key (source_type, credential_key)
        references connectors.quota_buckets (source_type, credential_key),
    constraint quota_usage_positive check (requests > 0)
);
create index quota_usage_bucket_idx on connectors.quota_usage (source_type, credential_key, last_at);
comment on table connectors.quota_usage is 'Requests that runs have made, by minute; kept at least 90 days.';
comment on column connectors.quota_usage.run_id is 'The run.';
comment on column connectors.quota_usage.slice is 'The minute in which they were reported.';
comment on column connectors.quota_usage.source_type is 'Source type of the bucket.';
comment on column connectors.quota_usage.credential_key is 'Credential of the bucket.';
comment on column connectors.quota_usage.requests is 'Requests reported in that minute.';
comment on column connectors.quota_usage.last_at is 'When the last of them was reported.';

-- Which bucket an instance draws on, and what it may take at most, is worked out when it is set up.

alter table connectors.connector_instances
    add column quota_key text not null default 'default',
    add column quota jsonb;
create index connector_instances_quota_idx on connectors.connector_instances (definition_id, quota_key);
comment on column connectors.connector_instances.quota_key is 'Credential whose quota it uses: the credential_key of its bucket.';
comment on column connectors.connector_instances.quota is 'requests_per_second, concurrency and requests_per_run of its settings, else of its spec; null: not limited.';

alter table connectors.connector_runs add column quota jsonb;
create index connector_runs_waiting_idx on connectors.connector_runs (instance_id, run_after) where status = 'queued';
comment on column connectors.connector_runs.quota is 'The share of its source''s quota that it was given when it was claimed; null: not limited.';

create function connectors.find_quota_bucket() returns trigger
language plpgsql set search_path = '' as $$
declare
    spec jsonb;
    secrets text;
begin
    select d.spec into spec from connectors.connector_definitions as d
    where d.id = new.definition_id and d.version = new.definition_version;
    select string_agg(distinct f.found[1], ',' order by f.found[1]) into secrets
    from jsonb_each(coalesce(spec -> 'settings', '{}')) as s
    cross join lateral regexp_matches((new.config -> s.key)::text, '\$\{([^}]+)\}', 'g') as f (found)
    where s.value -> 'secret' = 'true';
    new.quota_key := coalesce(secrets, 'default') || coalesce('@' || (new.config ->> 'api_url'), '');
    if length(new.quota_key) > 120 then
        new.quota_key := left(new.quota_key, 100) || '#' || left(encode(sha256(convert_to(new.quota_key, 'UTF8')), 'hex'), 16);
    end if;
    select nullif(jsonb_object_agg(q.name, q.value), '{}') into new.quota
    from (
        select n.name, case when jsonb_typeof(new.config -> n.name) = 'number' then new.config -> n.name
            else spec -> 'quota' -> n.name end as value
        from unnest(array['requests_per_second', 'concurrency', 'requests_per_run']) as n (name)
    ) as q
    where case when jsonb_typeof(q.value) = 'number' then q.value::numeric > 0 else false end;
    return new;
end
$$;
comment on function connectors.find_quota_bucket() is
    'Works out an instance''s quota_key and quota from its settings and spec.';
create trigger connector_instances_quota before insert or update of config, definition_id, definition_version
    on connectors.connector_instances for each row execute function connectors.find_quota_bucket();
update connectors.connector_instances set config = config where true;

create view connectors.quota_standing with (security_invoker = on) as
select b.source_type, b.credential_key, w.budget, w.used, w.remaining, w.started_at as window_started_at, w.reset_at
from connectors.quota_buckets as b
left join lateral (
    -- Of what an admin has set and what the source has said, whichever leaves less.
    select o.* from (
        select b.window_requests as budget, u.used, greatest(b.window_requests - u.used, 0) as remaining,
            p.started_at, p.started_at + make_interval(secs => b.window_seconds) as reset_at
        from (select to_timestamp(floor(extract(epoch from clock_timestamp()) / b.window_seconds) * b.window_seconds) as started_at) as p
        cross join lateral (
            select coalesce(sum(q.requests), 0)::bigint as used from connectors.quota_usage as q
            where q.source_type = b.source_type and q.credential_key = b.credential_key and q.last_at >= p.started_at) as u
        where b.window_requests is not null
        union all
        select b.reported_limit, b.reported_limit - greatest(b.reported_remaining - s.since, 0),
            greatest(b.reported_remaining - s.since, 0), null, b.reported_reset_at
        from (
            select coalesce(sum(q.requests), 0)::bigint as since from connectors.quota_usage as q
            where q.source_type = b.source_type and q.credential_key = b.credential_key and q.last_at > b.reported_at) as s
        where b.reported_reset_at > clock_timestamp()
    ) as o
    order by o.remaining limit 1
) as w on true;
comment on view connectors.quota_standing is 'What is left of each bucket''s requests in its present window; nulls where there is no window.';

create view connectors.quota_forecast with (security_invoker = on) as
select s.source_type, s.credential_key, s.budget, s.used, s.remaining, s.reset_at,
    round(s.used::numeric / nullif(s.budget, 0), 4) as used_fraction,
    h.running_runs, h.granted_per_second, p.pace_per_second,
    case when s.remaining = 0 then clock_timestamp()
        when p.pace_per_second > 0 then clock_timestamp() + make_interval(secs => (s.remaining / p.pace_per_second)::double precision)
        end as exhausted_at,
    coalesce(s.remaining < p.pace_per_second * extract(epoch from s.reset_at - clock_timestamp()), s.remaining = 0, false) as exceeded_before_reset
from connectors.quota_standing as s
cross join lateral (
    select count(*) as running_runs, coalesce(sum(r.requests_per_second), 0) as granted_per_second
    from connectors.quota_shares as r
    where r.source_type = s.source_type and r.credential_key = s.credential_key) as h
cross join lateral (
    select round(coalesce(sum(q.requests), 0) / 900.0, 4) as pace_per_second
    from connectors.quota_usage as q
    where q.source_type = s.source_type and q.credential_key = s.credential_key
        and q.last_at > clock_timestamp() - interval '15 minutes') as p;
comment on view connectors.quota_forecast is 'Use of each bucket, and when it is used up if requests go on as in the last 15 minutes.';

create function connectors.take_quota_share(run_id uuid, may_wait boolean, out outcome text, out quota jsonb)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    instance connectors.connector_instances;
    source text;
    bucket connectors.quota_buckets;
    standing connectors.quota_standing;
    held record;
    rivals record;
    rate numeric;
    places integer;
    least_rate numeric;
    parts integer;
    spare bigint;
begin
    select i.* into instance from connectors.connector_runs as r
    join connectors.connector_instances as i on i.id = r.instance_id
    where r.id = take_quota_share.run_id;
    source := substr(instance.definition_id, length('ipai_connector_') + 1);
    if not exists (
        select from connectors.quota_buckets as b where b.source_type = source and b.credential_key = instance.quota_key
    ) then
        if instance.quota is null then
            outcome := 'unlimited';
            return;
        end if;
        insert into connectors.quota_buckets (source_type, credential_key) values (source, instance.quota_key)
        on conflict on constraint quota_buckets_pkey do nothing;
    end if;
    -- Shares of a bucket are dealt out one at a time. Who holds one bucket never waits for another.
    if may_wait then
        select b.* into bucket from connectors.quota_buckets as b
        where b.source_type = source and b.credential_key = instance.quota_key for no key update;
    else
        select b.* into bucket from connectors.quota_buckets as b
        where b.source_type = source and b.credential_key = instance.quota_key for no key update skip locked;
        if not found then
            outcome := 'wait';
            return;
        end if;
    end if;

    if bucket.window_requests is not null or bucket.reported_reset_at > clock_timestamp() then
        select s.* into standing from connectors.quota_standing as s
        where s.source_type = source and s.credential_key = instance.quota_key;
    end if;
    select coalesce(sum(s.requests_per_second), 0) as rate, coalesce(sum(s.concurrency), 0)::integer as places,
        coalesce(sum(greatest(s.requests_total - s.requests_used, 0)), 0)::bigint as requests, count(*)::integer as runs
    into held
    from connectors.quota_shares as s
    where s.source_type = source and s.credential_key = instance.quota_key;
    -- Of the instances without a running run: who may come, and who waits already, this one among them.
    select max((i.quota ->> 'requests_per_second')::numeric) as rate,
        ceil(max((i.quota ->> 'concurrency')::numeric))::integer as places,
        count(*) filter (where b.is_idle) > 1 as may_come,
        count(*) filter (where b.is_idle and (i.id = instance.id or exists (
            select from connectors.connector_runs as r
            where r.instance_id = i.id and r.status = 'queued' and r.run_after <= clock_timestamp()))) as waiting
    into rivals
    from connectors.connector_instances as i
    cross join lateral (
        select not exists (
            select from connectors.connector_runs as r where r.instance_id = i.id and r.status = 'running') as is_idle
    ) as b
    where i.definition_id = instance.definition_id and i.quota_key = instance.quota_key and i.status = 'active';

    rate := coalesce(bucket.requests_per_second, rivals.rate);
    places := coalesce(bucket.concurrency, rivals.places);
    least_rate := case when rate is not null then greatest(trunc(rate / bucket.max_shares, 3), 0.001) end;
    spare := standing.remaining - held.requests;
    -- The last hundredth is not worth a run.
    if standing.remaining < greatest(coalesce(standing.budget, 0) / 100, 1) then
        outcome := 'spent';
        return;
    end if;
    if held.runs >= bucket.max_shares or rate - held.rate < least_rate or places - held.places < 1
        or spare < greatest(coalesce(standing.budget, 0) / 100, 1) then
        outcome := 'wait';
        return;
    end if;
    -- Divided among those that wait; half is kept back while there are others that may come.
    parts := greatest(rivals.waiting, case when rivals.may_come then 2 else 1 end);
    parts := greatest(least(parts, bucket.max_shares - held.runs), 1);
    insert into connectors.quota_shares as s
        (run_id, source_type, credential_key, requests_per_second, concurrency, requests_total)
    values (take_quota_share.run_id, source, instance.quota_key,
        least(case when rate is not null then greatest(trunc((rate - held.rate) / parts, 3), least_rate) end,
            (instance.quota ->> 'requests_per_second')::numeric),
        least(case when places is not null then greatest((places - held.places) / parts, 1) end,
            ceil((instance.quota ->> 'concurrency')::numeric)::integer),
        least(spare / parts + (spare % parts > 0)::integer, ceil((instance.quota ->> 'requests_per_run')::numeric)::bigint))
    returning jsonb_build_object('requests_per_second', s.requests_per_second, 'concurrency', s.concurrency,
        'requests_total', s.requests_total, 'reset_at', standing.reset_at)
    into quota;
    outcome := 'granted';
end
$$;
comment on function connectors.take_quota_share(uuid, boolean) is
    'Gives a run that is being claimed its share: granted, with the share; unlimited: it needs none; wait: others hold everything; spent: nothing is left in this window. Internal.';

create function connectors.quota_share(run_id uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
    select jsonb_build_object('requests_per_second', h.requests_per_second, 'concurrency', h.concurrency,
        'requests_total', h.requests_total, 'reset_at', s.reset_at)
    from connectors.quota_shares as h
    join connectors.quota_standing as s on s.source_type = h.source_type and s.credential_key = h.credential_key
    where h.run_id = quota_share.run_id
$$;
comment on function connectors.quota_share(uuid) is
    'The share a run holds: {requests_per_second, concurrency, requests_total, reset_at}; null: not limited. Internal.';

create function connectors.return_quota_share() returns trigger
language plpgsql set search_path = '' as $$
begin
    delete from connectors.quota_shares as s where s.run_id = new.id;
    return null;
end
$$;
comment on function connectors.return_quota_share() is 'Gives back the share of a run that ends.';
create trigger connector_runs_ended after update of status on connectors.connector_runs
    for each row when (old.quota is not null and old.status = 'running' and new.status <> 'running')
    execute function connectors.return_quota_share();

create function connectors.count_quota_usage(run_id uuid, requests bigint) returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    share connectors.quota_shares;
begin
    select s.* into share from connectors.quota_shares as s where s.run_id = count_quota_usage.run_id for no key update;
    if not found or count_quota_usage.requests is null or count_quota_usage.requests <= share.requests_used then
        return;
    end if;
    update connectors.quota_shares as s set requests_used = count_quota_usage.requests where s.run_id = share.run_id;
    insert into connectors.quota_usage as u (run_id, slice, source_type, credential_key, requests)
    values (share.run_id, date_trunc('minute', clock_timestamp()), share.source_type, share.credential_key,
        count_quota_usage.requests - share.requests_used)
    on conflict on constraint quota_usage_pkey do update
        set requests = u.requests + excluded.requests, last_at = excluded.last_at;
end
$$;
comment on function connectors.count_quota_usage(uuid, bigint) is
    'Counts the requests a run has made so far; a smaller number than before counts nothing. Internal.';

create function connectors.record_quota_usage(run_id uuid, lease_token uuid, usage jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    said record;
begin
    run := connectors.leased_run(record_quota_usage.run_id, record_quota_usage.lease_token);
    begin
        select u.requests, u."limit", u.remaining,
            -- Seconds from now do not depend on the clock of whoever reports them.
            coalesce(clock_timestamp() + make_interval(secs => u.reset_in), u.reset_at) as reset_at
        into said
        from jsonb_to_record(record_quota_usage.usage) as u (
            requests bigint, "limit" bigint, remaining bigint, reset_in double precision, reset_at timestamptz);
    exception when data_exception then
        raise sqlstate 'PT422' using
            message = format('The usage is not what is expected: %s', left(record_quota_usage.usage::text, 200)),
            detail = sqlerrm,
            hint = 'Pass {"requests": so far, "limit": n, "remaining": n, "reset_in": seconds or "reset_at": time}; all may be left out.';
    end;
    perform connectors.count_quota_usage(run.id, said.requests);
    update connectors.quota_buckets as b
    set reported_limit = coalesce(said."limit", b.reported_limit),
        -- Replies overtake each other: within one window the smaller number is the newer one.
        reported_remaining = case when b.reported_reset_at > said.reset_at - interval '5 seconds'
            then least(b.reported_remaining, said.remaining) else said.remaining end,
        reported_reset_at = said.reset_at,
        reported_at = clock_timestamp()
    from connectors.quota_shares as s
    where s.run_id = run.id and b.source_type = s.source_type and b.credential_key = s.credential_key
        and said.remaining >= 0 and said.reset_at > clock_timestamp()
        and (b.reported_reset_at is null or b.reported_reset_at < said.reset_at + interval '5 seconds');
    return connectors.quota_share(run.id);
end
$$;
comment on function connectors.record_quota_usage(uuid, uuid, jsonb) is
    'Takes down what a run has used, {requests: so far}, and what the source says is left, {limit, remaining, reset_in (seconds) or reset_at}; returns the run''s share.';

create function connectors.park_connector_runs(source_type text, credential_key text, until timestamptz, reason text)
returns integer
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    parked integer;
begin
    update connectors.connector_runs as r
    set run_after = park_connector_runs.until + random() * interval '10 seconds',
        park_reason = park_connector_runs.reason,
        parks = r.parks + 1
    where r.id in (
        select q.id from connectors.connector_runs as q
        join connectors.connector_instances as i on i.id = q.instance_id
        where q.status = 'queued' and q.run_after <= clock_timestamp()
            and i.definition_id = 'ipai_connector_' || park_connector_runs.source_type
            and i.quota_key = park_connector_runs.credential_key
        for update of q skip locked);
    get diagnostics parked = row_count;
    return parked;
end
$$;
comment on function connectors.park_connector_runs(text, text, timestamptz, text) is
    'Lets all runs that are due and draw on one bucket wait for its reset; costs them no attempt. Internal.';

create function connectors.set_source_limit(source_type text, max_running integer) returns integer
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if set_source_limit.max_running < 1 then
        raise sqlstate 'PT422' using message = format('max_running is %s.', set_source_limit.max_running),
            hint = 'Use 1 or more; null takes the limit away. To stop a source, pause its instances.';
    end if;
    if not exists (select from connectors.connector_definitions as d where d.type = set_source_limit.source_type) then
        raise sqlstate 'PT404' using message = format('No connector reads %L.', set_source_limit.source_type),
            hint = 'Use the type of a registered connector, e.g. github.';
    end if;
    if set_source_limit.max_running is null then
        delete from connectors.source_limits as l where l.source_type = set_source_limit.source_type;
    else
        insert into connectors.source_limits as l (source_type, max_running)
        values (set_source_limit.source_type, set_source_limit.max_running)
        on conflict on constraint source_limits_pkey do update
            set max_running = excluded.max_running, updated_at = clock_timestamp(), actor = session_user;
    end if;
    return set_source_limit.max_running;
end
$$;
comment on function connectors.set_source_limit(text, integer) is
    'Limits how many runs of a source may be running at once; null takes the limit away. Runs that are running go on.';

create function connectors.set_quota_limit(
    source_type text,
    credential_key text default 'default',
    requests_per_second numeric default null,
    concurrency integer default null,
    window_requests bigint default null,
    window_seconds integer default null,
    max_shares integer default 8
) returns void
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if not exists (select from connectors.connector_definitions as d where d.type = set_quota_limit.source_type) then
        raise sqlstate 'PT404' using message = format('No connector reads %L.', set_quota_limit.source_type),
            hint = 'Use the type of a registered connector, e.g. github.';
    end if;
    begin
        insert into connectors.quota_buckets as b
            (source_type, credential_key, requests_per_second, concurrency, window_requests, window_seconds, max_shares)
        values (set_quota_limit.source_type, coalesce(set_quota_limit.credential_key, 'default'),
            set_quota_limit.requests_per_second, set_quota_limit.concurrency, set_quota_limit.window_requests,
            set_quota_limit.window_seconds, coalesce(set_quota_limit.max_shares, 8))
        on conflict on constraint quota_buckets_pkey do update
            set requests_per_second = excluded.requests_per_second, concurrency = excluded.concurrency,
                window_requests = excluded.window_requests, window_seconds = excluded.window_seconds,
                max_shares = excluded.max_shares, updated_at = clock_timestamp(), actor = session_user;
    exception when check_violation then
        raise sqlstate 'PT422' using message = 'A limit is not above zero, or the window is incomplete.',
            hint = 'Use numbers above 0; window_requests and window_seconds go together. Leave out what is not limited.';
    end;
end
$$;
comment on function connectors.set_quota_limit(text, text, numeric, integer, bigint, integer, integer) is
    'Sets the budget that all runs with one credential share; what is left out comes from settings and specs again.';

create function connectors.purge_quota_usage(keep_days integer default 90) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
declare
    purged bigint;
begin
    if keep_days is null or keep_days < 90 then
        raise sqlstate 'PT422' using message = format('Usage must be kept at least 90 days, not %s.', keep_days),
            hint = 'Call purge_quota_usage(keep_days => 90) or more.';
    end if;
    delete from connectors.quota_usage as u where u.last_at < clock_timestamp() - make_interval(days => keep_days);
    get diagnostics purged = row_count;
    return purged;
end
$$;
comment on function connectors.purge_quota_usage(integer) is
    'Deletes the usage older than keep_days (at least 90) and returns how many rows that were.';

create or replace function connectors.record_run_streams(run_id uuid, lease_token uuid, streams jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs;
    source_type text;
    written integer;
begin
    run := connectors.leased_run(record_run_streams.run_id, record_run_streams.lease_token);
    if coalesce(jsonb_typeof(record_run_streams.streams), '') <> 'array' then
        raise sqlstate 'PT422' using message = 'The figures are not a JSON array.',
            hint = 'Pass [{"stream": ..., "received": n, "inserted": n, "updated": n, "unchanged": n, "dead": n, ...}].';
    end if;
    select d.type into source_type
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    where i.id = run.instance_id;
    insert into connectors.run_streams as s
        (run_id, stream, job_name, rows_received, rows_inserted, rows_updated, rows_unchanged, rows_dead,
            requests, bytes, seconds, skipped_reason)
    select distinct on (n.stream) run.id, n.stream, connectors.job_name(source_type, n.stream, run.mode),
        coalesce(n.received, 0), coalesce(n.inserted, 0), coalesce(n.updated, 0), coalesce(n.unchanged, 0),
        coalesce(n.dead, 0), coalesce(n.requests, 0), coalesce(n.bytes, 0), coalesce(n.seconds, 0), n.skipped_reason
    from jsonb_to_recordset(record_run_streams.streams) as n (
        stream text, received bigint, inserted bigint, updated bigint, unchanged bigint, dead bigint,
        requests bigint, bytes bigint, seconds double precision, skipped_reason text)
    where n.stream is not null
    on conflict on constraint run_streams_pkey do update
        set rows_received = excluded.rows_received, rows_inserted = excluded.rows_inserted,
            rows_updated = excluded.rows_updated, rows_unchanged = excluded.rows_unchanged,
            rows_dead = excluded.rows_dead, requests = excluded.requests, bytes = excluded.bytes,
            seconds = excluded.seconds, skipped_reason = coalesce(excluded.skipped_reason, s.skipped_reason),
            updated_at = clock_timestamp();
    get diagnostics written = row_count;
    update connectors.connector_runs as r
    set rows_processed = (
        select coalesce(sum(s.rows_received - s.rows_dead), 0) from connectors.run_streams as s where s.run_id = run.id)
    where r.id = run.id;
    perform connectors.count_quota_usage(run.id, (
        select sum(s.requests)::bigint from connectors.run_streams as s where s.run_id = run.id));
    return written;
end
$$;
comment on function connectors.record_run_streams(uuid, uuid, jsonb) is
    'Writes the totals so far per stream; also updates the run''s rows_processed and what it has used of its quota.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['source_limits', 'quota_buckets', 'quota_shares', 'quota_usage'] loop
        execute format('alter table connectors.%I enable row level security', table_name);
        execute format('alter table connectors.%I force row level security', table_name);
        execute format('create policy owner_all on connectors.%I for all to current_user using (true) with check (true)',
            table_name);
        execute format('create policy staff_read on connectors.%I for select to service_role, ipai_admin, ipai_operator using (true)',
            table_name);
        execute format('revoke all on connectors.%I from public', table_name);
        execute format('grant select on connectors.%I to service_role, ipai_admin, ipai_operator', table_name);
    end loop;
end
$row_security$;
revoke all on connectors.quota_standing, connectors.quota_forecast from public;
grant select on connectors.quota_standing, connectors.quota_forecast to service_role, ipai_admin, ipai_operator;

revoke execute on function
    connectors.find_quota_bucket(),
    connectors.take_quota_share(uuid, boolean),
    connectors.quota_share(uuid),
    connectors.return_quota_share(),
    connectors.count_quota_usage(uuid, bigint),
    connectors.record_quota_usage(uuid, uuid, jsonb),
    connectors.park_connector_runs(text, text, timestamptz, text),
    connectors.set_source_limit(text, integer),
    connectors.set_quota_limit(text, text, numeric, integer, bigint, integer, integer),
    connectors.purge_quota_usage(integer)
from public;
grant execute on function connectors.record_quota_usage(uuid, uuid, jsonb) to service_role, ipai_worker;
grant execute on function
    connectors.set_source_limit(text, integer),
    connectors.set_quota_limit(text, text, numeric, integer, bigint, integer, integer),
    connectors.purge_quota_usage(integer)
to service_role, ipai_admin;

notify pgrst, 'reload schema';
