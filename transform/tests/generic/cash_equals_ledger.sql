-- SPDX-License-Identifier: Apache-2.0
{#- Closing cash of each company and month is the balance of its cash accounts in the ledger. -#}
{% test cash_equals_ledger(model) %}
select c.instance_id, c.company_id, c.period_end, c.amount, sum(l.amount) as posted
from {{ model }} as c
left join {{ ref('gold_finance_general_ledger') }} as l
    on l.instance_id = c.instance_id
    and l.company_id = c.company_id
    and l.account_type = 'asset_cash'
    and l.posted_on <= c.period_end
where c.activity = 'closing_cash'
group by c.instance_id, c.company_id, c.period_end, c.amount
having c.amount <> coalesce(sum(l.amount), 0)
{% endtest %}
