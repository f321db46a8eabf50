-- SPDX-License-Identifier: Apache-2.0
-- Reviews that people sign: each month who may do what and who has used it, each quarter every
-- credential and its age, each year what is older than its layer keeps. The report is stored as it
-- was seen; its signature goes into the chained log of secrets, so that both show a later change.

create table connectors.review_kinds (
    kind text not null,
    every interval not null,
    grace interval not null default interval '14 days',
    since date not null default current_date,
    constraint review_kinds_pkey primary key (kind),
    constraint review_kinds_known check (kind in ('access', 'tokens', 'retention')),
    constraint review_kinds_calendar check (every in (interval '1 month', interval '3 months', interval '1 year')),
    constraint review_kinds_grace_sensible check (grace between interval '0' and every)
);
comment on table connectors.review_kinds is 'What is reviewed, and how often.';
comment on column connectors.review_kinds.kind is 'access, tokens or retention.';
comment on column connectors.review_kinds.every is 'A calendar month, quarter or year.';
comment on column connectors.review_kinds.grace is 'How long after the end of a period its review may still be signed before an alert is raised.';
comment on column connectors.review_kinds.since is 'The first period to review is the one of this day.';
insert into connectors.review_kinds (kind, every)
values ('access', '1 month'), ('tokens', '3 months'), ('retention', '1 year');

create table connectors.reviews (
    id uuid not null default gen_random_uuid(),
    kind text not null,
    starts_on date not null,
    taken_at timestamptz not null default clock_timestamp(),
    taken_by text not null,
    entries integer not null,
    content jsonb not null,
    content_hash text not null,
    signed_at timestamptz,
    signed_by text,
    note text,
    audit_seq bigint,
    constraint reviews_pkey primary key (id),
    constraint reviews_kind_fkey foreign key (kind) references connectors.review_kinds (kind),
    constraint reviews_content_is_list check (jsonb_typeof(content) = 'array'),
    constraint reviews_entries_counted check (entries = jsonb_array_length(content)),
    constraint reviews_hash_is_sha256 check (content_hash ~ '^[0-9a-f]{64}$'),
    constraint reviews_signature_whole check (
        num_nonnulls(signed_at, signed_by, audit_seq) in (0, 3) and (note is null or signed_at is not null)),
    constraint reviews_signed_has_entries check (signed_at is null or entries > 0)
);
create index reviews_period_idx on connectors.reviews (kind, starts_on, taken_at desc);
comment on table connectors.reviews is 'Reports as they were seen, and who has signed them. Holds no secrets.';
comment on column connectors.reviews.id is 'The report.';
comment on column connectors.reviews.kind is 'What was reviewed.';
comment on column connectors.reviews.starts_on is 'First day of the period.';
comment on column connectors.reviews.taken_at is 'When the report was made.';
comment on column connectors.reviews.taken_by is 'By whom.';
comment on column connectors.reviews.entries is 'How many entries it has; one without entries cannot be signed.';
comment on column connectors.reviews.content is 'The entries.';
comment on column connectors.reviews.content_hash is 'SHA-256 of the content as text.';
comment on column connectors.reviews.signed_at is 'When it was signed.';
comment on column connectors.reviews.signed_by is 'Who has reviewed it.';
comment on column connectors.reviews.note is 'What the reviewer says.';
comment on column connectors.reviews.audit_seq is 'The row of the log with the signature.';

