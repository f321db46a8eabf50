-- SPDX-License-Identifier: Apache-2.0
{#-
  Closing cash of each company and month is the balance in the ledger of the accounts it names, and those of type Bank
  and Cash are always among them.
-#}
{% test cash_equals_ledger(model) %}
with posted as (
    select instance_id, company_id, account_id, account_type, period_end, sum(amount) as amount
    from {{ ref('gold_finance_general_ledger') }}
    group by 1, 2, 3, 4, 5
)

select c.instance_id, c.company_id, c.period_end, c.amount, sum(p.amount) as posted
from {{ model }} as c
left join posted as p
    on p.instance_id = c.instance_id
    and p.company_id = c.company_id
    and (p.account_id = any(c.cash_account_ids) or p.account_type = 'asset_cash')
    and p.period_end <= c.period_end
where c.activity = 'closing_cash'
group by c.instance_id, c.company_id, c.period_end, c.amount
having c.amount <> coalesce(sum(p.amount), 0)
{% endtest %}
