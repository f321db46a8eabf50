-- SPDX-License-Identifier: Apache-2.0

-- name: begin
begin

-- name: commit
commit

-- name: transaction_settings
-- Valid until the end of the transaction, so that a transaction pooler keeps nothing of them.
-- The index is forced: a free planner scans the whole table once per batch, which is quadratic.
select set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_nestloop', 'on', true),
       set_config('jit', 'off', true),
       set_config('max_parallel_workers_per_gather', '0', true),
       set_config('statement_timeout', '0', true), set_config('lock_timeout', '30s', true)

-- name: free_planner
-- One pass over a table against many keys: without statistics a nested loop would be quadratic.
select set_config('enable_hashjoin', 'on', true), set_config('enable_seqscan', 'on', true),
       set_config('enable_nestloop', 'off', true)

-- name: server_facts
select current_setting('server_encoding') as encoding, current_user::text as role,
       coalesce('lz4' = any (enumvals), false) as has_lz4
from (select max(enumvals) as enumvals from pg_settings where name = 'default_toast_compression') s

-- name: lock_definitions
-- Two targets that start at once create a schema or table one after the other.
select pg_advisory_xact_lock(hashtextextended('ipai bronze definitions', 0))

-- name: schema_exists
select to_regnamespace(%(schema)s) is not null

-- name: create_schema
create schema {schema}

-- name: table_columns
select attname::text as name, format_type(atttypid, null) as type
from pg_attribute
where attrelid = to_regclass(%(table)s) and attnum > 0 and not attisdropped

-- name: table_has_key
select exists (
  select from pg_constraint c
  where c.conrelid = to_regclass(%(table)s) and c.contype = 'p'
    and (select array_agg(a.attname::text order by a.attname)
         from pg_attribute a where a.attrelid = c.conrelid and a.attnum = any (c.conkey))
      = array['instance_id', 'record_key'])

-- name: table_exists
select to_regclass(%(table)s) is not null

-- name: create_table
create table {table} (
  instance_id text collate "C" not null,
  record_key text collate "C" not null,
  record jsonb {compression} not null,
  emitted_at timestamptz not null,
  source text not null,
  stream text not null,
  cursor text collate "C",
  run_id text,
  loaded_at timestamptz not null default now(),
  deleted_at timestamptz,
  record_hash bigint not null
  {primary_key}
)

-- name: spare_statistics
-- Nothing compares whole records: analysing them costs time and gives nothing.
alter table {table} alter column record set statistics 0

-- name: comment_table
comment on table {table} is {comment}

-- name: holds_instance
select exists (select from {table} where instance_id = %(instance_id)s)

-- name: table_owner
select source, stream from {table} limit 1

-- name: copy_rows
copy {table} (instance_id, source, stream, run_id, record_key, record, emitted_at, cursor, record_hash)
from stdin (format binary)

-- name: insert_rows
-- For tables that refuse COPY: row-level security does, for roles that do not own the table.
insert into {table} (instance_id, source, stream, run_id, record_key, record, emitted_at, cursor, record_hash)
select %(instance_id)s, %(source)s, %(stream)s, %(run_id)s,
       n.record_key, n.record::jsonb, n.emitted_at, n.cursor, n.record_hash
from unnest(%(keys)s, %(records)s, %(emitted)s, %(cursors)s, %(hashes)s)
  as n (record_key, record, emitted_at, cursor, record_hash)

-- name: insert_tombstones
insert into {table} (instance_id, source, stream, run_id, record_key, record, emitted_at, cursor,
                     record_hash, deleted_at)
select %(instance_id)s, %(source)s, %(stream)s, %(run_id)s,
       n.record_key, n.record::jsonb, n.emitted_at, n.cursor, n.record_hash, now()
from unnest(%(keys)s, %(records)s, %(emitted)s, %(cursors)s, %(hashes)s)
  as n (record_key, record, emitted_at, cursor, record_hash)

-- name: probe
-- One letter per key, in order: n = new, s = same, c = changed or deleted.
select string_agg(case when t.record_key is null then 'n'
                       when t.record_hash = k.record_hash and t.deleted_at is null then 's'
                       else 'c' end, '' order by k.position)
from unnest(%(keys)s, %(hashes)s) with ordinality as k (record_key, record_hash, position)
left join {table} t on t.instance_id = %(instance_id)s and t.record_key = k.record_key

-- name: update_rows
-- An older (cursor, emitted_at) never overwrites a newer one; a row that a generation retired comes
-- back only by a record that was read after that. A tombstone has its own (cursor, emitted_at).
update {table} t
set record = c.record::jsonb, emitted_at = c.emitted_at, cursor = c.cursor,
    record_hash = c.record_hash, source = %(source)s, stream = %(stream)s, run_id = %(run_id)s,
    loaded_at = now(), deleted_at = null
from unnest(%(keys)s, %(records)s, %(emitted)s, %(cursors)s, %(hashes)s)
  as c (record_key, record, emitted_at, cursor, record_hash)
where t.instance_id = %(instance_id)s and t.record_key = c.record_key
  and (t.record_hash <> c.record_hash or t.deleted_at is not null)
  and (t.deleted_at is null or c.emitted_at > t.deleted_at
       or coalesce(t.record ->> '_sdc_deleted_at', '') <> '')
  and (case when %(has_cursor)s then coalesce(c.cursor, '') else '' end, c.emitted_at)
   >= (case when %(has_cursor)s then coalesce(t.cursor, '') else '' end, t.emitted_at)

