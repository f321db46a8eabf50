-- SPDX-License-Identifier: Apache-2.0
-- The log of who did what with which secret: append-only, every row hashed together with the one
-- before it, so that a changed, removed or reordered row shows (`ipai audit verify`).

create function connectors.caller() returns text
language sql stable security definer set search_path = '' as $$
    -- PostgREST connects everybody as authenticator and has checked the token it passes on.
    select case when session_user = 'authenticator' then 'authenticator/' || coalesce(
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub',
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role', 'anon')
        else session_user::text end
$$;
comment on function connectors.caller() is 'Who asks: the database login; through PostgREST, the subject of the checked token.';

create table connectors.secret_audit (
    seq bigint not null,
    at timestamptz not null,
    actor text not null,
    action text not null,
    secret_name text not null,
    secret_id uuid,
    run_id uuid,
    detail text,
    hash text not null,
    constraint secret_audit_pkey primary key (seq),
    constraint secret_audit_action_known check (action in (
        'create', 'rotate', 'delete', 'rewrap', 'grant', 'deny', 'read')),
    constraint secret_audit_hash_is_sha256 check (hash ~ '^[0-9a-f]{64}$')
);
create index secret_audit_name_idx on connectors.secret_audit (secret_name, seq desc);
comment on table connectors.secret_audit is 'Who did what with which secret; append-only, chained by hashes, never with a value.';
comment on column connectors.secret_audit.seq is 'Counts from 1 without gaps.';
comment on column connectors.secret_audit.at is 'When, by the database''s clock.';
comment on column connectors.secret_audit.actor is 'Database login; through PostgREST, the token''s subject.';
comment on column connectors.secret_audit.action is
    'create, rotate, delete, rewrap; grant: allowed to read; deny: refused; read: has read.';
comment on column connectors.secret_audit.secret_name is 'The secret; for denials, the name that was asked for.';
comment on column connectors.secret_audit.secret_id is 'Its id in the vault.';
comment on column connectors.secret_audit.run_id is 'The run it was for.';
comment on column connectors.secret_audit.detail is 'Version, or why it was refused.';
comment on column connectors.secret_audit.hash is 'SHA-256 of the row before and this one; see secret_audit_hash.';

create table connectors.secret_audit_head (
    only_row boolean not null default true,
    seq bigint not null,
    hash text not null,
    constraint secret_audit_head_pkey primary key (only_row),
    constraint secret_audit_head_one_row check (only_row)
);
comment on table connectors.secret_audit_head is 'The last row of the log: what it is locked by, and what a cut-off end is found by.';
comment on column connectors.secret_audit_head.only_row is 'Always true: the table has one row.';
comment on column connectors.secret_audit_head.seq is 'Number of the last row.';
comment on column connectors.secret_audit_head.hash is 'Hash of the last row.';

create function connectors.secret_audit_hash(variadic fields text[]) returns text
language sql immutable parallel safe set search_path = '' as $$
    -- Each field with its length, so that no two different rows give the same text.
    select encode(sha256(convert_to(string_agg(
        coalesce(octet_length(convert_to(f.field, 'UTF8')) || ':' || f.field, '-'), ',' order by f.place), 'UTF8')), 'hex')
    from unnest(fields) with ordinality as f (field, place)
$$;
comment on function connectors.secret_audit_hash(text[]) is
    'SHA-256 of the fields: hash before, seq, at (UTC, microseconds), actor, action, secret_name, secret_id, run_id, detail.';

create function connectors.append_secret_audit(
    action text, secret_name text, secret_id uuid default null, run_id uuid default null, detail text default null
) returns bigint
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
declare
    head connectors.secret_audit_head;
    moment timestamptz;
    actor text := connectors.caller();
    name text := left(append_secret_audit.secret_name, 200); -- it may be what a stranger has asked for
begin
    select h.* into strict head from connectors.secret_audit_head as h for update;
    moment := clock_timestamp();
    head.seq := head.seq + 1;
    head.hash := connectors.secret_audit_hash(head.hash, head.seq::text,
        to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        actor, append_secret_audit.action, name,
        append_secret_audit.secret_id::text, append_secret_audit.run_id::text, append_secret_audit.detail);
    insert into connectors.secret_audit (seq, at, actor, action, secret_name, secret_id, run_id, detail, hash)
    values (head.seq, moment, actor, append_secret_audit.action, name, append_secret_audit.secret_id,
        append_secret_audit.run_id, append_secret_audit.detail, head.hash);
    update connectors.secret_audit_head as h set seq = head.seq, hash = head.hash;
    -- A second trace that no rollback takes back.
    raise log 'ipai secret %: % by % (run %): %', append_secret_audit.action, name,
        actor, append_secret_audit.run_id, append_secret_audit.detail;
    return head.seq;
end
$$;
comment on function connectors.append_secret_audit(text, text, uuid, uuid, text) is
    'Adds a row to the log, one caller after the other; internal.';

create function connectors.refuse_audit_change() returns trigger
language plpgsql set search_path = '' as $$
begin
    raise sqlstate 'PT409' using
        message = format('%s.%s cannot be changed by %s.', tg_table_schema, tg_table_name, lower(tg_op)),
        hint = 'Rows of the log stay as they were written.';
end
$$;
comment on function connectors.refuse_audit_change() is 'Keeps the log append-only, for its owner too.';

create trigger secret_audit_append_only before update or delete or truncate on connectors.secret_audit
    for each statement execute function connectors.refuse_audit_change();
create trigger secret_audit_head_stays before delete or truncate on connectors.secret_audit_head
    for each statement execute function connectors.refuse_audit_change();
-- Also for sessions that replay as a replica does, which skip ordinary triggers.
alter table connectors.secret_audit enable always trigger secret_audit_append_only;
alter table connectors.secret_audit_head enable always trigger secret_audit_head_stays;

create function connectors.secret_audit_list(
    after_seq bigint default 0, "limit" integer default 1000, secret_name text default null
) returns setof connectors.secret_audit
language sql stable security definer set search_path = '' as $$
    select a.* from connectors.secret_audit as a
    where a.seq > secret_audit_list.after_seq
        and (secret_audit_list.secret_name is null or a.secret_name = secret_audit_list.secret_name)
    order by a.seq
    limit greatest(least(secret_audit_list."limit", 10000), 0)
$$;
comment on function connectors.secret_audit_list(bigint, integer, text) is 'The log after a row, oldest first; at most 10,000 rows.';

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array['secret_audit', 'secret_audit_head'] loop
        execute format('alter table connectors.%I enable row level security', table_name);
        execute format('alter table connectors.%I force row level security', table_name);
        execute format('create policy owner_all on connectors.%I for all to %I using (true) with check (true)',
            table_name, current_user);
        execute format('create policy staff_read on connectors.%I for select to service_role, ipai_admin, ipai_operator using (true)',
            table_name);
        execute format('grant select on connectors.%I to service_role, ipai_admin, ipai_operator', table_name);
    end loop;
end
$row_security$;

-- The first hash is that of the empty log, the same everywhere.
insert into connectors.secret_audit_head (seq, hash)
values (0, encode(sha256(convert_to('ipai secret audit', 'UTF8')), 'hex'));

revoke execute on function connectors.caller(), connectors.secret_audit_hash(text[]),
    connectors.append_secret_audit(text, text, uuid, uuid, text), connectors.refuse_audit_change(),
    connectors.secret_audit_list(bigint, integer, text) from public;
grant execute on function connectors.secret_audit_list(bigint, integer, text) to service_role, ipai_admin, ipai_operator;

notify pgrst, 'reload schema';
