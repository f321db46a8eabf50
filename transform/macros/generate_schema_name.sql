-- SPDX-License-Identifier: Apache-2.0
{#- Schemas carry their full names (ipai_silver_devops): dbt must not put the profile's schema in front. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
