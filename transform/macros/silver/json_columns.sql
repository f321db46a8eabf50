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
    {%- for name, path, type in columns if postgres_is_name(path[0]) -%}
        {%- set leaf = path | length == 1 and type != 'jsonb' -%}
        {%- if not leaf or path[0] not in fields -%}
            {%- do fields.update({path[0]: 'text' if leaf else 'jsonb'}) -%}
        {%- endif -%}
    {%- endfor %}
select
    {%- for name, path, type in columns %}
    {{ postgres_json_value(path, type, fields.get(path[0])) }} as {{ adapter.quote(name) }},
    {%- endfor %}
    {{ keep | join(',\n    ') }}
from {{ relation }} as b
{%- if fields %}
cross join lateral jsonb_to_record(b.record) as j (
    {%- for field, type in fields.items() %}
    {{ postgres_name(field) }} {{ type }}{{ ',' if not loop.last }}
    {%- endfor %}
)
{%- endif %}
where {{ condition }}
{%- endmacro %}

{#- field_type: what jsonb_to_record gives the first key as; none where the key is no name and the record itself is asked. -#}
{% macro postgres_json_value(path, type, field_type) -%}
    {%- if field_type == 'text' -%}
        {%- set text = 'j.' ~ postgres_name(path[0]) -%}
    {%- else -%}
        {%- set parent = 'j.' ~ postgres_name(path[0]) if field_type else 'b.record' -%}
        {%- set below = postgres_path(path[1:] if field_type else path) -%}
        {%- set text = '(' ~ parent ~ ' #>> ' ~ below ~ ')' -%}
        {%- set json = parent ~ ' #> ' ~ below -%}
    {%- endif -%}
    {%- if type == 'jsonb' -%}
        {#- A JSON null is no value: columns say so with null. -#}
        nullif({{ json }}, 'null'::jsonb)
    {%- elif type == 'text' -%}
        {{ text }}
    {%- else -%}
        nullif({{ text }}, '')::{{ type }}
    {%- endif -%}
{%- endmacro %}

{#- Postgres cuts names at 63 bytes, and the cut name would find nothing. -#}
{% macro postgres_is_name(key) -%}
    {{ return(key.encode('utf-8') | length <= 63 and key != '') }}
{%- endmacro %}

{% macro postgres_name(key) -%}
    "{{ key | replace('"', '""') }}"
{%- endmacro %}

{% macro postgres_path(keys) -%}
    array[
    {%- for key in keys -%}
        '{{ key | replace("'", "''") }}'{{ ', ' if not loop.last }}
    {%- endfor -%}
    ]::text[]
{%- endmacro %}
