-- SPDX-License-Identifier: Apache-2.0
{#- No quant is lost or counted twice on the way to the view. -#}
{% test stock_equals_quants(model) %}
select instance_id, product_id, sum(seen) as seen, sum(held) as held
from (
    select instance_id, product_id, quantity_on_hand as seen, 0 as held
    from {{ model }}
    union all
    select q.instance_id, q.product_id, 0, q.quantity
    from {{ live(ref('odoo_inventory')) }} as q
    join {{ ref('odoo_locations') }} as l on l.instance_id = q.instance_id and l.id = q.location_id
    where l.usage in ('internal', 'transit')
) as both_ways
group by instance_id, product_id
having sum(seen) <> sum(held)
{% endtest %}
