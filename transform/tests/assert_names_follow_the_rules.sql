-- SPDX-License-Identifier: Apache-2.0
-- Every model is ipai_silver_<domain>.<source>_<entity> or ipai_gold_<domain>.gold_<domain>_<entity>, the domain being
-- one of a closed list. Reads dbt's manifest, not the database.
{% set violations = name_violations() %}
{% for violation in violations -%}
select '{{ violation.name }}' as model, '{{ violation.rule }}' as rule
{% if not loop.last %}union all{% endif %}
{% else -%}
select null::text as model, null::text as rule where false
{% endfor %}
