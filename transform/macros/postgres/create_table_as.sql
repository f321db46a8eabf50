-- SPDX-License-Identifier: Apache-2.0
{#-
  dbt-postgres knows no partitions. Tables of the strategy silver_upsert are created here: a stage, the parent with the
  contract's columns, its partitions, then the rows. Everything else goes the stock way.
-#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- if config.get('incremental_strategy') != 'silver_upsert' -%}
        {{ return(dbt.postgres__create_table_as(temporary, relation, sql)) }}
    {%- endif -%}
    {{ get_assert_columns_equivalent(sql) }}
    {#- One writer per table until commit. Taken before the snapshot of the reading statement, so that two runs at the
        same time cannot put back what the other has replaced. -#}
    select pg_advisory_xact_lock(hashtextextended('{{ this.schema }}.{{ this.identifier }}', 0));
    {%- if temporary %}
    create temporary table {{ relation }} on commit drop as (
        {{ sql }}
    );
    {%- else %}
    {{ silver_create(relation, sql) }}
    {%- endif %}
{%- endmacro %}

{% macro silver_create(relation, sql) -%}
    {%- set partition_by = config.get('partition_by') -%}
    {%- set names = model['columns'].keys() | list -%}
    {%- set staged = 'ipai_stage_' ~ local_md5(relation ~ invocation_id)[:8] -%}
    {%- do silver_guard_full_refresh() %}
    create temporary table {{ staged }} on commit drop as (
        {{ sql }}
    );
    create table {{ relation }}
    {{ get_table_columns_and_constraints() }}
    {%- if partition_by %} partition by range ({{ adapter.quote(partition_by) }});
    {{ silver_ensure_partitions(relation, staged, partition_by) }}
    {%- endif %};
    insert into {{ relation }} ({{ quoted_list(names) }})
    select {{ quoted_list(names) }}
    from {{ staged }}
    where {{ silver_visible() }};
{%- endmacro %}

{#-
  Bronze is kept for weeks, Silver for a year: a full refresh can only bring back what Bronze still holds. Counts the keys
  that would be lost and refuses, unless var silver_full_refresh is allow.
-#}
{% macro silver_guard_full_refresh() -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- if existing is none or not existing.is_table or var('silver_full_refresh') == 'allow' -%}
        {{ return('') }}
    {%- endif -%}
    {%- set lost = run_query(silver_count_lost(existing)).columns[0].values()[0] -%}
    {%- if lost > 0 -%}
        {{ exceptions.raise_compiler_error(
            'Full refresh of ' ~ this ~ ' would lose ' ~ lost ~ ' rows that Bronze no longer holds. To correct rows, run with'
            ~ ' --vars "{silver_replay: true}"; to lose them, run with --vars "{silver_full_refresh: allow}".'
        ) }}
    {%- endif -%}
{%- endmacro %}

{% macro silver_count_lost(existing) -%}
    select count(*)::int
    from {{ existing }} as t
    where not exists (
        select from ({{ sql }}) as s where {{ silver_same_key('t', 's') }}
    )
{%- endmacro %}
