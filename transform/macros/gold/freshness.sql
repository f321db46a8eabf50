-- SPDX-License-Identifier: Apache-2.0
{#- Rows (schema, view, source, stream): what each Gold view stands on, from dbt's own graph. -#}
{% macro gold_uses(inputs) -%}
    {%- set rows = [] -%}
    {%- set known = inputs | map('string') | list -%}
    {%- for view in (graph.nodes.values() if execute else []) if view.resource_type == 'model' and view.fqn[1] == 'gold' -%}
        {%- for table in view.depends_on.nodes if table in graph.nodes and view.name != this.identifier -%}
            {%- set silver = graph.nodes[table] -%}
            {%- if silver.relation_name not in known -%}
                {{ exceptions.raise_compiler_error(
                    'View ' ~ view.name ~ ' reads ' ~ silver.name ~ ", which gold_freshness does not know. Add ref('"
                    ~ silver.name ~ "') to its list."
                ) }}
            {%- endif -%}
            {%- for bronze in silver.depends_on.nodes if bronze in graph.sources -%}
                {%- set source = graph.sources[bronze] -%}
                {%- set stream = source.name[('raw_' ~ source.source_name ~ '_') | length:] -%}
                {%- do rows.append("('" ~ [view.schema, view.name, source.source_name, stream] | join("', '") ~ "')") -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    values {{ rows | unique | sort | join(',\n        ') if rows else "('', '', '', '')" }}
{%- endmacro %}

{#-
  Per instance and stream, the newest record of these Silver tables. A build that selects one source only, on a database
  where the others were never built, leaves those out; the build that makes them renews the view.
-#}
{% macro newest_records(inputs) -%}
    {%- for input in inputs if not execute or load_relation(input) is not none %}
    select instance_id, _source as source, _stream as stream, max(_emitted_at) as newest_record_at,
        max(_cursor collate "C") as newest_cursor
    from {{ input }}
    group by 1, 2, 3
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        null::text as instance_id, null::text as source, null::text as stream,
        null::timestamptz as newest_record_at, null::text as newest_cursor
    where false
    {%- endfor %}
{%- endmacro %}

{#- What the control plane knows of syncs; no rows where dbt runs on a database without one. -#}
{% macro sync_freshness() -%}
    {%- set known = run_query("select to_regprocedure('ipai_gold_core.sync_freshness()') is not null") if execute -%}
    {%- if known and known.columns[0].values()[0] -%}
    select * from ipai_gold_core.sync_freshness()
    {%- else -%}
    select
        null::text as instance_id, null::text as source_type, null::text as stream,
        null::timestamptz as last_success_at, null::timestamptz as read_from, null::text as sla_tier,
        null::interval as max_latency, null::timestamptz as late_since, null::boolean as is_late
    where false
    {%- endif -%}
{%- endmacro %}
