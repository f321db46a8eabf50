-- SPDX-License-Identifier: Apache-2.0
{#-
  What the finance views share. They stand on Silver directly, not on each other: dbt drops a view together with the
  views above it, and a reader through postgres_fdw would find a hole.
-#}

{#- Posted journal items that carry an amount. Drafts, cancelled entries, section lines and deleted rows do not count. -#}
{% macro posted_items() -%}
    (
        select *
        from {{ ref('odoo_journal_items') }}
        where parent_state = 'posted' and account_id is not null and _deleted_at is null
    )
{%- endmacro %}

{#- One row per account and company: code, name and place in the statements. Accounts that were deleted keep their name. -#}
{% macro company_accounts() -%}
    (
        select
            c.instance_id,
            c.id as company_id,
            a.id as account_id,
            coalesce(a.code_by_company ->> c.id::text, a.code) as account_code,
            a.name as account,
            a.account_type,
            {{ account_class('a.account_type') }} as account_class,
            {{ account_statement('a.account_type') }} as statement
        from {{ ref('odoo_companies') }} as c
        join {{ ref('odoo_accounts') }} as a on a.instance_id = c.instance_id
    )
{%- endmacro %}

{#-
  Accounts that count as cash: of type Bank and Cash, and by dbt's var odoo_cash_includes_outstanding those on which
  payments wait for the bank statement.
-#}
{% macro cash_accounts() -%}
    {%- set wait = var('odoo_cash_includes_outstanding') -%}
    {%- if wait is not boolean -%}
        {{ exceptions.raise_compiler_error(
            "Var odoo_cash_includes_outstanding is " ~ (wait | tojson) ~ ". Use true or false."
        ) }}
    {%- endif -%}
    (
        select a.instance_id, a.company_id, a.account_id
        from {{ company_accounts() }} as a
        where a.account_type = 'asset_cash'
            {%- if wait %}
            or (a.instance_id, a.company_id, a.account_id) in (
                select p.instance_id, p.company_id, p.outstanding_account_id
                from {{ ref('odoo_payments') }} as p
            )
            and a.account_type in ('asset_current', 'liability_current')
            {%- endif %}
    )
{%- endmacro %}

{#- asset, liability, equity, income, expense or off_balance; Odoo's account types begin with it. -#}
{% macro account_class(account_type) -%}
    case when {{ account_type }} = 'off_balance' then 'off_balance' else split_part({{ account_type }}, '_', 1) end
{%- endmacro %}

{% macro account_statement(account_type) -%}
    case
        when split_part({{ account_type }}, '_', 1) in ('asset', 'liability', 'equity') then 'balance_sheet'
        when split_part({{ account_type }}, '_', 1) in ('income', 'expense') then 'profit_and_loss'
        else 'none'
    end
{%- endmacro %}

{#- Heading in a statement and its place there, [account type, heading], in order. -#}
{% macro statement_sections() -%}
    {{ return([
        ['asset_cash', 'Bank and cash'],
        ['asset_receivable', 'Receivables'],
        ['asset_current', 'Current assets'],
        ['asset_prepayments', 'Prepayments'],
        ['asset_fixed', 'Fixed assets'],
        ['asset_non_current', 'Non-current assets'],
        ['liability_payable', 'Payables'],
        ['liability_credit_card', 'Credit cards'],
        ['liability_current', 'Current liabilities'],
        ['liability_non_current', 'Non-current liabilities'],
        ['equity', 'Equity'],
        ['equity_unaffected', 'Undistributed earnings'],
        ['income', 'Revenue'],
        ['expense_direct_cost', 'Cost of revenue'],
        ['expense', 'Operating expenses'],
        ['expense_depreciation', 'Depreciation'],
        ['income_other', 'Other income'],
        ['expense_other', 'Other expenses'],
    ]) }}
{%- endmacro %}

{% macro section_of(account_type) -%}
    case {{ account_type }}
        {%- for type, heading in statement_sections() %}
        when '{{ type }}' then '{{ heading }}'
        {%- endfor %}
        else initcap(replace({{ account_type }}, '_', ' '))
    end
{%- endmacro %}

{% macro section_order(account_type) -%}
    coalesce(array_position(array[
        {%- for type, heading in statement_sections() -%}
            '{{ type }}'{{ ', ' if not loop.last }}
        {%- endfor -%}
    ], {{ account_type }}), 99)
{%- endmacro %}

{#- First day of the fiscal year that a day lies in; company (alias) gives the last day and month of its years. -#}
{% macro fiscal_year_start(day, company) -%}
    case
        when {{ day }} > {{ fiscal_year_end('extract(year from ' ~ day ~ ')::int', company) }}
            then {{ fiscal_year_end('extract(year from ' ~ day ~ ')::int', company) }} + 1
        else {{ fiscal_year_end('extract(year from ' ~ day ~ ')::int - 1', company) }} + 1
    end
{%- endmacro %}

{% macro month_end(day) -%}
    (date_trunc('month', {{ day }}) + interval '1 month' - interval '1 day')::date
{%- endmacro %}

{#- A fiscal year that ends on 29 February ends on the 28th of other years. -#}
{% macro fiscal_year_end(year, company) -%}
    {%- set month = "make_date(" ~ year ~ ", coalesce(nullif(" ~ company ~ ".fiscalyear_last_month, '')::int, 12), 1)" -%}
    least(
        {{ month }} + (coalesce({{ company }}.fiscalyear_last_day, 31)::int - 1),
        ({{ month }} + interval '1 month' - interval '1 day')::date
    )
{%- endmacro %}

{#-
  Factor from each company's currency into the reporting currency (var) by day, for the days in relation `days`
  (instance_id, company_id, day), by Odoo's own rule: the company's rate or the one for all, the newest of that day or
  before, else the oldest. Null where the reporting currency has no rate at all.
-#}
{% macro conversion_factors(days) -%}
    (
        select
            d.instance_id,
            d.company_id,
            d.day,
            case
                when c.currency_id = r.id then 1::numeric
                else {{ rate_on('r.id') }} / nullif(coalesce({{ rate_on('c.currency_id') }}, 1), 0)
            end as factor
        from {{ days }} as d
        join {{ company_roots() }} as c on c.instance_id = d.instance_id and c.id = d.company_id
        left join {{ ref('odoo_currencies') }} as r
            on r.instance_id = d.instance_id and r.name = '{{ var("reporting_currency") }}'
    )
{%- endmacro %}

{#- Every company with the one at the top of those above it, as far as they are known. -#}
{% macro company_roots() -%}
    (
        with recursive above as (
            select instance_id, id, currency_id, id as root_id, parent_id, 0 as steps
            from {{ ref('odoo_companies') }}
            union all
            select a.instance_id, a.id, a.currency_id, p.id, p.parent_id, a.steps + 1
            from above as a
            join {{ ref('odoo_companies') }} as p on p.instance_id = a.instance_id and p.id = a.parent_id
            where a.steps < 100
        )

        select distinct on (instance_id, id) instance_id, id, currency_id, root_id
        from above
        order by instance_id, id, steps desc
    )
{%- endmacro %}

{#- Branches, and their branches, share the rates of the company at their root. -#}
{% macro rate_on(currency) -%}
    (
        select x.rate
        from {{ ref('odoo_currency_rates') }} as x
        where x.instance_id = d.instance_id
            and x.currency_id = {{ currency }}
            and (x.company_id is null or x.company_id = c.root_id)
            and x._deleted_at is null
        order by x.valid_from > d.day, x.company_id nulls last, abs(x.valid_from - d.day)
        limit 1
    )
{%- endmacro %}

{#-
  Trial balance by month: one row per company, month and account since the account's first posting, and one computed row
  (account_id 0) for the earnings of earlier fiscal years. Balances of income and expense begin anew each fiscal year; a
  month belongs to the year of its last day.
-#}
{% macro trial_balance() -%}
    (
        with movements as (
            select
                i.instance_id,
                i.company_id,
                i.account_id,
                date_trunc('month', i.date)::date as period_start,
                sum(i.debit) as debit,
                sum(i.credit) as credit,
                sum(i.balance) as movement,
                -- What a fiscal year that ends within the month takes along.
                sum(i.balance) filter (
                    where i.date < {{ fiscal_year_start(month_end('i.date'), 'c') }}
                ) as movement_before_year
            from {{ posted_items() }} as i
            left join {{ ref('odoo_companies') }} as c on c.instance_id = i.instance_id and c.id = i.company_id
            group by 1, 2, 3, 4
        ),

        months as (
            select
                b.instance_id,
                b.company_id,
                m.period_start::date as period_start,
                {{ fiscal_year_start(month_end('m.period_start'), 'c') }} as fiscal_year_start
            from (
                select instance_id, company_id, min(period_start) as earliest, max(period_start) as latest
                from movements
                group by 1, 2
            ) as b
            cross join lateral generate_series(
                b.earliest, greatest(b.latest, date_trunc('month', current_date)::date), interval '1 month'
            ) as m (period_start)
            left join {{ ref('odoo_companies') }} as c on c.instance_id = b.instance_id and c.id = b.company_id
        ),

        accounts as (
            select f.*, a.account_code, a.account, a.account_type, a.account_class, a.statement
            from (
                select instance_id, company_id, account_id, min(period_start) as first_period
                from movements
                group by 1, 2, 3
            ) as f
            left join {{ company_accounts() }} as a
                on a.instance_id = f.instance_id and a.company_id = f.company_id and a.account_id = f.account_id
        ),

        grid as (
            select
                a.instance_id,
                a.company_id,
                m.period_start,
                m.fiscal_year_start,
                a.account_id,
                a.account_code,
                a.account,
                a.account_type,
                a.account_class,
                a.statement,
                coalesce(v.debit, 0) as debit,
                coalesce(v.credit, 0) as credit,
                coalesce(v.movement, 0) as movement,
                sum(coalesce(v.movement, 0)) over (
                    partition by a.instance_id, a.company_id, a.account_id order by m.period_start
                ) as balance_ever,
                sum(coalesce(v.movement - coalesce(v.movement_before_year, 0), 0)) over (
                    partition by a.instance_id, a.company_id, a.account_id, m.fiscal_year_start order by m.period_start
                ) as balance_of_year
            from accounts as a
            join months as m
                on m.instance_id = a.instance_id and m.company_id = a.company_id and m.period_start >= a.first_period
            left join movements as v
                on v.instance_id = a.instance_id
                and v.company_id = a.company_id
                and v.account_id = a.account_id
                and v.period_start = m.period_start
        )

        select
            instance_id, company_id, period_start, fiscal_year_start, account_id, account_code, account, account_type,
            account_class, statement, debit, credit, movement,
            case when statement = 'profit_and_loss' then balance_of_year else balance_ever end as closing_balance
        from grid
        union all
        select
            instance_id, company_id, period_start, fiscal_year_start, 0, null,
            'Earnings of earlier fiscal years (computed)', 'equity_unaffected', 'equity', 'balance_sheet', 0, 0, 0,
            sum(balance_ever - balance_of_year)
        from grid
        where statement = 'profit_and_loss'
        group by instance_id, company_id, period_start, fiscal_year_start
        having sum(balance_ever - balance_of_year) <> 0
    )
{%- endmacro %}
