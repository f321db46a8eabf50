-- SPDX-License-Identifier: Apache-2.0
{#- Values lie between the bounds, both included; null is no value. -#}
{% test within_range(model, column_name, least=none, most=none) %}
select {{ adapter.quote(column_name) }}
from {{ model }}
where false
    {%- if least is not none %}
    or {{ adapter.quote(column_name) }} < {{ least }}
    {%- endif %}
    {%- if most is not none %}
    or {{ adapter.quote(column_name) }} > {{ most }}
    {%- endif %}
{% endtest %}
