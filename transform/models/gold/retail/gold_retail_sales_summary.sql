-- SPDX-License-Identifier: Apache-2.0
with events as (
    select * from {{ sale_events() }} as e
),

figures as (
    select
        instance_id,
        company_id,
        shop_id,
        channel_id,
        sold_on,
        sum(gross) as gross,
        sum(discount) as discount,
        sum(returns) as returns,
        sum(tax) as tax,
        count(distinct order_id) filter (where is_sale) as order_count,
        count(*) filter (where is_sale) as order_line_count,
        count(distinct partner_id) filter (where is_sale) as customer_count,
        sum(units) as units_sold,
        sum(units_returned) as units_returned
    from events
    group by 1, 2, 3, 4, 5
),

-- Days without sales come in as zeros: joined to a calendar, the planner would compare each day with each.
calendar as (
    select *
    from figures
    union all
    select
        instance_id, company_id, shop_id, channel_id,
        generate_series(
            min(sold_on)::timestamp, greatest(max(sold_on), current_date)::timestamp, interval '1 day'
        )::date,
        0, 0, 0, 0, 0, 0, 0, 0, 0
    from figures
    group by 1, 2, 3, 4
),

daily as (
    select
        instance_id,
        company_id,
        shop_id,
        channel_id,
        sold_on,
        sum(gross) as gross,
        sum(discount) as discount,
        sum(returns) as returns,
        sum(tax) as tax,
        max(order_count) as order_count,
        max(order_line_count) as order_line_count,
        max(customer_count) as customer_count,
        sum(units_sold) as units_sold,
        sum(units_returned) as units_returned
    from calendar
    group by 1, 2, 3, 4, 5
),

freshness as (
    {{ freshness_of([ref('odoo_sales'), ref('odoo_sale_lines'), ref('odoo_stock_moves')]) }}
)

select
    k.instance_id,
    k.company_id,
    h.company,
    k.shop_id,
    h.shop,
    k.channel_id,
    t.name as channel,
    k.sold_on,
    h.timezone,
    y.name as currency,
    round(k.gross, 2) as gross_amount,
    round(k.discount, 2) as discount_amount,
    round(k.returns, 2) as returns_amount,
    round(k.gross - k.discount - k.returns, 2) as net_amount,
    round(k.tax, 2) as tax_amount,
    k.order_count,
    k.order_line_count,
    round((k.gross - k.discount) / nullif(k.order_count, 0), 2) as average_order_amount,
    k.customer_count,
    k.units_sold,
    k.units_returned,
    k.units_sold - k.units_returned as units_net,
    s.data_as_of
from daily as k
join {{ shops() }} as h on h.instance_id = k.instance_id and h.company_id = k.company_id and h.shop_id = k.shop_id
left join {{ ref('odoo_sales_teams') }} as t on t.instance_id = k.instance_id and t.id = k.channel_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = h.instance_id and y.id = h.currency_id
left join freshness as s on s.instance_id = k.instance_id
