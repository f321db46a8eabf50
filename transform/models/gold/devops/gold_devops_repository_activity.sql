-- SPDX-License-Identifier: Apache-2.0
-- Unknown is not zero: what an instance never delivered (a stream not selected, a missing scope) stays null.
{%- set inputs = ['github_commits', 'github_pull_requests', 'github_issues', 'github_releases', 'github_stargazers'] %}
with events as (
    select
        instance_id, repository_id, repository, committed_at as at, 'commits' as stream, 'commit' as event,
        coalesce(author_login, lower(author_email), author_name) as person
    from {{ live(ref('github_commits')) }} as c
    union all
    select p.instance_id, p.repository_id, p.repository, happened.at, 'pull_requests', happened.event, null
    from {{ live(ref('github_pull_requests')) }} as p
    cross join lateral (
        values ('pull_request_opened', p.created_at), ('pull_request_merged', p.merged_at)
    ) as happened (event, at)
    union all
    select i.instance_id, i.repository_id, i.repository, happened.at, 'issues', happened.event, null
    from {{ live(ref('github_issues')) }} as i
    cross join lateral (values ('issue_opened', i.created_at), ('issue_closed', i.closed_at)) as happened (event, at)
    where i.is_pull_request is not true
    union all
    select instance_id, repository_id, repository, published_at, 'releases', 'release', null
    from {{ live(ref('github_releases')) }} as r
    where draft is not true
    union all
    select instance_id, repository_id, repository, starred_at, 'stargazers', 'star', null
    from {{ live(ref('github_stargazers')) }} as s
),

-- Which streams an instance has delivered at all.
delivered as (
    select instance_id, array_agg(stream) as streams
    from (
        {%- for name in inputs %}
        select distinct instance_id, '{{ name | replace('github_', '', 1) }}' as stream from {{ ref(name) }}
        {%- if not loop.last %} union all{% endif %}
        {%- endfor %}
    ) as silver
    group by instance_id
),

weeks as (
    select
        instance_id,
        repository_id,
        {{ week_of('at') }} as week_start,
        (array_agg(repository order by at desc))[1] as repository,
        count(*) filter (where event = 'commit') as commit_count,
        count(distinct person) filter (where event = 'commit') as contributor_count,
        count(*) filter (where event = 'pull_request_opened') as pull_requests_opened_count,
        count(*) filter (where event = 'pull_request_merged') as pull_requests_merged_count,
        count(*) filter (where event = 'issue_opened') as issues_opened_count,
        count(*) filter (where event = 'issue_closed') as issues_closed_count,
        count(*) filter (where event = 'release') as release_count,
        count(*) filter (where event = 'star') as star_count
    from events
    where at is not null
    group by instance_id, repository_id, {{ week_of('at') }}
),

freshness as (
    {{ freshness_of([
        ref('github_commits'), ref('github_pull_requests'), ref('github_issues'), ref('github_releases'),
        ref('github_stargazers'),
    ]) }}
)

select
    w.instance_id,
    w.repository_id,
    coalesce(r.full_name, w.repository) as repository,
    w.week_start,
    {{ where_delivered('commits', 'w.commit_count') }} as commit_count,
    {{ where_delivered('commits', 'w.contributor_count') }} as contributor_count,
    {{ where_delivered('pull_requests', 'w.pull_requests_opened_count') }} as pull_requests_opened_count,
    {{ where_delivered('pull_requests', 'w.pull_requests_merged_count') }} as pull_requests_merged_count,
    {{ where_delivered('issues', 'w.issues_opened_count') }} as issues_opened_count,
    {{ where_delivered('issues', 'w.issues_closed_count') }} as issues_closed_count,
    {{ where_delivered('releases', 'w.release_count') }} as release_count,
    {{ where_delivered('stargazers', 'w.star_count') }} as star_count,
    {{ where_delivered('stargazers', 'sum(w.star_count) over (
        partition by w.instance_id, w.repository_id order by w.week_start
    )::bigint') }} as star_total,
    f.data_as_of
from weeks as w
join delivered as d on d.instance_id = w.instance_id
left join {{ live(ref('github_repositories')) }} as r on r.instance_id = w.instance_id and r.id = w.repository_id
left join freshness as f on f.instance_id = w.instance_id
