-- SPDX-License-Identifier: Apache-2.0
{#- Rows of a Silver table that still exist at the source. -#}
{% macro live(model) -%}
    (select * from {{ model }} where _deleted_at is null)
{%- endmacro %}

{#- Monday of the UTC week. -#}
{% macro week_of(moment) -%}
    date_trunc('week', {{ moment }} at time zone 'UTC')::date
{%- endmacro %}

{#- Per instance, when the newest row of these Silver tables was read at the source; deletions count as news. -#}
{% macro freshness_of(models) -%}
    select instance_id, max(_emitted_at) as data_as_of
    from (
        {%- for model in models %}
        select instance_id, max(_emitted_at) as _emitted_at from {{ model }} group by instance_id
        {%- if not loop.last %} union all{% endif %}
        {%- endfor %}
    ) as silver
    group by instance_id
{%- endmacro %}

{#- A quantile of those rows that meet the condition, rounded to two places. -#}
{% macro quantile(share, value, condition) -%}
    round((percentile_cont({{ share }}) within group (order by {{ value }}) filter (where {{ condition }}))::numeric, 2)
{%- endmacro %}

{#- A figure, or null where the instance (alias d) never delivered the stream it comes from. -#}
{% macro where_delivered(stream, figure) -%}
    case when '{{ stream }}' = any(d.streams) then {{ figure }} end
{%- endmacro %}
