-- SPDX-License-Identifier: Apache-2.0
with trial_balance as (
    select * from {{ trial_balance() }} as t
),

lines as (
    select
        instance_id, company_id, period_start, account_class as side, account_type, account_id, account_code, account,
        closing_balance as balance
    from trial_balance
    where statement = 'balance_sheet'
    union all
    select
        instance_id, company_id, period_start, 'equity', 'equity_unaffected', -1, null,
        'Earnings of the fiscal year to date (computed)', sum(closing_balance)
    from trial_balance
    where statement = 'profit_and_loss'
    group by instance_id, company_id, period_start
),

freshness as (
    {{ freshness_of([ref('odoo_journal_items'), ref('odoo_accounts')]) }}
)

select
    l.instance_id,
    l.company_id,
    c.name as company,
    l.period_start,
    (l.period_start + interval '1 month' - interval '1 day')::date as period_end,
    l.side,
    {{ section_of('l.account_type') }} as section,
    {{ section_order('l.account_type') }} as section_order,
    l.account_id,
    l.account_code,
    l.account,
    y.name as currency,
    case when l.side = 'asset' then l.balance else -l.balance end as amount,
    l.balance,
    s.data_as_of
from lines as l
left join {{ ref('odoo_companies') }} as c on c.instance_id = l.instance_id and c.id = l.company_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = c.instance_id and y.id = c.currency_id
left join freshness as s on s.instance_id = l.instance_id
where l.balance <> 0