create table connectors.archives (
    id bigint generated always as identity,
    layer text not null,
    relation text not null,
    from_at timestamptz not null,
    until_at timestamptz not null,
    location text not null,
    row_count bigint not null,
    content_hash text not null,
    archived_at timestamptz not null default clock_timestamp(),
    archived_by text not null,
    verified_at timestamptz,
    constraint archives_pkey primary key (id),
    constraint archives_location_key unique (location),
    constraint archives_layer_known check (layer in ('bronze', 'silver')),
    constraint archives_span_forward check (from_at <= until_at),
    constraint archives_rows_counted check (row_count >= 0),
    constraint archives_hash_is_sha256 check (content_hash ~ '^[0-9a-f]{64}$'),
    constraint archives_location_named check (location ~ '\S' and location !~ '://[^/]*@')
);
comment on table connectors.archives is 'Inventory of what was moved out of the layers into cold storage.';
comment on column connectors.archives.id is 'Number in order of archiving.';
comment on column connectors.archives.layer is 'bronze or silver.';
comment on column connectors.archives.relation is 'The table it came from, with its schema.';
comment on column connectors.archives.from_at is 'When its oldest row was loaded.';
comment on column connectors.archives.until_at is 'When its newest row was loaded.';
comment on column connectors.archives.location is 'Where it lies, e.g. s3://archive/bronze/…; never with credentials.';
comment on column connectors.archives.row_count is 'How many rows.';
comment on column connectors.archives.content_hash is 'SHA-256 of the file.';
comment on column connectors.archives.archived_at is 'When it was archived.';
comment on column connectors.archives.archived_by is 'By whom.';
comment on column connectors.archives.verified_at is 'When it was last read back and found whole.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['review_kinds', 'reviews', 'archives'] loop
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

create function connectors.keep_reviews() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    -- A report changes once, by its signature.
    if tg_op = 'UPDATE' and old.signed_at is null and new.signed_at is not null
        and (to_jsonb(new) - array['signed_at', 'signed_by', 'note', 'audit_seq'])
            = (to_jsonb(old) - array['signed_at', 'signed_by', 'note', 'audit_seq']) then
        return new;
    elsif tg_op = 'DELETE' and old.signed_at is null then
        return old;
    end if;
    raise sqlstate 'PT409' using message = format('A review cannot be changed by %s.', lower(tg_op)),
        hint = 'Take a new one with take_review(kind); what was seen stays as it is.';
end
$$;
comment on function connectors.keep_reviews() is 'Keeps reports as they were seen, and signed ones for ever, for the owner too.';
create trigger reviews_stay before update or delete on connectors.reviews
    for each row execute function connectors.keep_reviews();
create trigger reviews_are_not_emptied before truncate on connectors.reviews
    for each statement execute function connectors.keep_reviews();
alter table connectors.reviews enable always trigger reviews_stay;
alter table connectors.reviews enable always trigger reviews_are_not_emptied;

alter table connectors.secret_audit
    -- squawk-ignore ban-drop-constraint -- the one that follows admits all it did
    drop constraint secret_audit_action_known,
    -- squawk-ignore constraint-missing-not-valid -- it admits more than the one before
    add constraint secret_audit_action_known check (action in (
        'create', 'rotate', 'delete', 'rewrap', 'grant', 'deny', 'read', 'review'));
comment on column connectors.secret_audit.action is
    'create, rotate, delete, rewrap; grant: allowed to read; deny: refused; read: has read; review: a report was signed.';

-- Periods are those of the calendar, in UTC.

create function connectors.review_period(kind text, day date) returns date
language sql stable set search_path = pg_catalog, pg_temp as $$
    select date_trunc(case k.every when interval '1 month' then 'month' when interval '3 months' then 'quarter' else 'year' end,
        review_period.day::timestamp)::date
    from connectors.review_kinds as k where k.kind = review_period.kind
$$;
comment on function connectors.review_period(text, date) is 'First day of the period that a day is in; internal.';

-- What the reports say. Each entry is one thing to judge; "finding" names what stands out.

create function connectors.used_connectors()
returns table (actor text, connector text, used_at timestamptz)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select r.actor, i.definition_id, r.queued_at
    from connectors.connector_runs as r join connectors.connector_instances as i on i.id = r.instance_id
    union all
    select r.claimed_by, i.definition_id, r.started_at
    from connectors.connector_runs as r join connectors.connector_instances as i on i.id = r.instance_id
    where r.claimed_by is not null
    union all
    select l.actor, l.definition_id, l.released_at from connectors.instance_releases as l
    union all
    select h.actor, i.definition_id, h.saved_at
    from connectors.connector_state_history as h join connectors.connector_instances as i on i.id = h.instance_id
    union all
    select a.actor, i.definition_id, a.at
    from connectors.secret_audit as a
    join connectors.connector_instances as i on a.detail = 'instance ' || i.id
    where a.action = 'grant'
