-- SPDX-License-Identifier: Apache-2.0
with tasks as (
    select
        t.*,
        case
            when t.state = '1_done' then 'done'
            when t.state = '1_canceled' then 'cancelled'
            when t.state is null and g.fold then 'done'
            else 'open'
        end as standing
    from {{ live(ref('odoo_tasks')) }} as t
    left join {{ ref('odoo_task_stages') }} as g on g.instance_id = t.instance_id and g.id = t.stage_id
    where t.active
),

task_figures as (
    select
        instance_id,
        project_id,
        count(*) as task_count,
        count(*) filter (where standing = 'open') as open_task_count,
        count(*) filter (where standing = 'done') as done_task_count,
        count(*) filter (where standing = 'cancelled') as cancelled_task_count,
        count(*) filter (where standing = 'open' and date_deadline < now()) as overdue_task_count,
        coalesce(sum(allocated_hours) filter (where standing <> 'cancelled'), 0) as allocated_hours
    from tasks
    group by 1, 2
),

hours as (
    select instance_id, project_id, sum(unit_amount) as logged_hours
    from {{ live(ref('odoo_analytic_lines')) }} as l
    where project_id is not null
    group by 1, 2
),

money as (
    select
        instance_id,
        account_id,
        sum(greatest(amount, 0)) as revenue,
        sum(-least(amount, 0)) as cost
    from {{ live(ref('odoo_analytic_lines')) }} as l
    where account_id is not null
    group by 1, 2
),

freshness as (
    {{ freshness_of([ref('odoo_projects'), ref('odoo_tasks'), ref('odoo_analytic_lines')]) }}
)

select
    p.instance_id,
    p.company_id,
    c.name as company,
    p.id as project_id,
    p.name as project,
    p.active as is_active,
    p.partner_id,
    coalesce(r.complete_name, r.name) as partner,
    g.name as stage,
    p.last_update_status as status,
    p.date_start as starts_on,
    p.date as ends_on,
    p.account_id as analytic_account_id,
    coalesce(t.task_count, 0) as task_count,
    coalesce(t.open_task_count, 0) as open_task_count,
    coalesce(t.done_task_count, 0) as done_task_count,
    coalesce(t.cancelled_task_count, 0) as cancelled_task_count,
    coalesce(t.overdue_task_count, 0) as overdue_task_count,
    round(t.done_task_count / nullif(t.task_count - t.cancelled_task_count, 0)::numeric, 4) as progress,
    coalesce(t.allocated_hours, 0) as allocated_hours,
    coalesce(h.logged_hours, 0) as logged_hours,
    y.name as currency,
    coalesce(m.revenue, 0) as revenue,
    coalesce(m.cost, 0) as cost,
    coalesce(m.revenue - m.cost, 0) as margin,
    s.data_as_of
from {{ live(ref('odoo_projects')) }} as p
left join {{ ref('odoo_companies') }} as c on c.instance_id = p.instance_id and c.id = p.company_id
left join {{ ref('odoo_currencies') }} as y on y.instance_id = c.instance_id and y.id = c.currency_id
left join {{ ref('odoo_partners') }} as r on r.instance_id = p.instance_id and r.id = p.partner_id
left join {{ ref('odoo_project_stages') }} as g on g.instance_id = p.instance_id and g.id = p.stage_id
left join task_figures as t on t.instance_id = p.instance_id and t.project_id = p.id
left join hours as h on h.instance_id = p.instance_id and h.project_id = p.id
left join money as m on m.instance_id = p.instance_id and m.account_id = p.account_id
left join freshness as s on s.instance_id = p.instance_id
