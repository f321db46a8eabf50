-- SPDX-License-Identifier: Apache-2.0
{#- The amounts of a finance view and those of the posted items of a statement are the same in each group. -#}
{% test equals_ledger(model, amount, statement, group_by) %}
select {{ quoted_list(group_by) }}, sum(seen) as seen, sum(posted) as posted
from (
    select {{ quoted_list(group_by) }}, {{ amount }} as seen, 0 as posted
    from {{ model }}
    union all
    select {{ quoted_list(group_by) }}, 0, amount
    from {{ ref('gold_finance_general_ledger') }}
    where statement = '{{ statement }}'
) as both_ways
group by {{ quoted_list(group_by) }}
having sum(seen) <> sum(posted)
{% endtest %}