-- name: mark_deleted
-- The last members stay and the tombstone's are added; one without a cursor is judged by its time.
update {table} t
set record = t.record || c.record::jsonb, emitted_at = c.emitted_at,
    cursor = coalesce(c.cursor, t.cursor), record_hash = c.record_hash, source = %(source)s,
    stream = %(stream)s, run_id = %(run_id)s, loaded_at = now(),
    deleted_at = coalesce(t.deleted_at, now())
from unnest(%(keys)s, %(records)s, %(emitted)s, %(cursors)s, %(hashes)s)
  as c (record_key, record, emitted_at, cursor, record_hash)
where t.instance_id = %(instance_id)s and t.record_key = c.record_key
  and (t.record_hash <> c.record_hash or t.deleted_at is null)
  and (case when %(has_cursor)s then coalesce(c.cursor, t.cursor, '') else '' end, c.emitted_at)
   >= (case when %(has_cursor)s then coalesce(t.cursor, '') else '' end, t.emitted_at)

-- name: storable_records
select count(value::jsonb) from unnest(%(records)s) as value

-- name: assigned_transaction
select pg_current_xact_id_if_assigned()::text

-- name: transaction_status
select pg_xact_status(%(transaction)s::xid8)

-- name: may_save_state
select coalesce(has_function_privilege(
    to_regprocedure('connectors.save_connector_state(uuid, uuid, jsonb, boolean, bigint)')::oid,
    'execute'), false)

-- name: save_state
-- Locks the run until the commit; raises PT410 when its lease is lost, PT422 for a STATE set back.
select connectors.save_connector_state(%(run_id)s, %(lease_token)s, %(state)s::text::jsonb)

-- name: coarse_statistics
-- For the first ANALYZE, which must not cost a noticeable part of the load; autovacuum refines it.
select set_config('default_statistics_target', '10', true)

-- name: analyze_table
analyze {table}

-- name: create_generations
create table {generations} (
  instance_id text collate "C" not null,
  source text collate "C" not null,
  stream text collate "C" not null,
  version bigint not null,
  activated_at timestamptz not null default now(),
  primary key (instance_id, source, stream)
)

-- name: create_generation_keys
create table {keys} (
  instance_id text collate "C" not null,
  source text collate "C" not null,
  stream text collate "C" not null,
  version bigint not null,
  record_key text collate "C" not null
)

-- name: active_version
select version from {generations}
where instance_id = %(instance_id)s and source = %(source)s and stream = %(stream)s

-- name: set_active_version
insert into {generations} (instance_id, source, stream, version)
values (%(instance_id)s, %(source)s, %(stream)s, %(version)s)
on conflict (instance_id, source, stream)
do update set version = excluded.version, activated_at = now()

-- name: add_generation_keys
insert into {keys} (instance_id, source, stream, version, record_key)
select %(instance_id)s, %(source)s, %(stream)s, %(version)s, key from unnest(%(keys)s) as key

-- name: forget_older_keys
delete from {keys}
where instance_id = %(instance_id)s and source = %(source)s and stream = %(stream)s
  and version < %(version)s

-- name: forget_keys
delete from {keys}
where instance_id = %(instance_id)s and source = %(source)s and stream = %(stream)s
  and version <= %(version)s

-- name: mark_retired
-- loaded_at moves, so that models which read what changed since their last run see the deletion.
update {table} t set deleted_at = now(), loaded_at = now(), run_id = %(run_id)s
where t.instance_id = %(instance_id)s and t.deleted_at is null
  and not exists (
    select from {keys} g
    where g.instance_id = %(instance_id)s and g.source = %(source)s and g.stream = %(stream)s
      and g.version = %(version)s and g.record_key = t.record_key)

-- name: delete_retired
delete from {table} t
where t.instance_id = %(instance_id)s
  and not exists (
    select from {keys} g
    where g.instance_id = %(instance_id)s and g.source = %(source)s and g.stream = %(stream)s
      and g.version = %(version)s and g.record_key = t.record_key)

-- name: find_dead_letters
select case when has_schema_privilege(to_regnamespace('connectors')::oid, 'usage')
            then coalesce(has_table_privilege(to_regclass('connectors.dead_letters')::oid, 'insert')
                      and has_table_privilege(to_regclass('connectors.dead_letters')::oid, 'select'), false)
            else false end

-- name: create_dead_letters
create table {dead_letters} (
  id bigint generated always as identity primary key,
  instance_id text not null,
  run_id text,
  source text not null,
  stream text not null,
  reason text not null,
  error text not null,
  raw bytea not null,
  received_at timestamptz not null default now(),
  replayed_at timestamptz
)

-- name: bury
-- A replay of the same bytes does not pile up letters.
insert into {dead_letters} (instance_id, run_id, source, stream, reason, error, raw)
select %(instance_id)s, %(run_id)s, %(source)s, %(stream)s, %(reason)s, %(error)s, %(raw)s
where not exists (
  select from {dead_letters} d
  where d.instance_id = %(instance_id)s and d.source = %(source)s and d.stream = %(stream)s
    and d.reason = %(reason)s and d.raw = %(raw)s and d.replayed_at is null)
