-- SPDX-License-Identifier: Apache-2.0
{#- Two views that cut the same figures differently agree in each group. -#}
{% test same_total(model, amount, other, group_by) %}
select {{ quoted_list(group_by) }}, sum(figure) as difference
from (
    select {{ quoted_list(group_by) }}, {{ amount }} as figure from {{ model }}
    union all
    select {{ quoted_list(group_by) }}, -({{ amount }}) from {{ other }}
) as both_ways
group by {{ quoted_list(group_by) }}
having sum(figure) <> 0
{% endtest %}
