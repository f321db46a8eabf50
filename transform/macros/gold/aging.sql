-- SPDX-License-Identifier: Apache-2.0
{#-
  Receivables or payables that were open on each of some days, one row per day and item.

  account_type: asset_receivable or liability_payable; sign: 1, or -1 where a credit is what is owed
  days: query with one column as_of_date

  What was open is rebuilt: the item's amount less the matches whose both items were posted by that day. Odoo's own
  amount_residual knows today only. A filter on as_of_date reaches the days, so that one day costs one day.
-#}
{% macro open_items(account_type, sign, days) -%}
with items as (
    select i.*, a.account_code
    from {{ posted_items() }} as i
    join {{ company_accounts() }} as a
        on a.instance_id = i.instance_id and a.company_id = i.company_id and a.account_id = i.account_id
    where a.account_type = '{{ account_type }}'
),

matches as (
    select
        m.instance_id,
        x.item_id,
        greatest(d.date, c.date) as matched_on,
        x.amount,
        x.amount_currency
    from {{ live(ref('odoo_partial_reconciles')) }} as m
    join items as d on d.instance_id = m.instance_id and d.id = m.debit_move_id
    join items as c on c.instance_id = m.instance_id and c.id = m.credit_move_id
    cross join lateral (
        values (m.debit_move_id, -m.amount, -m.debit_amount_currency), (m.credit_move_id, m.amount, m.credit_amount_currency)
    ) as x (item_id, amount, amount_currency)
),

days as (
    {{ days }}
),

standing as (
    select
        d.as_of_date, i.instance_id, i.company_id, i.id, i.move_id, i.move_name, i.date, i.account_id, i.account_code,
        i.partner_id, i.currency_id, i.company_currency_id, i.balance, i.amount_currency,
        coalesce(i.date_maturity, i.date) as due_on,
        i.balance + coalesce(sum(m.amount), 0) as still_open,
        i.amount_currency + coalesce(sum(m.amount_currency), 0) as still_open_currency,
        max(m.matched_on) as last_matched_on
    from days as d
    join items as i on i.date <= d.as_of_date
    left join matches as m on m.instance_id = i.instance_id and m.item_id = i.id and m.matched_on <= d.as_of_date
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    having i.balance + coalesce(sum(m.amount), 0) <> 0
),

aged as (
    select
        *,
        greatest(as_of_date - due_on, 0) as days_overdue,
        {{ sign }} * balance as amount,
        {{ sign }} * still_open as open_amount,
        {{ sign }} * still_open_currency as open_original_amount
    from standing
),

freshness as (
    {{ freshness_of([ref('odoo_journal_items'), ref('odoo_partial_reconciles')]) }}
)

select
    g.as_of_date,
    g.instance_id,
    g.company_id,
    c.name as company,
    g.partner_id,
    coalesce(p.complete_name, p.name) as partner,
    g.id as posting_id,
    g.move_id as entry_id,
    g.move_name as entry_number,
    coalesce(e.move_type, 'entry') as entry_type,
    g.account_id,
    g.account_code,
    g.date as posted_on,
    g.due_on,
    g.days_overdue,
    {%- set bounds = [[none, 0, 'current'], [1, 30, '1-30'], [31, 60, '31-60'], [61, 90, '61-90'], [91, 120, '91-120'], [121, none, 'older']] %}
    case
        {%- for least, most, name in bounds if most is not none %}
        when g.days_overdue <= {{ most }} then '{{ name }}'
        {%- endfor %}
        else 'older'
    end as bucket,
    cc.name as currency,
    g.amount,
    g.open_amount,
    {%- for least, most, name in bounds %}
    case
        when true
            {%- if least is not none %} and g.days_overdue >= {{ least }}{% endif -%}
            {%- if most is not none %} and g.days_overdue <= {{ most }}{% endif %}
            then g.open_amount else 0
    end as {{ 'not_due' if least is none else 'overdue_older' if most is none else 'overdue_' ~ least ~ '_' ~ most }},
    {%- endfor %}
    ic.name as original_currency,
    g.open_original_amount,
    g.last_matched_on,
    f.data_as_of
from aged as g
left join {{ ref('odoo_journal_entries') }} as e on e.instance_id = g.instance_id and e.id = g.move_id
left join {{ ref('odoo_companies') }} as c on c.instance_id = g.instance_id and c.id = g.company_id
left join {{ ref('odoo_partners') }} as p on p.instance_id = g.instance_id and p.id = g.partner_id
left join {{ ref('odoo_currencies') }} as cc on cc.instance_id = g.instance_id and cc.id = g.company_currency_id
left join {{ ref('odoo_currencies') }} as ic on ic.instance_id = g.instance_id and ic.id = g.currency_id
left join freshness as f on f.instance_id = g.instance_id
{%- endmacro %}

{#- Every day from the first posting to today. -#}
{% macro every_day() -%}
    select day::date as as_of_date
    from generate_series(
        (select min(date) from {{ posted_items() }} as i)::timestamp, current_date::timestamp, interval '1 day'
    ) as day
{%- endmacro %}
