-- SPDX-License-Identifier: Apache-2.0
with monthly as (
    select
        i.instance_id,
        i.company_id,
        date_trunc('month', i.date)::date as period_start,
        coalesce(sum(i.balance) filter (where a.account_type = 'asset_receivable'), 0) as receivable_change,
        coalesce(-sum(i.balance) filter (
            where a.account_class = 'income' and e.move_type in ('out_invoice', 'out_refund')
        ), 0) as net_credit_sales
    from {{ posted_items() }} as i
    join {{ company_accounts() }} as a
        on a.instance_id = i.instance_id and a.company_id = i.company_id and a.account_id = i.account_id
    left join {{ ref('odoo_journal_entries') }} as e on e.instance_id = i.instance_id and e.id = i.move_id
    where i.date <= current_date and (a.account_type = 'asset_receivable' or a.account_class = 'income')
    group by 1, 2, 3
),

months as (
    select instance_id, company_id, generate_series(
        min(period_start), date_trunc('month', current_date)::date, interval '1 month'
    )::date as period_start
    from monthly
    group by 1, 2
),

spread as (
    select
        k.instance_id,
        k.company_id,
        k.period_start,
        least({{ month_end('k.period_start') }}, current_date) - k.period_start + 1 as days,
        coalesce(m.receivable_change, 0) as receivable_change,
        coalesce(m.net_credit_sales, 0) as net_credit_sales
    from months as k
    left join monthly as m
        on m.instance_id = k.instance_id and m.company_id = k.company_id and m.period_start = k.period_start
),

figures as (
    select
        instance_id,
        company_id,
        period_start,
        days,
        net_credit_sales,
        sum(receivable_change) over so_far as receivable_balance,
        sum(days) over quarter as quarter_days,
        sum(net_credit_sales) over quarter as quarter_sales
    from spread
    window
        so_far as (partition by instance_id, company_id order by period_start),
        quarter as (partition by instance_id, company_id order by period_start rows 2 preceding)
),

freshness as (
    {{ freshness_of([ref('odoo_journal_items'), ref('odoo_accounts')]) }}
)

select
    f.instance_id,
    f.company_id,
    c.name as company,
    f.period_start,
    {{ month_end('f.period_start') }} as period_end,
    f.days,
    y.name as currency,
    f.receivable_balance,
    f.net_credit_sales,
    case when f.net_credit_sales > 0
        then round(f.receivable_balance / f.net_credit_sales * f.days, 1) end as dso,
    case when f.quarter_sales > 0
        then round(f.receivable_balance / f.quarter_sales * f.quarter_days, 1) end as dso_three_months,
    s.data_as_of
from figures as f
left join {{ ref('odoo_companies') }} as c on c.instance_id = f.instance_id and c.id = f.company_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = c.instance_id and y.id = c.currency_id
left join freshness as s on s.instance_id = f.instance_id
