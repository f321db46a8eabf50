-- SPDX-License-Identifier: Apache-2.0
-- What was sold by price, quantity and discount, and the two units that more_entries.sql has brought back.
select o.company_id, o.partner_id, o.id as order_id, l.product_id,
    (o.date_order at time zone 'UTC' at time zone coalesce(p.tz, cp.tz, 'UTC'))::date as day,
    l.price_unit * l.product_uom_qty as gross,
    l.price_unit * l.product_uom_qty * l.discount / 100 as discount,
    0 as returned, l.product_uom_qty as units, 0 as units_back
from sale_order as o
join sale_order_line as l on l.order_id = o.id and l.display_type is null
join res_company as c on c.id = o.company_id
join res_partner as cp on cp.id = c.partner_id
left join stock_warehouse as w on w.id = o.warehouse_id
left join res_partner as p on p.id = w.partner_id
where o.state in ('sale', 'done')
union all
select 1, 11, null, 32, '2026-11-18', 0, 0, 2 * 295.00, 0, 2
