-- SPDX-License-Identifier: Apache-2.0

-- name: tables
-- Tables and views outside the system's schemas, without partitions, parts of extensions and
-- tables without columns.
select c.oid::int8,
    n.nspname,
    c.relname,
    c.relkind::text,
    coalesce(obj_description(c.oid, 'pg_class'), ''),
    case
        when c.relkind = 'p' then (
            select sum(greatest(part.reltuples, 0))::int8
            from pg_partition_tree(c.oid) tree
            join pg_class part on part.oid = tree.relid
            where tree.isleaf
        )
        when c.reltuples >= 0 and c.relkind in ('r', 'm') then c.reltuples::int8
    end,
    has_schema_privilege(n.oid, 'usage') and has_any_column_privilege(c.oid, 'select'),
    c.relreplident::text,
    c.relkind <> 'p' and exists (select from pg_inherits i where i.inhparent = c.oid)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f')
    and not c.relispartition
    and exists (
        select from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    )
    and n.nspname not in ('pg_catalog', 'information_schema')
    and n.nspname not like 'pg\_toast%%'
    and n.nspname not like 'pg\_temp%%'
    and not exists (
        select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
order by n.nspname, c.relname;

-- name: columns
-- Columns of some tables that this user may read, with the type below every domain.
with recursive below as (
    select t.oid, t.oid as root, false as strict
    from pg_type t
    where t.typtype <> 'd'
    union all
    select t.oid, b.root, b.strict or t.typnotnull
    from pg_type t
    join below b on b.oid = t.typbasetype
    where t.typtype = 'd'
)
select a.attrelid::int8,
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    a.attnotnull or b.strict,
    coalesce(col_description(a.attrelid, a.attnum), ''),
    r.oid::int8,
    r.typname,
    r.typtype::text,
    case when r.typcategory = 'A' then e.oid::int8 end,
    case when r.typcategory = 'A' then e.typname end,
    case when r.typcategory = 'A' then e.typtype::text end
from pg_attribute a
join below b on b.oid = a.atttypid
join pg_type r on r.oid = b.root
left join below eb on eb.oid = r.typelem
left join pg_type e on e.oid = eb.root
where a.attrelid = any(%(tables)s::oid[])
    and a.attnum > 0
    and not a.attisdropped
    and has_column_privilege(a.attrelid, a.attnum, 'select')
order by a.attrelid, a.attnum;

-- name: types
-- The types of the columns that a query gives, with the type below every domain.
with recursive below as (
    select t.oid, t.oid as root
    from pg_type t
    where t.typtype <> 'd'
    union all
    select t.oid, b.root
    from pg_type t
    join below b on b.oid = t.typbasetype
    where t.typtype = 'd'
)
select given.place::int4,
    format_type(given.oid, given.modifier),
    r.oid::int8,
    r.typname,
    r.typtype::text,
    case when r.typcategory = 'A' then e.oid::int8 end,
    case when r.typcategory = 'A' then e.typname end,
    case when r.typcategory = 'A' then e.typtype::text end
from unnest(%(types)s::oid[], %(modifiers)s::int4[])
    with ordinality as given(oid, modifier, place)
join below b on b.oid = given.oid
join pg_type r on r.oid = b.root
left join below eb on eb.oid = r.typelem
left join pg_type e on e.oid = eb.root
order by given.place;

-- name: keys
-- Primary and unique keys of some tables over plain columns, primary and shorter ones first.
select i.indrelid::int8,
    i.indisprimary,
    array_agg(a.attname::text order by k.place),
    bool_and(a.attnotnull)
from pg_index i
cross join lateral unnest(i.indkey::int2[]) with ordinality as k(number, place)
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
where i.indrelid = any(%(tables)s::oid[])
    and i.indisunique
    and i.indisvalid
    and i.indimmediate
    and i.indpred is null
    and i.indexprs is null
    and k.place <= i.indnkeyatts
group by i.indexrelid, i.indrelid, i.indisprimary
order by i.indrelid, i.indisprimary desc, count(*), i.indexrelid;
