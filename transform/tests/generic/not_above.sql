-- SPDX-License-Identifier: Apache-2.0
{#- A part never exceeds the whole: the column is at most another column of the same row. -#}
{% test not_above(model, column_name, whole) %}
select {{ adapter.quote(column_name) }}, {{ adapter.quote(whole) }}
from {{ model }}
where {{ adapter.quote(column_name) }} > {{ adapter.quote(whole) }}
{% endtest %}
