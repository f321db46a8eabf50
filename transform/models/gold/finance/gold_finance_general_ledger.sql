-- SPDX-License-Identifier: Apache-2.0
with items as (
    select * from {{ posted_items() }} as posted
),

factors as (
    select * from {{ conversion_factors('(select distinct instance_id, company_id, date as day from items)') }} as f
),

freshness as (
    {{ freshness_of([ref('odoo_journal_items'), ref('odoo_accounts')]) }}
)

select
    i.instance_id,
    i.company_id,
    c.name as company,
    i.id as posting_id,
    i.move_id as entry_id,
    i.move_name as entry_number,
    coalesce(e.move_type, 'entry') as entry_type,
    i.date as posted_on,
    date_trunc('month', i.date)::date as period_start,
    (date_trunc('month', i.date) + interval '1 month' - interval '1 day')::date as period_end,
    {{ fiscal_year_start('i.date', 'c') }} as fiscal_year_start,
    i.journal_id,
    j.code as journal_code,
    j.name as journal,
    i.account_id,
    a.account_code,
    a.account,
    a.account_type,
    a.account_class,
    a.statement,
    i.partner_id,
    coalesce(p.complete_name, p.name) as partner,
    i.product_id,
    i.name as label,
    i.ref as reference,
    i.analytic_distribution,
    i.date_maturity as due_on,
    i.matching_number,
    cc.name as currency,
    i.debit,
    i.credit,
    i.balance as amount,
    case when a.account_class in ('liability', 'equity', 'income') then -i.balance else i.balance end as normal_amount,
    sum(i.balance) over (
        partition by i.instance_id, i.company_id, i.account_id order by i.date, i.move_id, i.id
    ) as running_balance,
    ic.name as original_currency,
    i.amount_currency as original_amount,
    '{{ var("reporting_currency") }}'::text as reporting_currency,
    round(i.balance * f.factor, 2) as reporting_amount,
    s.data_as_of
from items as i
left join {{ ref('odoo_journal_entries') }} as e on e.instance_id = i.instance_id and e.id = i.move_id
left join {{ ref('odoo_companies') }} as c on c.instance_id = i.instance_id and c.id = i.company_id
left join {{ ref('odoo_currencies') }} as cc on cc.instance_id = i.instance_id and cc.id = i.company_currency_id
left join {{ ref('odoo_currencies') }} as ic on ic.instance_id = i.instance_id and ic.id = i.currency_id
left join {{ ref('odoo_journals') }} as j on j.instance_id = i.instance_id and j.id = i.journal_id
left join {{ ref('odoo_partners') }} as p on p.instance_id = i.instance_id and p.id = i.partner_id
left join {{ company_accounts() }} as a
    on a.instance_id = i.instance_id and a.company_id = i.company_id and a.account_id = i.account_id
left join factors as f on f.instance_id = i.instance_id and f.company_id = i.company_id and f.day = i.date
left join freshness as s on s.instance_id = i.instance_id
