-- SPDX-License-Identifier: Apache-2.0
with figures as (
    select
        instance_id,
        company_id,
        shop_id,
        channel_id,
        product_id,
        sold_on,
        sum(gross) as gross,
        sum(discount) as discount,
        sum(returns) as returns,
        sum(tax) as tax,
        count(distinct order_id) filter (where is_sale) as order_count,
        sum(units) as units_sold,
        sum(units_returned) as units_returned
    from {{ sale_events() }} as e
    group by 1, 2, 3, 4, 5, 6
),

freshness as (
    {{ freshness_of([ref('odoo_sales'), ref('odoo_sale_lines'), ref('odoo_stock_moves')]) }}
)

select
    f.instance_id,
    f.company_id,
    h.company,
    f.shop_id,
    h.shop,
    f.channel_id,
    f.sold_on,
    f.product_id,
    p.default_code as product_code,
    t.name as product,
    g.complete_name as category,
    y.name as currency,
    round(f.gross, 2) as gross_amount,
    round(f.discount, 2) as discount_amount,
    round(f.returns, 2) as returns_amount,
    round(f.gross - f.discount - f.returns, 2) as net_amount,
    round(f.tax, 2) as tax_amount,
    f.order_count,
    f.units_sold,
    f.units_returned,
    f.units_sold - f.units_returned as units_net,
    s.data_as_of
from figures as f
join {{ shops() }} as h on h.instance_id = f.instance_id and h.company_id = f.company_id and h.shop_id = f.shop_id
left join {{ ref('odoo_products') }} as p on p.instance_id = f.instance_id and p.id = f.product_id
left join {{ ref('odoo_product_templates') }} as t on t.instance_id = p.instance_id and t.id = p.product_tmpl_id
left join {{ ref('odoo_product_categories') }} as g on g.instance_id = t.instance_id and g.id = t.categ_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = h.instance_id and y.id = h.currency_id
left join freshness as s on s.instance_id = f.instance_id
