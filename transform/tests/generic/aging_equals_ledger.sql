-- SPDX-License-Identifier: Apache-2.0
{#- What is open is the balance of the receivable or payable accounts in the ledger, on each of the days looked at. -#}
{% test aging_equals_ledger(model, account_type, sign) %}
{%- set days -%}
    select current_date as as_of_date
    {%- if 'by_day' in model.identifier %}
    union
    select (date_trunc('month', current_date) - make_interval(months => back) - interval '1 day')::date
    from generate_series(0, 11) as back
    {%- endif %}
{%- endset %}
with days as (
    {{ days }}
),

opened as (
    select as_of_date, instance_id, company_id, sum(open_amount) as amount
    from {{ model }}
    where as_of_date = any (array({{ days }}))
    group by 1, 2, 3
),

daily as (
    select posted_on, instance_id, company_id, {{ sign }} * sum(amount) as amount
    from {{ ref('gold_finance_general_ledger') }}
    where account_type = '{{ account_type }}'
    group by 1, 2, 3
),

posted as (
    select d.as_of_date, l.instance_id, l.company_id, sum(l.amount) as amount
    from daily as l
    join days as d on l.posted_on <= d.as_of_date
    group by 1, 2, 3
)

select as_of_date, instance_id, company_id, o.amount as opened, p.amount as posted
from opened as o
full join posted as p using (as_of_date, instance_id, company_id)
where coalesce(o.amount, 0) <> coalesce(p.amount, 0)
{% endtest %}
