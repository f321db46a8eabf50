-- SPDX-License-Identifier: Apache-2.0
{#-
  The body of every Silver model: the newest version of each key among the Bronze rows loaded since the last run.

  Newer means greater (cursor, emitted_at), the same rule as in silver_upsert: two rules that differ in one corner
  keep wrong rows. A source that was never synced has no Bronze table and gives no rows, in the right shape.
-#}
{% macro silver_rows(bronze, columns) -%}
    {%- set keys = config.get('unique_key') -%}
    {%- set names = columns | map('first') | list -%}
    {%- set trace = silver_trace_columns(keys) -%}
    {%- set all_names = ['instance_id'] + names + trace | map('first') | list -%}
    {%- if execute and not bronze_exists(bronze) -%}
select
    null::text as instance_id,
    {%- for name, path, type in columns %}
    null::{{ type }} as {{ adapter.quote(name) }},
    {%- endfor %}
    {%- for name, expression, type in trace %}
    null::{{ type }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
where false
    {%- else -%}
        {%- set keep = ['b.instance_id'] -%}
        {%- for name, expression, type in trace -%}
            {%- do keep.append(expression ~ ' as ' ~ name) -%}
        {%- endfor %}
select distinct on ({{ quoted_list(keys) }})
    {{ quoted_list(all_names) }}
from (
{{ json_columns(bronze, columns, keep, silver_watermark(all_names) ~ silver_known_record(keys) ~ silver_unlike_stored(keys, columns, all_names)) }}
) as parsed
order by
    {{ quoted_list(keys) }},
    coalesce(_cursor, '') collate "C" desc,
    _emitted_at desc,
    _loaded_at desc
    {%- endif %}
{%- endmacro %}

{#- Where a Silver row comes from: [column, expression over Bronze alias b, type]. Streams without a key have Bronze's. -#}
{% macro silver_trace_columns(keys) -%}
    {%- set own_key = [['_record_key', 'b.record_key', 'text']] if '_record_key' in keys else [] -%}
    {{ return(own_key + [
        ['_cursor', 'b.cursor', 'text'],
        ['_emitted_at', 'b.emitted_at', 'timestamptz'],
        ['_loaded_at', 'b.loaded_at', 'timestamptz'],
        ['_deleted_at', 'b.deleted_at', 'timestamptz'],
        ['_source', 'b.source', 'text'],
        ['_stream', 'b.stream', 'text'],
        ['_run_id', 'b.run_id', 'text'],
    ]) }}
{%- endmacro %}

{% macro bronze_exists(bronze) -%}
    {%- if bronze.is_cte -%}
        {{ return(true) }}
    {%- endif -%}
    {{ return(load_relation(bronze) is not none) }}
{%- endmacro %}

{% macro quoted_list(names, prefix='') -%}
    {%- for name in names -%}
        {{ prefix }}{{ adapter.quote(name) }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#-
  Which Bronze rows to read, as a condition over alias b.

  The watermark is loaded_at, not emitted_at. emitted_at is when the tap read the record, and a record may be stored
  long after: a backlog, a dead letter replayed the next day, a second instance that was read earlier but arrives
  later. Behind a watermark of emitted_at such rows would be lost for ever. loaded_at is the start of the transaction
  that stored the row or marked it deleted, by the database's clock. The only rows that can still appear below a known
  loaded_at are those of transactions that were open when Silver last looked. silver_lookback covers them: it must
  exceed the longest flush of a target (seconds; the default is an hour). Reading a row again is free of effect.

  A column that Silver does not have yet is filled from all of Bronze.
-#}
{% macro silver_watermark(names) -%}
    {%- if silver_reads_all(names) -%}
        {{ return('true') }}
    {%- endif -%}
    {{ return('b.loaded_at >= ' ~ silver_read_since()) }}
{%- endmacro %}

{% macro silver_read_since() -%}
    {{ return(
        "(select coalesce(max(_loaded_at), '-infinity') - interval '" ~ var('silver_lookback') ~ "' from " ~ this ~ ")"
    ) }}
{%- endmacro %}

{#- Leaves out a deletion of a record that Bronze never saw: it has its key, and nothing that could be a row. -#}
{% macro silver_known_record(keys) -%}
    {{ return(
        " and (b.deleted_at is null or b.record ->> '_sdc_deleted_at' is null or " ~ (keys | length - 1)
        ~ " < (select count(*) from jsonb_object_keys(b.record) as member (name) where left(name, 5) <> '_sdc_'))"
    ) }}
{%- endmacro %}

{#-
  Leaves out, before anything but the key is parsed, what Silver took from Bronze before. After a first load all of it lies
  within silver_lookback, and reading it again would cost as much as the load until the hour is over; in a stream without
  news, for ever. Of rows with equal (cursor, emitted_at) the stored one was loaded last: where Bronze keeps every version,
  an earlier one that is read without it would take its place. That it was loaded since then follows, but not for the
  planner, who would compare all of Silver.
-#}
{% macro silver_unlike_stored(keys, columns, names) -%}
    {%- if silver_reads_all(names) -%}
        {{ return('') }}
    {%- endif -%}
    {%- set same = [] -%}
    {%- for key in keys -%}
        {%- set own = {'instance_id': 'b.instance_id', '_record_key': 'b.record_key'} -%}
        {%- for name, path, type in columns if name == key -%}
            {%- do own.update({key: postgres_json_value(path, type, none) | trim}) -%}
        {%- endfor -%}
        {%- do same.append('t.' ~ adapter.quote(key) ~ ' = ' ~ own[key]) -%}
    {%- endfor -%}
    {{ return(
        " and not exists (select from " ~ this ~ " as t where " ~ same | join(' and ')
        ~ " and t._emitted_at = b.emitted_at and t._cursor is not distinct from b.cursor"
        ~ " and t._loaded_at >= b.loaded_at and (b.deleted_at is null or t._deleted_at is not null)"
        ~ " and t._loaded_at >= " ~ silver_read_since() ~ " and " ~ silver_visible('t.') ~ ")"
    ) }}
{%- endmacro %}

{% macro silver_reads_all(names) -%}
    {{ return(not is_incremental() or var('silver_replay') or silver_lacks_columns(names)) }}
{%- endmacro %}

{% macro silver_lacks_columns(names) -%}
    {%- set existing = adapter.get_columns_in_relation(this) | map(attribute='name') | list -%}
    {{ return(names | reject('in', existing) | list | length > 0) }}
{%- endmacro %}