$$;
comment on function connectors.used_connectors() is
    'Who has used which connector when: queued or claimed a run, released, set state, asked for a secret; internal.';

create function connectors.access_report(starts_on date, ends_on date) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
    with uses as materialized (
        select u.actor, u.connector, max(u.used_at) as last_used_at,
            count(*) filter (where u.used_at >= access_report.starts_on::timestamp at time zone 'UTC'
                and u.used_at < access_report.ends_on::timestamp at time zone 'UTC') as uses
        from connectors.used_connectors() as u group by u.actor, u.connector
    ), rights as (
        select l.rolname::text as login, g.role, g.may
        from pg_roles as l
        join (values
            ('service_role', 'all that ipai_admin and ipai_worker may'),
            ('ipai_admin', 'register, change and release; store and read secrets'),
            ('ipai_operator', 'run, cancel, read all layers, set state'),
            ('ipai_worker', 'claim runs, read their secrets, write all layers'),
            ('ipai_agent', 'run, cancel, read status and logs'),
            ('ipai_analyst', 'read Gold')) as g (role, may)
            on pg_has_role(l.oid, g.role, 'member') and not l.rolsuper
        where l.rolcanlogin
        union all
        select l.rolname, '(superuser)', 'everything, row security and log included' from pg_roles as l
        where l.rolcanlogin and l.rolsuper
        union all
        select l.rolname, '(owner)', 'everything in the control plane'
        from pg_roles as l join pg_namespace as n on n.nspname = 'connectors' and pg_has_role(l.oid, n.nspowner, 'member')
        where l.rolcanlogin and not l.rolsuper
    ), entries as (
        select r.login, r.role, r.may, c.id as connector, u.last_used_at, coalesce(u.uses, 0) as uses,
            case when coalesce(u.uses, 0) = 0 then 'not used in the period' end as finding
        from rights as r
        cross join (select distinct d.id from connectors.connector_definitions as d) as c
        left join uses as u on u.actor = r.login and u.connector = c.id
        union all
        select u.actor, case when u.actor like 'authenticator/%' then '(API)' end, null, u.connector, u.last_used_at, u.uses,
            case when u.actor not like 'authenticator/%' then 'has used it, but holds no right now' end
        from uses as u where not exists (select from rights as r where r.login = u.actor)
    )
    select coalesce(jsonb_agg(to_jsonb(e) order by e.login, e.role, e.connector), '[]') from entries as e
$$;
comment on function connectors.access_report(date, date) is
    'Every login, what it may, and when it last used each connector; internal.';

create function connectors.credential_uses()
returns table (kind text, name text, instance_id text, scopes text[])
language sql stable set search_path = pg_catalog, pg_temp as $$
    select case when m.found[1] is null then 'environment variable' else 'stored' end, coalesce(m.found[1], m.found[2]), i.id,
        array(
            select distinct p.scope from jsonb_array_elements(d.spec -> 'auth_methods') as a (method)
            cross join lateral jsonb_array_elements_text(a.method -> 'scopes') as p (scope)
            where a.method -> 'settings' ? s.key order by 1)
    from connectors.connector_instances as i
    join connectors.connector_definitions as d on d.id = i.definition_id and d.version = i.definition_version
    cross join lateral jsonb_each(i.config) as s
    cross join lateral regexp_matches(s.value::text,
        '"\$\{(?:secret:([A-Za-z0-9][A-Za-z0-9._/-]{0,127})|([A-Za-z_][A-Za-z0-9_]*))\}"', 'g') as m (found)
    where i.status <> 'archived' and (m.found[1] is not null or d.spec -> 'settings' -> s.key -> 'secret' = 'true')
$$;
comment on function connectors.credential_uses() is
    'Which instance uses which credential, and the scopes its spec asks for; internal.';

