-- SPDX-License-Identifier: Apache-2.0
{#-
  The contract's columns as an empty query, as in dbt itself, less its warning that numeric without a precision may
  round: on Postgres such a column keeps every digit, and a precision is what would round.
-#}
{% macro postgres__get_empty_schema_sql(columns) -%}
    {%- set untyped = columns.values() | rejectattr('data_type') | map(attribute='name') | list -%}
    {%- if untyped -%}
        {{ exceptions.column_type_missing(column_names=untyped) }}
    {%- endif -%}
    select
    {%- for column in columns.values() %}
        {{ cast('null', column['data_type']) }} as {{ adapter.quote(column['name']) if column.get('quote') else column['name'] }}
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
