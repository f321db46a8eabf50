-- SPDX-License-Identifier: Apache-2.0
{#-
  Incremental strategy silver_upsert: the newest version of each key wins, a replay writes nothing.

  A staged row replaces the stored one when its (cursor, emitted_at) is greater, or equal with another content: the
  row was deleted at the source, or a new column got its value. Replacing is delete + insert, never ON CONFLICT,
  because a restated partition date moves the row to another partition.
-#}
{% macro get_incremental_silver_upsert_sql(arg_dict) -%}
    {{ return(adapter.dispatch('silver_upsert', 'ipai')(arg_dict)) }}
{%- endmacro %}

{% macro postgres__silver_upsert(arg_dict) -%}
    {%- set stored = arg_dict['target_relation'] -%}
    {%- set staged = arg_dict['temp_relation'] -%}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='name') | list -%}
    {%- set partition_by = config.get('partition_by') -%}
    {%- do silver_check_types(stored, staged) %}
{{ silver_drop_known_rows(stored, staged, columns) }};
{%- if partition_by %}
{{ silver_ensure_partitions(stored, staged, partition_by) }};
{%- endif %}
delete from {{ stored }} as t
using {{ staged }} as s
where {{ silver_same_key('t', 's') }};
insert into {{ stored }} ({{ quoted_list(columns) }})
select {{ quoted_list(columns) }}
from {{ staged }}
where {{ silver_visible() }}
{%- endmacro %}

{#-
  Statistics for the views and tests that follow at once: autovacuum comes later, and to the parent of partitions never.
  With those of a table that was empty or small before, ageing takes minutes. A few new rows change no plan.
-#}
{% macro silver_analyze() -%}
do $analyze$
declare
    known constant real := (select reltuples from pg_class where oid = '{{ this }}'::regclass);
begin
    if known < 0 or (select abs(count(*) - known) from {{ this }}) > 50 + 0.1 * known then
        analyze {{ this }};
    end if;
end
$analyze$
{%- endmacro %}

{#- Takes the staged rows away that are no news, so that the statements after it are plain. -#}
{% macro silver_drop_known_rows(stored, staged, columns) -%}
analyze {{ staged }};
delete from {{ staged }} as s
using {{ stored }} as t
where {{ silver_same_key('t', 's') }}
    and (
        {{ silver_version('t', 's') }} > {{ silver_version('s', 't') }}
        or (
            {{ silver_version('t', 's') }} = {{ silver_version('s', 't') }}
            and {{ silver_visible('s.') }}
            and row({{ quoted_list(columns, 't.') }}) is not distinct from row({{ quoted_list(columns, 's.') }})
        )
    )
{%- endmacro %}

{#- Cursors compare only with cursors: a stream that is read in full from now on must not look older than before. -#}
{% macro silver_version(alias, other) -%}
    (case when {{ other }}._cursor is null then '' else coalesce({{ alias }}._cursor, '') end collate "C", {{ alias }}._emitted_at)
{%- endmacro %}

{% macro silver_same_key(left, right) -%}
    {%- for key in config.get('unique_key') -%}
        {{ left }}.{{ adapter.quote(key) }} = {{ right }}.{{ adapter.quote(key) }}{{ ' and ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- Which rows Silver keeps, by var silver_delete_policy. -#}
{% macro silver_visible(prefix='') -%}
    {%- set policy = var('silver_delete_policy') -%}
    {%- if policy not in ('soft', 'hard') -%}
        {{ exceptions.raise_compiler_error(
            "Var silver_delete_policy is '" ~ policy ~ "'. Use soft (keep the row, set _deleted_at) or hard (remove it)."
        ) }}
    {%- endif -%}
    {{ return('true' if policy == 'soft' else prefix ~ '_deleted_at is null') }}
{%- endmacro %}

{#- dbt compares the contract with the query only; an old table with another type would convert values in silence. -#}
{% macro silver_check_types(stored, staged) -%}
    {%- set changes = [] -%}
    {%- set staged_types = {} -%}
    {%- for column in adapter.get_columns_in_relation(staged) -%}
        {%- do staged_types.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- for column in adapter.get_columns_in_relation(stored) -%}
        {%- set wanted = staged_types.get(column.name, column.data_type) -%}
        {%- if wanted != column.data_type -%}
            {%- do changes.append(column.name ~ ' (' ~ column.data_type ~ ' stored, ' ~ wanted ~ ' in the contract)') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if changes -%}
        {{ exceptions.raise_compiler_error(
            stored ~ ' has columns of another type: ' ~ changes | join(', ')
            ~ '. Rebuild it with --full-refresh, or alter the columns by hand.'
        ) }}
    {%- endif -%}
{%- endmacro %}