create function connectors.tokens_report() returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
    with used as (
        select u.kind, u.name, array_agg(distinct u.instance_id order by u.instance_id) as used_by,
            array_agg(distinct p.scope order by p.scope) filter (where p.scope is not null) as scopes
        from connectors.credential_uses() as u left join lateral unnest(u.scopes) as p (scope) on true
        group by u.kind, u.name
    ), known as (
        select 'stored' as kind, l.name, l.version, coalesce(l.rotated_at, l.created_at) as issued_at, l.rotated_at as last_rotated_at,
            l.expires_at, l.last_read_at
        from connectors.secret_list() as l
        union all
        select u.kind, u.name, null, null, null, null, null from used as u
        where u.kind <> 'stored' or not exists (select from connectors.secret_list() as l where l.name = u.name)
    ), entries as (
        select k.kind, k.name, k.version, coalesce(u.scopes, '{}') as scopes, k.issued_at,
            extract(day from clock_timestamp() - k.issued_at)::integer as age_days, k.last_rotated_at, k.expires_at,
            k.last_read_at, coalesce(u.used_by, '{}') as used_by,
            nullif(concat_ws('; ',
                case when k.kind = 'stored' and k.issued_at is null then 'referred to, but not stored' end,
                case when k.expires_at <= clock_timestamp() then 'expired'
                    when k.expires_at <= clock_timestamp() + interval '30 days' then 'expires within 30 days' end,
                case when k.issued_at < clock_timestamp() - interval '90 days' then 'older than 90 days: rotate it' end,
                case when k.kind <> 'stored' then 'age unknown: keep it in the vault' end,
                case when u.used_by is null then 'no instance uses it' end), '') as finding
        from known as k left join used as u on u.kind = k.kind and u.name = k.name
    )
    select coalesce(jsonb_agg(to_jsonb(e) order by e.kind, e.name), '[]') from entries as e
$$;
comment on function connectors.tokens_report() is
    'Every credential: age, scopes, last rotation, last use, expiry, and what uses it; internal.';

create function connectors.retention_policies() returns table (layer text, keep interval, then_do text)
language sql immutable set search_path = pg_catalog, pg_temp as $$
    values
        ('bronze', interval '30 days', 'archive'), ('silver', interval '1 year', 'drop'),
        ('gold', null, 'keep'), ('platinum', null, 'keep'),
        ('run logs', interval '90 days', 'drop'), ('quota usage', interval '90 days', 'drop'),
        ('events', interval '30 days', 'drop'), ('alerts', null, 'drop a year after their end'),
        ('secret log', null, 'keep'), ('archive', null, 'keep')
$$;
comment on function connectors.retention_policies() is 'How long each layer keeps its rows, null for ever, and what is done then; internal.';

