-- SPDX-License-Identifier: Apache-2.0
{#-
  Reads the JSON of each row once and gives typed columns.

  relation: has the JSON in column `record`
  columns:  list of [name, path, type], path being a list of keys
  keep:     expressions over alias `b` (the relation) carried along as they are
  condition: filter over alias `b`

  Casts stand outside of the parser, so that a value that does not fit its type fails the model instead of
  turning into null.
-#}
{% macro json_columns(relation, columns, keep, condition='true') -%}
    {{ return(adapter.dispatch('json_columns', 'ipai')(relation, columns, keep, condition)) }}
{%- endmacro %}

{% macro default__json_columns(relation, columns, keep, condition) -%}
    {{ exceptions.raise_compiler_error(
        "Macro json_columns has no version for adapter '" ~ adapter.type() ~ "'. Write "
        ~ adapter.type() ~ "__json_columns beside postgres__json_columns."
    ) }}
{%- endmacro %}

{% macro postgres__json_columns(relation, columns, keep, condition) -%}
    {#- Leaves and the parents of nested values are taken out by one jsonb_to_record; #>> only walks below a parent. -#}
    {%- set fields = {} -%}
    {%- for name, path, type in columns -%}
        {%- set leaf = path | length == 1 and type != 'jsonb' -%}
        {%- if not leaf or path[0] not in fields -%}
            {%- do fields.update({path[0]: 'text' if leaf else 'jsonb'}) -%}
        {%- endif -%}
    {%- endfor %}
select
    {%- for name, path, type in columns %}
    {{ postgres_json_value(path, type, fields[path[0]]) }} as {{ adapter.quote(name) }},
    {%- endfor %}
    {{ keep | join(',\n    ') }}
from {{ relation }} as b
cross join lateral jsonb_to_record(b.record) as j (
    {%- for field, type in fields.items() %}
    {{ adapter.quote(field) }} {{ type }}{{ ',' if not loop.last }}
    {%- endfor %}
)
where {{ condition }}
{%- endmacro %}

{% macro postgres_json_value(path, type, parent_type) -%}
    {%- set parent = 'j.' ~ adapter.quote(path[0]) -%}
    {%- set below = path[1:] | map('tojson') | join(',') -%}
    {%- if type == 'jsonb' -%}
        {#- A JSON null is no value: columns say so with null. -#}
        nullif({{ parent }}{{ " #> '{" ~ below ~ "}'" if below }}, 'null'::jsonb)
    {%- else -%}
        {%- if parent_type == 'text' -%}
            {%- set text = parent -%}
        {%- else -%}
            {%- set text = '(' ~ parent ~ " #>> '{" ~ below ~ "}')" -%}
        {%- endif -%}
        {{ text if type == 'text' else "nullif(" ~ text ~ ", '')::" ~ type }}
    {%- endif -%}
{%- endmacro %}
