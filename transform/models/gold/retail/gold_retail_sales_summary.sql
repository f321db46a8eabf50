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
        count(distinct partner_id) filter (where is_sale) as customer_count,
        sum(units) as units_sold,
        sum(units_returned) as units_returned
    from events
    group by 1, 2, 3, 4, 5
),

calendar as (
    select
        instance_id, company_id, shop_id, channel_id,
        generate_series(
            min(sold_on)::timestamp, greatest(max(sold_on), current_date)::timestamp, interval '1 day'
        )::date as sold_on
    from figures
    group by 1, 2, 3, 4
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
    round(coalesce(f.gross, 0), 2) as gross_amount,
    round(coalesce(f.discount, 0), 2) as discount_amount,
    round(coalesce(f.returns, 0), 2) as returns_amount,
    round(coalesce(f.gross - f.discount - f.returns, 0), 2) as net_amount,
    round(coalesce(f.tax, 0), 2) as tax_amount,
    coalesce(f.order_count, 0) as order_count,
    round((f.gross - f.discount) / nullif(f.order_count, 0), 2) as average_order_amount,
    coalesce(f.customer_count, 0) as customer_count,
    coalesce(f.units_sold, 0) as units_sold,
    coalesce(f.units_returned, 0) as units_returned,
    s.data_as_of
from calendar as k
join {{ shops() }} as h on h.instance_id = k.instance_id and h.company_id = k.company_id and h.shop_id = k.shop_id
left join figures as f
    on f.instance_id = k.instance_id
    and f.company_id = k.company_id
    and f.shop_id = k.shop_id
    and f.channel_id = k.channel_id
    and f.sold_on = k.sold_on
left join {{ ref('odoo_sales_teams') }} as t on t.instance_id = k.instance_id and t.id = k.channel_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = h.instance_id and y.id = h.currency_id
left join freshness as s on s.instance_id = k.instance_id
