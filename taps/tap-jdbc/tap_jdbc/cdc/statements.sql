-- SPDX-License-Identifier: Apache-2.0

-- name: server
-- What decides whether the log can be read here.
select current_setting('wal_level'),
    current_setting('server_version_num')::int4,
    pg_is_in_recovery(),
    (select rolreplication or rolsuper from pg_roles where rolname = current_user),
    has_function_privilege('pg_control_system()', 'execute')

-- name: system
select system_identifier::text from pg_control_system()

-- name: position
-- How far the log is written; a replica counts what it has replayed.
select ((case
    when pg_is_in_recovery() then pg_last_wal_replay_lsn()
    else pg_current_wal_flush_lsn()
end) - '0/0'::pg_lsn)::int8

-- name: slot
-- All members by JSON, for newer servers tell more of a slot than older ones.
select (to_jsonb(s)
    || jsonb_build_object(
        'is_here', s.database = current_database(),
        'confirmed', (s.confirmed_flush_lsn - '0/0'::pg_lsn)::int8,
        'restart', (s.restart_lsn - '0/0'::pg_lsn)::int8
    ))::text
from pg_replication_slots s
where s.slot_name = %(slot)s

-- name: create_slot
select (lsn - '0/0'::pg_lsn)::int8 from pg_create_logical_replication_slot(%(slot)s, 'pgoutput')

-- name: drop_slot
select pg_drop_replication_slot(%(slot)s)

-- name: drop_copies
select pg_drop_replication_slot(slot_name)
from pg_replication_slots
where temporary and active_pid = pg_backend_pid()

-- name: advance_slot
select (end_lsn - '0/0'::pg_lsn)::int8
from pg_replication_slot_advance(%(slot)s, '0/0'::pg_lsn + %(position)s::numeric)

-- name: copy_slot
-- A copy that ends with the session: it moves on while the slot itself stays.
select lsn::text from pg_copy_logical_replication_slot(%(slot)s, %(copy)s, true)

-- name: publication
select p.oid::int8, p.puballtables,
    p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate,
    pg_get_userbyid(p.pubowner)::text
from pg_publication p
where p.pubname = %(publication)s

-- name: members
-- The tables of a publication; the oid of the membership changes when a table leaves and returns.
select c.oid::int8, coalesce(r.oid, -1)::int8
from pg_publication_tables t
join pg_namespace n on n.nspname = t.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
join pg_publication p on p.pubname = t.pubname
left join pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid
where t.pubname = %(publication)s

-- name: published
select format('%%I.%%I', t.schemaname, t.tablename)
from pg_publication_tables t
where t.pubname = %(publication)s
order by 1

-- name: writers
-- Transactions that have changed these tables and are not over.
select distinct l.virtualtransaction
from pg_locks l
where l.locktype = 'relation'
    and l.database = (select oid from pg_database where datname = current_database())
    and l.relation in (
        select tree.relid
        from unnest(%(tables)s::oid[]) as given(oid)
        cross join lateral (
            select given.oid as relid
            union
            select p.relid from pg_partition_tree(given.oid) p
        ) tree
    )
    and l.mode in (
        'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
    )
    and l.granted
    and l.pid is distinct from pg_backend_pid()

-- name: tables
-- What of a table decides whether its changes can be read.
select c.oid::int8,
    c.relkind::text,
    c.relpersistence::text,
    c.relreplident::text,
    row_security_active(c.oid),
    coalesce((
        select array_agg(a.attname::text)
        from pg_index i
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey::int2[])
        where i.indrelid = c.oid
            and case c.relreplident
                when 'd' then i.indisprimary
                when 'i' then i.indisreplident
                else false
            end
    ), '{}'),
    c.relkind = 'p' and not coalesce(p.pubviaroot, true),
    m.entry ->> 'prqual' is not null,
    coalesce((
        select array_agg(a.attname::text order by a.attnum)
        from pg_attribute a
        where a.attrelid = c.oid
            and a.attnum > 0
            and not a.attisdropped
            and a.attgenerated = ''
            and has_column_privilege(a.attrelid, a.attnum, 'select')
            and a.attnum <> all(
                regexp_split_to_array(
                    btrim(m.entry ->> 'prattrs', '[]'), '[ ,]+'
                )::int2[]
            )
    ), '{}')
from pg_class c
left join pg_publication p on p.pubname = %(publication)s
left join lateral (
    select to_jsonb(r) as entry  -- filters and lists of columns came with PostgreSQL 15
    from pg_publication_rel r
    where r.prpubid = p.oid and r.prrelid = c.oid
) m on true
where c.oid = any(%(tables)s::oid[])

-- name: lock
select pg_try_advisory_lock(hashtextextended(%(lock)s, 0))

-- name: unlock
select pg_advisory_unlock_all()

-- name: status
-- What the slot holds back, against what the server allows; ages where the server knows them.
select (case
        when pg_is_in_recovery() then pg_last_wal_replay_lsn()
        else pg_current_wal_lsn()
    end)::text,
    s.confirmed_flush_lsn::text,
    s.restart_lsn::text,
    pg_wal_lsn_diff(
        case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
        s.confirmed_flush_lsn
    )::int8,
    pg_wal_lsn_diff(
        case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
        s.restart_lsn
    )::int8,
    case current_setting('max_slot_wal_keep_size')
        when '-1' then null
        else pg_size_bytes(current_setting('max_slot_wal_keep_size'))
    end,
    s.wal_status,
    s.active,
    extract(epoch from now() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::int8,
    age(s.catalog_xmin)
from pg_replication_slots s
where s.slot_name = %(slot)s
