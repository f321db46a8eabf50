-- SPDX-License-Identifier: Apache-2.0
-- The receivables of each month that is over are the closing balances of their accounts in the trial balance.
with closed as (
    select instance_id, company_id, period_start, sum(closing_balance) as balance
    from {{ ref('gold_finance_trial_balance') }}
    where account_type = 'asset_receivable'
    group by 1, 2, 3
)

select d.instance_id, d.company_id, d.period_start, d.receivable_balance, c.balance
from {{ ref('gold_finance_dso') }} as d
left join closed as c using (instance_id, company_id, period_start)
where d.period_end < current_date and d.receivable_balance <> coalesce(c.balance, 0)
