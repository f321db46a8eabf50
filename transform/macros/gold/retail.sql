-- SPDX-License-Identifier: Apache-2.0
{#- The shop of an order is its warehouse, which has an address and with it a time zone; 0 where orders have none. -#}
{% macro shops() -%}
    (
        select
            o.instance_id,
            o.company_id,
            c.name as company,
            c.currency_id,
            o.shop_id,
            coalesce(w.name, c.name) as shop,
            coalesce(wp.tz, cp.tz, '{{ var("shop_timezone") }}') as timezone
        from (
            select distinct instance_id, company_id, coalesce(warehouse_id, 0) as shop_id
            from {{ ref('odoo_sales') }}
        ) as o
        left join {{ ref('odoo_companies') }} as c on c.instance_id = o.instance_id and c.id = o.company_id
        left join {{ ref('odoo_warehouses') }} as w on w.instance_id = o.instance_id and w.id = o.shop_id
        left join {{ ref('odoo_partners') }} as wp on wp.instance_id = w.instance_id and wp.id = w.partner_id
        left join {{ ref('odoo_partners') }} as cp on cp.instance_id = c.instance_id and cp.id = c.partner_id
    )
{%- endmacro %}

{#-
  Lines of confirmed orders and the goods that came back, one row each, in the company's currency.

  Quotations, cancelled orders, sections and down payments do not count. A return is a done movement from a customer
  that an order line is behind; it is worth the line's price and counts on the day it came in. What the order line says
  with a negative quantity is a return as well.
-#}
{% macro sale_events() -%}
    (
        with sold as (
            select
                o.instance_id,
                o.company_id,
                coalesce(o.warehouse_id, 0) as shop_id,
                coalesce(o.team_id, 0) as channel_id,
                o.id as order_id,
                o.partner_id,
                o.date_order,
                l.id as line_id,
                coalesce(l.product_id, 0) as product_id,
                round(l.product_uom_qty * {{ units_per('l.product_uom', 't.uom_id') }}, 6) as units,
                l.price_subtotal / {{ order_rate() }} as net,
                case
                    when l.discount = 100 then l.price_unit * l.product_uom_qty
                    else l.price_subtotal / (1 - coalesce(l.discount, 0) / 100)
                end / {{ order_rate() }} as gross,
                (l.price_total - l.price_subtotal) / {{ order_rate() }} as tax
            from {{ live(ref('odoo_sale_lines')) }} as l
            join {{ live(ref('odoo_sales')) }} as o on o.instance_id = l.instance_id and o.id = l.order_id
            left join {{ ref('odoo_products') }} as p on p.instance_id = l.instance_id and p.id = l.product_id
            left join {{ ref('odoo_product_templates') }} as t on t.instance_id = p.instance_id and t.id = p.product_tmpl_id
            left join {{ ref('odoo_units') }} as lu on lu.instance_id = l.instance_id and lu.id = l.product_uom
            left join {{ ref('odoo_units') }} as pu on pu.instance_id = t.instance_id and pu.id = t.uom_id
            where o.state in ('sale', 'done') and l.display_type is null and not coalesce(l.is_downpayment, false)
        )

        select
            s.instance_id, s.company_id, s.shop_id, s.channel_id, s.order_id, s.partner_id, s.product_id,
            (s.date_order at time zone h.timezone)::date as sold_on,
            case when s.units < 0 then 0 else s.gross end as gross,
            case when s.units < 0 then 0 else s.gross - s.net end as discount,
            case when s.units < 0 then -s.net else 0 end as returns,
            case when s.units < 0 then 0 else s.tax end as tax,
            greatest(s.units, 0) as units,
            greatest(-s.units, 0) as units_returned,
            s.units >= 0 as is_sale
        from sold as s
        join {{ shops() }} as h
            on h.instance_id = s.instance_id and h.company_id = s.company_id and h.shop_id = s.shop_id
        union all
        select
            s.instance_id, s.company_id, s.shop_id, s.channel_id, s.order_id, s.partner_id, s.product_id,
            (m.date at time zone h.timezone)::date,
            0,
            0,
            s.net * m.units / s.units,
            0,
            0,
            m.units,
            false
        from (
            -- What came, in the product's unit, where it is not what was expected.
            select *, coalesce(product_qty * quantity / nullif(product_uom_qty, 0), product_qty) as units
            from {{ live(ref('odoo_stock_moves')) }} as all_moves
            where state = 'done'
        ) as m
        join {{ ref('odoo_locations') }} as f on f.instance_id = m.instance_id and f.id = m.location_id
        join {{ ref('odoo_locations') }} as d on d.instance_id = m.instance_id and d.id = m.location_dest_id
        join sold as s on s.instance_id = m.instance_id and s.line_id = m.sale_line_id
        join {{ shops() }} as h
            on h.instance_id = s.instance_id and h.company_id = s.company_id and h.shop_id = s.shop_id
        where f.usage = 'customer' and d.usage <> 'customer' and s.units > 0
    )
{%- endmacro %}

{#- Odoo notes on the order how many units of its currency one of the company's was worth. -#}
{% macro order_rate() -%}
    coalesce(nullif(o.currency_rate, 0), 1)
{%- endmacro %}

{#- Units of the product in one unit of the line: a dozen is 12. Up to version 18 the factor counts units per reference. -#}
{% macro units_per(line_unit, product_unit) -%}
    case
        when {{ line_unit }} = {{ product_unit }} or lu.factor is null or pu.factor is null or lu.factor = 0 or pu.factor = 0
            then 1
        when lu.uom_type is null then lu.factor / pu.factor
        else pu.factor / lu.factor
    end
{%- endmacro %}
