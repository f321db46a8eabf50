-- SPDX-License-Identifier: Apache-2.0
-- Each figure belongs to the week in which its event happened, so that past weeks stay as they were reported.
with pull_requests as (
    select * from {{ live(ref('github_pull_requests')) }} as p
),

first_reviews as (
    select p.instance_id, p.repository_id, p.number, min(r.submitted_at) as first_reviewed_at
    from pull_requests as p
    join {{ live(ref('github_reviews')) }} as r
        on r.instance_id = p.instance_id and r.repository_id = p.repository_id and r.pull_number = p.number
    where r.author_id is distinct from p.author_id
        and r.author_type is distinct from 'Bot'
        and r.submitted_at <= coalesce(p.merged_at, p.closed_at, 'infinity')
    group by p.instance_id, p.repository_id, p.number
),

events as (
    select
        p.instance_id,
        p.repository_id,
        p.repository,
        happened.event,
        happened.at,
        {{ week_of('happened.at') }} as week_start,
        extract(epoch from happened.at - p.created_at) / 3600 as hours,
        f.first_reviewed_at is null as is_unreviewed
    from pull_requests as p
    left join first_reviews as f
        on f.instance_id = p.instance_id and f.repository_id = p.repository_id and f.number = p.number
    cross join lateral (
        values
        ('opened', p.created_at),
        ('reviewed', f.first_reviewed_at),
        ('merged', p.merged_at),
        ('closed', case when p.merged_at is null then p.closed_at end)
    ) as happened (event, at)
    where happened.at is not null
),

freshness as (
    {{ freshness_of([ref('github_pull_requests'), ref('github_reviews')]) }}
)

select
    e.instance_id,
    e.repository_id,
    coalesce(max(r.full_name), (array_agg(e.repository order by e.at desc))[1]) as repository,
    e.week_start,
    count(*) filter (where e.event = 'opened') as opened_count,
    count(*) filter (where e.event = 'merged') as merged_count,
    count(*) filter (where e.event = 'closed') as closed_unmerged_count,
    count(*) filter (where e.event = 'reviewed') as first_review_count,
    count(*) filter (where e.event = 'merged' and e.is_unreviewed) as merged_unreviewed_count,
    {{ quantile(0.5, 'e.hours', "e.event = 'merged'") }} as cycle_hours_median,
    {{ quantile(0.9, 'e.hours', "e.event = 'merged'") }} as cycle_hours_p90,
    {{ quantile(0.5, 'e.hours', "e.event = 'reviewed'") }} as first_review_hours_median,
    {{ quantile(0.9, 'e.hours', "e.event = 'reviewed'") }} as first_review_hours_p90,
    max(f.data_as_of) as data_as_of
from events as e
left join {{ live(ref('github_repositories')) }} as r on r.instance_id = e.instance_id and r.id = e.repository_id
left join freshness as f on f.instance_id = e.instance_id
group by e.instance_id, e.repository_id, e.week_start
