-- SPDX-License-Identifier: Apache-2.0
with cash_accounts as (
    select * from {{ cash_accounts() }} as a
),

items as (
    select
        i.instance_id, i.company_id, i.move_id, i.account_id, i.balance,
        date_trunc('month', i.date)::date as period_start,
        a.account_code, a.account, a.account_type, k.account_id is not null as is_cash
    from {{ posted_items() }} as i
    join {{ company_accounts() }} as a
        on a.instance_id = i.instance_id and a.company_id = i.company_id and a.account_id = i.account_id
    left join cash_accounts as k
        on k.instance_id = i.instance_id and k.company_id = i.company_id and k.account_id = i.account_id
),

cash_entries as (
    select distinct instance_id, move_id from items where is_cash
),

-- An entry sums to zero, so what its other items sum to is what moved the cash.
movements as (
    select
        i.instance_id,
        i.company_id,
        i.period_start,
        case
            when i.account_type in ('asset_fixed', 'asset_non_current') then 'investing'
            when i.account_type in ('equity', 'equity_unaffected', 'liability_non_current') then 'financing'
            else 'operating'
        end as activity,
        i.account_id,
        i.account_code,
        i.account,
        sum(-i.balance) as amount
    from items as i
    join cash_entries as e on e.instance_id = i.instance_id and e.move_id = i.move_id
    where not i.is_cash
    group by 1, 2, 3, 4, 5, 6, 7
),

cash as (
    select instance_id, company_id, period_start, sum(balance) as change
    from items
    where is_cash
    group by 1, 2, 3
),

standing as (
    select
        m.instance_id,
        m.company_id,
        m.period_start,
        coalesce(c.change, 0) as change,
        sum(coalesce(c.change, 0)) over (partition by m.instance_id, m.company_id order by m.period_start) as closing
    from (
        select instance_id, company_id, generate_series(
            min(period_start), greatest(max(period_start), date_trunc('month', current_date)::date), interval '1 month'
        )::date as period_start
        from cash
        group by 1, 2
    ) as m
    left join cash as c
        on c.instance_id = m.instance_id and c.company_id = m.company_id and c.period_start = m.period_start
),

lines as (
    select instance_id, company_id, period_start, 'opening_cash' as activity, 1 as activity_order,
        0::bigint as account_id, null as account_code, 'Cash at the beginning of the month' as account,
        closing - change as amount
    from standing
    union all
    select instance_id, company_id, period_start, activity,
        case activity when 'operating' then 2 when 'investing' then 3 else 4 end,
        account_id, account_code, account, amount
    from movements
    union all
    select instance_id, company_id, period_start, 'closing_cash', 5, 0, null, 'Cash at the end of the month', closing
    from standing
),

named as (
    select instance_id, company_id, array_agg(distinct account_id order by account_id) as cash_account_ids
    from items
    where is_cash
    group by 1, 2
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
    l.activity,
    l.activity_order,
    l.account_id,
    l.account_code,
    l.account,
    y.name as currency,
    l.amount,
    n.cash_account_ids,
    s.data_as_of
from lines as l
left join {{ ref('odoo_companies') }} as c on c.instance_id = l.instance_id and c.id = l.company_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = c.instance_id and y.id = c.currency_id
left join named as n on n.instance_id = l.instance_id and n.company_id = l.company_id
left join freshness as s on s.instance_id = l.instance_id
