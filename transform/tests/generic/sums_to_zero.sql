-- SPDX-License-Identifier: Apache-2.0
{#- The amounts of each group cancel out: debits equal credits. -#}
{% test sums_to_zero(model, amount, group_by) %}
select {{ quoted_list(group_by) }}, sum({{ amount }}) as difference
from {{ model }}
group by {{ quoted_list(group_by) }}
having sum({{ amount }}) <> 0
{% endtest %}
