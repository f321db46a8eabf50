-- SPDX-License-Identifier: Apache-2.0
with freshness as (
    {{ freshness_of([ref('odoo_journal_items'), ref('odoo_accounts')]) }}
)

select
    t.instance_id,
    t.company_id,
    c.name as company,
    t.period_start,
    (t.period_start + interval '1 month' - interval '1 day')::date as period_end,
    t.fiscal_year_start,
    {{ section_of('t.account_type') }} as section,
    {{ section_order('t.account_type') }} as section_order,
    t.account_class,
    t.account_id,
    t.account_code,
    t.account,
    y.name as currency,
    -t.movement as amount,
    -t.closing_balance as year_to_date_amount,
    s.data_as_of
from {{ trial_balance() }} as t
left join {{ ref('odoo_companies') }} as c on c.instance_id = t.instance_id and c.id = t.company_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = c.instance_id and y.id = c.currency_id
left join freshness as s on s.instance_id = t.instance_id
where t.statement = 'profit_and_loss' and (t.movement <> 0 or t.closing_balance <> 0)