create function connectors.layer_tables() returns table (layer text, relation text, is_table boolean, loaded_column text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select split_part(n.nspname, '_', 2), format('%I.%I', n.nspname, c.relname), c.relkind <> 'v', a.attname::text
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    left join lateral (
        select a.attname from pg_attribute as a
        where a.attrelid = c.oid and a.attname in ('loaded_at', '_loaded_at') and a.atttypid = 'timestamptz'::regtype
            and not a.attisdropped
        order by a.attname limit 1) as a on true
    where n.nspname ~ '^ipai_(bronze|silver|gold|platinum)_' and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
    order by 1, 2
$$;
comment on function connectors.layer_tables() is
    'The tables and views of the layers, and the column that says when a row was loaded.';

create function connectors.kept_rows() returns table (layer text, relation text, oldest_at timestamptz)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select 'run logs', 'connectors.run_logs', min(l.at) from connectors.run_logs as l
    union all
    select 'quota usage', 'connectors.quota_usage', min(u.last_at) from connectors.quota_usage as u
    union all
    select 'events', 'connectors.connector_events', min(e.at) from connectors.connector_events as e
    union all
    select 'alerts', 'connectors.alerts', min(a.opened_at) from connectors.alerts as a
    union all
    select 'secret log', 'connectors.secret_audit', min(s.at) from connectors.secret_audit as s
$$;
comment on function connectors.kept_rows() is 'The oldest row of each table of the control plane that grows; internal.';

create function connectors.retention_report(measured jsonb) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
    with found as (
        -- A day and a half more: what is dropped by days is dropped some hours later.
        select t.layer, t.relation, m.oldest_at, case
                when m.relation is null then 'not measured'
                when m.problem is not null then m.problem
                when t.loaded_column is null and p.keep is not null then 'has no column that says when a row was loaded'
                when m.oldest_at < clock_timestamp() - p.keep - interval '36 hours' and p.then_do = 'archive'
                    and not exists (select from connectors.archives as x
                        where x.relation = t.relation and x.from_at <= m.oldest_at and x.verified_at is not null)
                    then 'older than kept, and in no archive that was verified'
                when m.oldest_at < clock_timestamp() - p.keep - interval '36 hours' then 'older than kept' end as finding
        from connectors.layer_tables() as t
        join connectors.retention_policies() as p on p.layer = t.layer
        left join jsonb_to_recordset(retention_report.measured) as m (relation text, oldest_at timestamptz, problem text)
            on m.relation = t.relation
        union all
        select k.layer, k.relation, k.oldest_at,
            case when k.oldest_at < clock_timestamp() - p.keep - interval '36 hours' then 'older than kept' end
        from connectors.kept_rows() as k join connectors.retention_policies() as p on p.layer = k.layer
        union all
        select 'archive', x.relation || ' in ' || x.location, x.from_at,
            case when x.verified_at is null then 'never read back' end
        from connectors.archives as x
    )
    select coalesce(jsonb_agg(jsonb_build_object('layer', f.layer, 'relation', f.relation, 'oldest_at', f.oldest_at,
        'age_days', extract(day from clock_timestamp() - f.oldest_at)::integer, 'keep_days', extract(epoch from p.keep)::integer / 86400,
        'then', p.then_do, 'finding', f.finding) order by f.layer, f.relation), '[]')
    from found as f join connectors.retention_policies() as p on p.layer = f.layer
$$;
comment on function connectors.retention_report(jsonb) is
    'The oldest row of each table of each layer beside what the layer keeps, and all archives; internal.';

create function connectors.take_review(kind text, day date default null, measured jsonb default null)
returns table (id uuid, starts_on date, ends_on date, entries integer, content text, content_hash text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    chosen connectors.review_kinds;
    today date := (clock_timestamp() at time zone 'UTC')::date;
    first_day date;
    report jsonb;
    made connectors.reviews;
begin
    select k.* into chosen from connectors.review_kinds as k where k.kind = take_review.kind;
    if not found then
        raise sqlstate 'PT404' using message = format('Nothing called %L is reviewed.', take_review.kind),
            hint = 'Use access, tokens or retention.';
    end if;
    first_day := connectors.review_period(chosen.kind, coalesce(take_review.day, today));
    if first_day > today or first_day + chosen.every + chosen.every < today then
        raise sqlstate 'PT422' using message = format('A report from %s on cannot be made: it would show what is true today.', first_day),
            hint = 'Review the present period or the one before.';
    end if;
    if jsonb_typeof(coalesce(take_review.measured, '[]')) <> 'array' then
        raise sqlstate 'PT422' using message = 'What was measured is not a list.',
            hint = 'Pass a list of {"relation", "oldest_at"}, one for each of layer_tables().';
    end if;
    report := case chosen.kind
        when 'access' then connectors.access_report(first_day, (first_day + chosen.every)::date)
        when 'tokens' then connectors.tokens_report()
        else connectors.retention_report(coalesce(take_review.measured, '[]')) end;
    insert into connectors.reviews as r (kind, starts_on, taken_by, entries, content, content_hash)
    values (chosen.kind, first_day, connectors.caller(), jsonb_array_length(report), report,
        encode(sha256(convert_to(report::text, 'UTF8')), 'hex'))
    returning r.* into made;
    -- Looks that nobody has signed.
    delete from connectors.reviews as r
    where r.kind = chosen.kind and r.signed_at is null and r.taken_at < clock_timestamp() - interval '1 year';
    return query select made.id, made.starts_on, (made.starts_on + chosen.every)::date, made.entries, made.content::text, made.content_hash;
end
$$;
comment on function connectors.take_review(text, date, jsonb) is
    'Makes and stores the report of a period, that of a day; for retention with the oldest row of each of layer_tables().';

create function connectors.sign_review(review_id uuid, content_hash text, note text default null) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    seen connectors.reviews;
    logged bigint;
begin
    select r.* into seen from connectors.reviews as r where r.id = sign_review.review_id for update;
    if not found then
        raise sqlstate 'PT404' using message = format('Review %s does not exist.', sign_review.review_id),
            hint = 'Make one with take_review(kind).';
    elsif seen.signed_at is not null then
        raise sqlstate 'PT409' using message = format('Review %s was signed by %s.', seen.id, seen.signed_by),
            hint = 'There is nothing left to sign.';
    elsif seen.entries = 0 then
        raise sqlstate 'PT422' using message = format('Review %s has no entries: there is nothing to judge.', seen.id),
            hint = 'Review again when there is a connector, a credential or a table.';
    elsif seen.content_hash is distinct from sign_review.content_hash
        or seen.content_hash <> encode(sha256(convert_to(seen.content::text, 'UTF8')), 'hex') then
        raise sqlstate 'PT409' using message = format('Review %s is not what was seen: its content has another hash.', seen.id),
            hint = 'Look at it again, then sign the hash that was shown.';
    end if;
    logged := connectors.append_secret_audit('review', format('review/%s/%s', seen.kind, seen.starts_on), seen.id, null,
        concat_ws(' ', 'sha256:' || seen.content_hash, left(sign_review.note, 500)));
    update connectors.reviews as r
    set signed_at = clock_timestamp(), signed_by = connectors.caller(), note = left(sign_review.note, 500), audit_seq = logged
    where r.id = seen.id;
    return logged;
end
$$;
comment on function connectors.sign_review(uuid, text, text) is
    'Signs a report that was seen, by its hash, and writes that into the chained log; one without entries is refused.';

create function connectors.review_list(kind text default null, starts_on date default null, "limit" integer default 100)
returns table (
    id uuid, kind text, starts_on date, ends_on date, taken_at timestamptz, taken_by text, entries integer, content text,
    content_hash text, signed_at timestamptz, signed_by text, note text, audit_seq bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select r.id, r.kind, r.starts_on, (r.starts_on + k.every)::date, r.taken_at, r.taken_by, r.entries, r.content::text,
        r.content_hash, r.signed_at, r.signed_by, r.note, r.audit_seq
    from connectors.reviews as r join connectors.review_kinds as k on k.kind = r.kind
    where (review_list.kind is null or r.kind = review_list.kind)
        and (review_list.starts_on is null or r.starts_on = connectors.review_period(r.kind, review_list.starts_on))
    order by r.taken_at desc
    limit greatest(least(review_list."limit", 1000), 0)
$$;
comment on function connectors.review_list(text, date, integer) is 'Reports and their signatures, the newest first.';

create function connectors.record_archive(
    layer text, relation text, from_at timestamptz, until_at timestamptz, location text, row_count bigint, content_hash text,
    verified_at timestamptz default null) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    new_id bigint;
begin
    insert into connectors.archives as x
        (layer, relation, from_at, until_at, location, row_count, content_hash, archived_by, verified_at)
    values (record_archive.layer, record_archive.relation, record_archive.from_at, record_archive.until_at,
        record_archive.location, record_archive.row_count, record_archive.content_hash, connectors.caller(),
        record_archive.verified_at)
    on conflict on constraint archives_location_key do update set verified_at = excluded.verified_at
        where x.content_hash = excluded.content_hash and excluded.verified_at is not null
    returning x.id into new_id;
    if new_id is null then
        raise sqlstate 'PT409' using message = format('%L is in the inventory already.', record_archive.location),
            hint = 'Give each archive a place of its own; call again with the same hash and verified_at after reading it back.';
    end if;
    return new_id;
exception when check_violation or not_null_violation then
    raise sqlstate 'PT422' using message = format('The archive %L is not described whole.', record_archive.location),
        hint = 'Name layer, relation, the times of its rows, a location without credentials, the count and the SHA-256.';
end
$$;
comment on function connectors.record_archive(text, text, timestamptz, timestamptz, text, bigint, text, timestamptz) is
    'Adds an archive to the inventory; again with the same hash, it notes that it was read back.';

create function connectors.overdue_reviews()
returns table (subject text, severity text, instances text[], summary text, details jsonb)
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select 'review of ' || k.kind, 'warning', '{}'::text[],
        format('The review of %s from %s to %s is not signed. Run: ipai audit %s', k.kind, p.starts_on, p.ends_on - 1, k.kind),
        jsonb_build_object('kind', k.kind, 'starts_on', p.starts_on, 'ends_on', p.ends_on, 'due_at', p.ends_on + k.grace)
    from connectors.review_kinds as k
    cross join lateral (
        -- The last period that is over; later ones make up for those that were missed.
        select (connectors.review_period(k.kind, t.today) - k.every)::date as starts_on,
            connectors.review_period(k.kind, t.today) as ends_on, t.today
        from (select (clock_timestamp() at time zone 'UTC')::date as today) as t) as p
    where p.today > p.ends_on + k.grace and p.starts_on >= connectors.review_period(k.kind, k.since)
        and not exists (
            select from connectors.reviews as r
            where r.kind = k.kind and r.starts_on >= p.starts_on and r.signed_at is not null)
        and exists (select from connectors.connector_instances as i where i.status <> 'archived')
$$;
comment on function connectors.overdue_reviews() is 'Reviews of the last period that nobody has signed in time; internal.';

alter table connectors.alert_rules
    -- squawk-ignore ban-drop-constraint -- the one that follows admits all it did
    drop constraint alert_rules_condition_known,
    -- squawk-ignore constraint-missing-not-valid -- a table of a few rows
    add constraint alert_rules_condition_known check (condition in (
        'sync_failed', 'sla_breached', 'secret_expiring', 'quota_exceeded', 'worker_lost', 'review_overdue'));
comment on column connectors.alert_rules.condition is
    'sync_failed, sla_breached, secret_expiring, quota_exceeded, worker_lost or review_overdue.';
insert into connectors.alert_rules (condition) values ('review_overdue');

create or replace function connectors.alert_conditions()
returns table (condition text, subject text, severity text, instances text[], summary text, details jsonb)
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select 'sync_failed', c.* from connectors.failed_syncs() as c
    union all
    select 'sla_breached', c.* from connectors.late_syncs() as c
    union all
    select 'secret_expiring', c.* from connectors.expiring_secrets() as c
    union all
    select 'quota_exceeded', c.* from connectors.short_quotas() as c
    union all
    select 'worker_lost', c.* from connectors.lost_workers() as c
    union all
    select 'review_overdue', c.* from connectors.overdue_reviews() as c
$$;

revoke all on function
    connectors.keep_reviews(),
    connectors.review_period(text, date),
    connectors.used_connectors(),
    connectors.access_report(date, date),
    connectors.credential_uses(),
    connectors.tokens_report(),
    connectors.retention_policies(),
    connectors.layer_tables(),
    connectors.kept_rows(),
    connectors.retention_report(jsonb),
    connectors.take_review(text, date, jsonb),
    connectors.sign_review(uuid, text, text),
    connectors.review_list(text, date, integer),
    connectors.record_archive(text, text, timestamptz, timestamptz, text, bigint, text, timestamptz),
    connectors.overdue_reviews()
from public;
grant execute on function
    connectors.layer_tables(),
    connectors.take_review(text, date, jsonb),
    connectors.review_list(text, date, integer)
to service_role, ipai_admin, ipai_operator;
grant execute on function connectors.sign_review(uuid, text, text) to service_role, ipai_admin;
grant execute on function
    connectors.record_archive(text, text, timestamptz, timestamptz, text, bigint, text, timestamptz)
to service_role, ipai_admin, ipai_worker;

notify pgrst, 'reload schema';
