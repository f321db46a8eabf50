-- SPDX-License-Identifier: Apache-2.0
{#- No two rows share these columns; nulls count as the same. -#}
{% test no_duplicates(model, columns) %}
select {{ quoted_list(columns) }}, count(*) as row_count
from {{ model }}
group by {{ quoted_list(columns) }}
having count(*) > 1
{% endtest %}
