-- SPDX-License-Identifier: Apache-2.0
with places as (
    select * from {{ ref('odoo_locations') }} where usage in ('internal', 'transit')
),

stock as (
    select
        q.instance_id,
        q.location_id,
        q.product_id,
        sum(q.quantity) as quantity,
        sum(q.reserved_quantity) as reserved,
        sum(q.quantity) filter (where q.owner_id is null) as owned,
        min(q.in_date) as oldest_in_at
    from {{ live(ref('odoo_inventory')) }} as q
    group by 1, 2, 3
),

-- Both ends of every line that was carried out.
moved as (
    select x.instance_id, x.location_id, x.product_id, sum(x.quantity) as quantity, max(x.moved_at) as last_moved_at
    from {{ live(ref('odoo_stock_move_lines')) }} as l
    cross join lateral (
        values
            (l.instance_id, l.location_id, l.product_id, -coalesce(l.quantity_product_uom, l.quantity), l.date),
            (l.instance_id, l.location_dest_id, l.product_id, coalesce(l.quantity_product_uom, l.quantity), l.date)
    ) as x (instance_id, location_id, product_id, quantity, moved_at)
    where l.state = 'done'
    group by 1, 2, 3
),

both_ways as (
    select
        coalesce(s.instance_id, m.instance_id) as instance_id,
        coalesce(s.location_id, m.location_id) as location_id,
        coalesce(s.product_id, m.product_id) as product_id,
        coalesce(s.quantity, 0) as quantity,
        coalesce(s.reserved, 0) as reserved,
        coalesce(s.owned, 0) as owned,
        s.oldest_in_at,
        coalesce(m.quantity, 0) as moved,
        m.last_moved_at
    from stock as s
    full join moved as m
        on m.instance_id = s.instance_id and m.location_id = s.location_id and m.product_id = s.product_id
),

freshness as (
    {{ freshness_of([ref('odoo_inventory'), ref('odoo_stock_move_lines')]) }}
)

select
    b.instance_id,
    l.company_id,
    c.name as company,
    l.warehouse_id as shop_id,
    w.name as shop,
    b.location_id,
    l.complete_name as location,
    b.product_id,
    p.default_code as product_code,
    t.name as product,
    g.complete_name as category,
    b.quantity as quantity_on_hand,
    b.reserved as quantity_reserved,
    b.quantity - b.reserved as quantity_available,
    b.moved as quantity_by_moves,
    y.name as currency,
    coalesce((p.standard_price_by_company ->> c.id::text)::numeric, p.standard_price) as unit_cost,
    round(b.owned * coalesce((p.standard_price_by_company ->> c.id::text)::numeric, p.standard_price), 2) as stock_value,
    b.oldest_in_at,
    b.last_moved_at,
    s.data_as_of
from both_ways as b
join places as l on l.instance_id = b.instance_id and l.id = b.location_id
left join {{ ref('odoo_companies') }} as c on c.instance_id = l.instance_id and c.id = l.company_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = c.instance_id and y.id = c.currency_id
left join {{ ref('odoo_warehouses') }} as w on w.instance_id = l.instance_id and w.id = l.warehouse_id
left join {{ ref('odoo_products') }} as p on p.instance_id = b.instance_id and p.id = b.product_id
left join {{ ref('odoo_product_templates') }} as t on t.instance_id = p.instance_id and t.id = p.product_tmpl_id
left join {{ ref('odoo_product_categories') }} as g on g.instance_id = t.instance_id and g.id = t.categ_id
left join freshness as s on s.instance_id = b.instance_id
where b.quantity <> 0 or b.reserved <> 0 or b.moved <> 0
