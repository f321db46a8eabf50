-- SPDX-License-Identifier: Apache-2.0
with events as (
    select
        e.*,
        date_trunc('month', e.sold_on)::date as month,
        date_trunc('month', min(e.sold_on) over (
            partition by e.instance_id, e.company_id, e.partner_id
        ))::date as cohort_month
    from {{ sale_events() }} as e
),

cohorts as (
    select
        instance_id,
        company_id,
        cohort_month,
        count(distinct partner_id) as cohort_customer_count,
        greatest(max(month), date_trunc('month', current_date)::date) as last_month
    from events
    group by 1, 2, 3
),

figures as (
    select
        instance_id,
        company_id,
        cohort_month,
        month,
        count(distinct partner_id) filter (where is_sale) as customer_count,
        count(distinct order_id) filter (where is_sale) as order_count,
        sum(gross - discount - returns) as net
    from events
    group by 1, 2, 3, 4
),

freshness as (
    {{ freshness_of([ref('odoo_sales'), ref('odoo_sale_lines'), ref('odoo_stock_moves')]) }}
)

select
    k.instance_id,
    k.company_id,
    c.name as company,
    k.cohort_month,
    m.month::date as month,
    ((extract(year from m.month) - extract(year from k.cohort_month)) * 12
        + extract(month from m.month) - extract(month from k.cohort_month))::integer as months_since_first,
    k.cohort_customer_count,
    coalesce(f.customer_count, 0) as customer_count,
    round(coalesce(f.customer_count, 0) / nullif(k.cohort_customer_count, 0)::numeric, 4) as retention,
    coalesce(f.order_count, 0) as order_count,
    y.name as currency,
    round(coalesce(f.net, 0), 2) as net_amount,
    s.data_as_of
from cohorts as k
cross join lateral generate_series(
    k.cohort_month::timestamp, k.last_month::timestamp, interval '1 month'
) as m (month)
left join figures as f
    on f.instance_id = k.instance_id
    and f.company_id = k.company_id
    and f.cohort_month = k.cohort_month
    and f.month = m.month::date
left join {{ ref('odoo_companies') }} as c on c.instance_id = k.instance_id and c.id = k.company_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = c.instance_id and y.id = c.currency_id
left join freshness as s on s.instance_id = k.instance_id
