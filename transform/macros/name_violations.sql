-- SPDX-License-Identifier: Apache-2.0
{#- Models of this project whose name or schema breaks the naming rules, with the rule. -#}
{% macro name_violations() -%}
    {%- set domains = ['core', 'marketing', 'devops', 'erp'] -%}
    {#- Subjects of Gold, by the domain whose schema holds them. -#}
    {%- set subjects = {
        'core': 'core', 'marketing': 'marketing', 'devops': 'devops', 'erp': 'erp', 'finance': 'erp', 'retail': 'erp'
    } -%}
    {%- set found = [] -%}
    {%- set models = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') if execute else [] -%}
    {%- for node in models if node.package_name == 'ipai' -%}
        {%- set layer = node.fqn[1] -%}
        {%- if layer == 'silver' -%}
            {%- set name = '^' ~ node.fqn[2] ~ '_[a-z0-9]+(_[a-z0-9]+)*$' -%}
            {%- set schema = '^ipai_silver_(' ~ domains | join('|') ~ ')$' -%}
        {%- else -%}
            {#- gold_freshness tells about all of Gold and belongs to no subject. -#}
            {%- set name = '^(gold_freshness|gold_' ~ node.fqn[2] ~ '_[a-z0-9]+(_[a-z0-9]+)*)$' -%}
            {%- set schema = '^ipai_gold_' ~ subjects.get(node.fqn[2]) ~ '$' -%}
        {%- endif -%}
        {%- if layer not in ('silver', 'gold') -%}
            {%- do found.append({'name': node.name, 'rule': 'lies in models/silver or models/gold'}) -%}
        {%- elif layer == 'gold' and node.fqn[2] not in subjects -%}
            {%- do found.append({'name': node.name, 'rule': 'subject is one of ' ~ subjects | join(', ')}) -%}
        {%- elif not modules.re.match(name, node.alias) -%}
            {%- do found.append({'name': node.name, 'rule': 'name matches ' ~ name}) -%}
        {%- elif not modules.re.match(schema, node.schema) -%}
            {%- do found.append({'name': node.name, 'rule': 'schema ' ~ node.schema ~ ' matches ' ~ schema}) -%}
        {%- elif node.alias | length > 63 -%}
            {%- do found.append({'name': node.name, 'rule': 'name has at most 63 bytes'}) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
