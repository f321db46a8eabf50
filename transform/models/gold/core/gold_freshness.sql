-- SPDX-License-Identifier: Apache-2.0
{#- Every Silver table that a Gold view stands on; gold_uses() refuses to go on when one is missing here. -#}
{%- set inputs = [
    ref('github_commits'), ref('github_issues'), ref('github_pull_requests'), ref('github_releases'),
    ref('github_repositories'), ref('github_reviews'), ref('github_stargazers'), ref('github_workflow_jobs'),
    ref('github_workflow_runs'), ref('odoo_accounts'), ref('odoo_analytic_lines'), ref('odoo_companies'),
    ref('odoo_currencies'), ref('odoo_currency_rates'), ref('odoo_inventory'), ref('odoo_journal_entries'),
    ref('odoo_journal_items'), ref('odoo_journals'), ref('odoo_locations'), ref('odoo_partial_reconciles'),
    ref('odoo_partners'), ref('odoo_payments'), ref('odoo_product_categories'), ref('odoo_product_templates'), ref('odoo_products'),
    ref('odoo_project_stages'), ref('odoo_projects'), ref('odoo_sale_lines'), ref('odoo_sales'),
    ref('odoo_sales_teams'), ref('odoo_stock_move_lines'), ref('odoo_stock_moves'), ref('odoo_task_stages'),
    ref('odoo_tasks'), ref('odoo_units'), ref('odoo_warehouses'),
] %}
with uses (gold_schema, gold_view, source, stream) as (
    {{ gold_uses(inputs) }}
),

records as (
    {{ newest_records(inputs) }}
),

syncs as (
    {{ sync_freshness() }}
),

delivered as (
    select
        coalesce(r.instance_id, s.instance_id) as instance_id,
        coalesce(r.source, s.source_type) as source,
        coalesce(r.stream, s.stream) as stream,
        s.last_success_at,
        s.read_from,
        r.newest_record_at,
        r.newest_cursor,
        s.sla_tier,
        s.max_latency,
        s.late_since,
        s.is_late
    from records as r
    full join syncs as s on s.instance_id = r.instance_id and s.source_type = r.source and s.stream = r.stream
)

select
    u.gold_schema,
    u.gold_view,
    d.instance_id,
    u.source,
    u.stream,
    d.last_success_at,
    d.read_from as data_as_of,
    d.newest_record_at,
    d.newest_cursor,
    d.sla_tier,
    d.max_latency,
    d.late_since,
    d.is_late
from uses as u
left join delivered as d on d.source = u.source and d.stream = u.stream
