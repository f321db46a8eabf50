-- SPDX-License-Identifier: Apache-2.0
{#-
  Creates the monthly partitions (UTC) that the staged rows need and the table does not have.

  A partition is recognised by `_p<yyyymm>_` in its name; the suffix is random because names are unique per schema and a
  full refresh builds the new table beside the old one. Rows without a date, or with one outside of 1970-2099 (typing
  errors in commits), stay in the default partition, which therefore never stands in the way of a new month.
-#}
{% macro silver_ensure_partitions(table, staged, partition_by) -%}
do $partitions$
declare
    parent constant regclass := '{{ table }}'::regclass;
    suffix constant text := left(md5(random()::text || clock_timestamp()::text), 8);
    month date;
begin
    if not exists (
        select from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = parent and pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'
    ) then
        execute format(
            'create table %I.%I partition of %s default',
            '{{ table.schema }}', '{{ this.identifier[:40] }}_default_' || suffix, parent
        );
    end if;
    for month in
        select distinct date_trunc('month', {{ silver_partition_date(partition_by) }})::date
        from {{ staged }}
        where {{ adapter.quote(partition_by) }} >= '1970-01-01 00:00:00+00'
            and {{ adapter.quote(partition_by) }} < '2100-01-01 00:00:00+00'
        order by 1
    loop
        continue when exists (
            select from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
            where i.inhparent = parent and c.relname ~ ('_p' || to_char(month, 'YYYYMM') || '_[0-9a-f]{8}$')
        );
        execute format(
            'create table %I.%I partition of %s for values from (%L) to (%L)',
            '{{ table.schema }}',
            '{{ this.identifier[:40] }}_p' || to_char(month, 'YYYYMM') || '_' || suffix,
            parent,
            month || ' 00:00:00+00',
            (month + interval '1 month')::date || ' 00:00:00+00'
        );
    end loop;
end
$partitions$
{%- endmacro %}

{% macro silver_partition_date(partition_by) -%}
    {%- if model['columns'][partition_by]['data_type'] == 'date' -%}
        {{ adapter.quote(partition_by) }}
    {%- else -%}
        ({{ adapter.quote(partition_by) }} at time zone 'UTC')
    {%- endif -%}
{%- endmacro %}
