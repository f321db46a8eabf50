-- SPDX-License-Identifier: Apache-2.0
{#-
  Lets the analysts' role read a Gold view, where the role exists.

  A security_invoker view also asks for SELECT on the Silver tables under it. They are granted without USAGE on their
  schema: the role reads them through Gold and cannot name them, and Bronze stays closed.
-#}
{% macro grant_gold(role) -%}
    {%- if execute %}
do $grants$
begin
    if exists (select from pg_roles where rolname = '{{ role }}') then
        -- Views that are built at the same time share Silver tables, and grants do not wait for each other.
        perform pg_advisory_xact_lock(hashtext('ipai.grant_gold'));
        if not has_schema_privilege('{{ role }}', '{{ this.schema }}', 'usage') then
            grant usage on schema {{ this.schema }} to {{ role }};
        end if;
        grant select on {{ this }} to {{ role }};
        {%- for unique_id in model.depends_on.nodes if unique_id in graph.nodes %}
        {%- set input = graph.nodes[unique_id].relation_name %}
        if to_regclass('{{ input }}') is not null then
            grant select on {{ input }} to {{ role }};
        end if;
        {%- endfor %}
    end if;
end
$grants$
    {%- endif %}
{%- endmacro %}
