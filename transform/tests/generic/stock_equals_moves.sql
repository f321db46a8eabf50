-- SPDX-License-Identifier: Apache-2.0
{#-
  Stock on hand is what all movements add up to. Quants and movements are two streams that are read one after the other:
  a difference that the next sync does not mend means that movements are missing.
-#}
{% test stock_equals_moves(model) %}
select instance_id, location, product, quantity_on_hand, quantity_by_moves
from {{ model }}
where quantity_on_hand <> quantity_by_moves
{% endtest %}
