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
        x.amount_currency,
        j.type in ({{ payment_journals() }}) as is_payment
    from {{ live(ref('odoo_partial_reconciles')) }} as m
    join items as d on d.instance_id = m.instance_id and d.id = m.debit_move_id
    join items as c on c.instance_id = m.instance_id and c.id = m.credit_move_id
    cross join lateral (
        values
            (m.debit_move_id, -m.amount, -m.debit_amount_currency, c.journal_id),
            (m.credit_move_id, m.amount, m.credit_amount_currency, d.journal_id)
    ) as x (item_id, amount, amount_currency, counterpart_journal_id)
    left join {{ ref('odoo_journals') }} as j on j.instance_id = m.instance_id and j.id = x.counterpart_journal_id
),

days as (
    {{ days }}
),

-- Items and their matches one below the other: the planner takes receivables for few rows, and would join each item with
-- each match.
standing as (
    select
        as_of_date,
        instance_id,
        id,
        max(company_id) as company_id,
        max(move_id) as move_id,
        max(move_name) as move_name,
        max(date) as date,
        max(account_id) as account_id,
        max(account_code) as account_code,
        max(partner_id) as partner_id,
        max(currency_id) as currency_id,
        max(company_currency_id) as company_currency_id,
        max(due_on) as due_on,
        max(balance) as balance,
        sum(amount) as still_open,
        sum(amount_currency) as still_open_currency,
        max(matched_on) as last_matched_on,
        min(matched_on) filter (where is_payment) as first_payment_on,
        max(matched_on) filter (where is_payment) as last_payment_on
    from (
        select
            d.as_of_date, i.instance_id, i.id, i.company_id, i.move_id, i.move_name, i.date, i.account_id, i.account_code,
            i.partner_id, i.currency_id, i.company_currency_id, coalesce(i.date_maturity, i.date) as due_on, i.balance,
            i.balance as amount, i.amount_currency, null::date as matched_on, false as is_payment
        from days as d
        join items as i on i.date <= d.as_of_date
        union all
        select
            d.as_of_date, m.instance_id, m.item_id, null, null, null, null, null, null, null, null, null, null, null,
            m.amount, m.amount_currency, m.matched_on, m.is_payment
        from days as d
        join matches as m on m.matched_on <= d.as_of_date
    ) as changes
    group by 1, 2, 3
    having sum(amount) <> 0
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
    {{ bucket_of('g.days_overdue') }} as bucket,
    cc.name as currency,
    g.amount,
    g.open_amount,
    {{- bucket_columns() }}
    ic.name as original_currency,
    g.open_original_amount,
    g.last_matched_on,
    g.first_payment_on,
    g.last_payment_on,
    f.data_as_of
from aged as g
left join {{ ref('odoo_journal_entries') }} as e on e.instance_id = g.instance_id and e.id = g.move_id
left join {{ ref('odoo_companies') }} as c on c.instance_id = g.instance_id and c.id = g.company_id
left join {{ ref('odoo_partners') }} as p on p.instance_id = g.instance_id and p.id = g.partner_id
left join {{ ref('odoo_currencies') }} as cc on cc.instance_id = g.instance_id and cc.id = g.company_currency_id
left join {{ ref('odoo_currencies') }} as ic on ic.instance_id = g.instance_id and ic.id = g.currency_id
left join freshness as f on f.instance_id = g.instance_id
{%- endmacro %}

{#- Journals whose entries move money; what they match with an invoice pays it. -#}
{% macro payment_journals() -%}
    'bank', 'cash', 'credit'
{%- endmacro %}

{#-
  What is open today, one row per company and partner. Payments are all of the partner's, matched or not: an old customer
  has a first one although what is open was never paid on.
-#}
{% macro open_by_partner(account_type, sign) -%}
with opened as (
    {{ open_items(account_type, sign, 'select current_date as as_of_date') }}
),

summed as (
    select
        as_of_date,
        instance_id,
        company_id,
        company,
        partner_id,
        partner,
        currency,
        count(*) as open_item_count,
        sum(open_amount) as open_amount,
        sum(open_amount) - sum(not_due) as overdue_amount,
        {%- for first, last, label, column in aging_buckets() %}
        sum({{ column }}) as {{ column }},
        {%- endfor %}
        min(due_on) filter (where open_amount > 0) as oldest_due_on,
        max(days_overdue) filter (where open_amount > 0) as days_overdue,
        max(data_as_of) as data_as_of
    from opened
    group by 1, 2, 3, 4, 5, 6, 7
),

payments as (
    select
        i.instance_id,
        i.company_id,
        coalesce(i.partner_id, 0) as partner_id,
        min(i.date) as first_payment_on,
        max(i.date) as last_payment_on
    from {{ posted_items() }} as i
    join {{ ref('odoo_accounts') }} as a on a.instance_id = i.instance_id and a.id = i.account_id
    join {{ ref('odoo_journals') }} as j on j.instance_id = i.instance_id and j.id = i.journal_id
    where a.account_type = '{{ account_type }}'
        and j.type in ({{ payment_journals() }})
        and {{ sign }} * i.balance < 0
        and i.date <= current_date
    group by 1, 2, 3
)

select
    o.as_of_date,
    o.instance_id,
    o.company_id,
    o.company,
    o.partner_id,
    o.partner,
    o.currency,
    o.open_item_count,
    o.open_amount,
    o.overdue_amount,
    {%- for first, last, label, column in aging_buckets() %}
    o.{{ column }},
    {%- endfor %}
    o.oldest_due_on,
    o.days_overdue,
    p.first_payment_on,
    p.last_payment_on,
    o.data_as_of
from summed as o
left join payments as p
    on p.instance_id = o.instance_id and p.company_id = o.company_id and p.partner_id = coalesce(o.partner_id, 0)
{%- endmacro %}

{#- Every day from the first posting to today. -#}
{% macro every_day() -%}
    select day::date as as_of_date
    from generate_series(
        (select min(date) from {{ posted_items() }} as i)::timestamp, current_date::timestamp, interval '1 day'
    ) as day
{%- endmacro %}
