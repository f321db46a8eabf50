-- SPDX-License-Identifier: Apache-2.0
{#- Views run with the rights of the reader: a plain view would show every row to anyone who may select from it. -#}
{% macro postgres__create_view_as(relation, sql) -%}
    create view {{ relation }} with (security_invoker = true)
    {%- if config.get('contract').enforced %}
    {{ get_assert_columns_equivalent(sql) }}
    {%- endif %}
    as (
        {{ sql }}
    );
{%- endmacro %}
