-- SPDX-License-Identifier: Apache-2.0
{#- No two rows share these columns, and none of them is null. -#}
{% test unique_combination(model, columns) %}
select {{ quoted_list(columns) }}, count(*) as row_count
from {{ model }}
group by {{ quoted_list(columns) }}
having count(*) > 1
    {%- for column in columns %}
    or {{ adapter.quote(column) }} is null
    {%- endfor %}
{% endtest %}
