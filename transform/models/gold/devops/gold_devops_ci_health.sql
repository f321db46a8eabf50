-- SPDX-License-Identifier: Apache-2.0
-- A run is one row in Silver, at its latest attempt; what became of earlier attempts is known from their jobs.
with jobs as (
    select
        instance_id,
        repository_id,
        run_id,
        coalesce(run_attempt, 1) as run_attempt,
        max(completed_at) as completed_at,
        bool_or(conclusion in ('failure', 'timed_out')) as has_failed
    from {{ live(ref('github_workflow_jobs')) }} as j
    group by instance_id, repository_id, run_id, coalesce(run_attempt, 1)
),

runs as (
    select
        r.instance_id,
        r.repository_id,
        r.repository,
        r.workflow_id,
        r.name,
        r.id as run_id,
        r.head_sha,
        r.created_at,
        {{ week_of('r.created_at') }} as week_start,
        coalesce(r.run_attempt, 1) as run_attempt,
        case when r.run_attempt > 1 then coalesce(r.run_started_at, r.updated_at) else r.created_at end as attempted_at,
        case
            when r.conclusion = 'success' then 'success'
            when r.conclusion in ('failure', 'timed_out', 'startup_failure') then 'failure'
        end as outcome,
        -- updated_at moves when somebody touches the run later, so the last job's end is the better one.
        extract(
            epoch from coalesce(j.completed_at, r.updated_at) - coalesce(r.run_started_at, r.created_at)
        ) / 60 as minutes
    from {{ live(ref('github_workflow_runs')) }} as r
    left join jobs as j
        on j.instance_id = r.instance_id and j.repository_id = r.repository_id
        and j.run_id = r.id and j.run_attempt = coalesce(r.run_attempt, 1)
),

earlier_failures as (
    select r.*
    from runs as r
    where r.run_attempt > 1
        and (
            exists (
                select from jobs as j
                where j.instance_id = r.instance_id and j.repository_id = r.repository_id
                    and j.run_id = r.run_id and j.run_attempt < r.run_attempt and j.has_failed
            )
            -- Nobody re-runs what succeeded: without the jobs of earlier attempts, take it that one failed.
            or not exists (
                select from jobs as j
                where j.instance_id = r.instance_id and j.repository_id = r.repository_id
                    and j.run_id = r.run_id and j.run_attempt < r.run_attempt
            )
        )
),

attempts as (
    select instance_id, repository_id, workflow_id, head_sha, created_at, attempted_at, outcome
    from runs
    where outcome is not null
    union all
    select instance_id, repository_id, workflow_id, head_sha, created_at, created_at, 'failure'
    from earlier_failures
),

tested_commits as (
    select
        instance_id,
        repository_id,
        workflow_id,
        {{ week_of('min(created_at)') }} as week_start,
        coalesce(
            min(attempted_at) filter (where outcome = 'failure')
            < max(attempted_at) filter (where outcome = 'success'),
            false
        ) as is_flaky
    from attempts
    group by instance_id, repository_id, workflow_id, head_sha
),

flakiness as (
    select
        instance_id,
        repository_id,
        workflow_id,
        week_start,
        count(*) as tested_commit_count,
        count(*) filter (where is_flaky) as flaky_commit_count
    from tested_commits
    group by instance_id, repository_id, workflow_id, week_start
),

weeks as (
    select
        instance_id,
        repository_id,
        workflow_id,
        week_start,
        (array_agg(repository order by created_at desc))[1] as repository,
        (array_agg(name order by created_at desc))[1] as workflow,
        count(*) as run_count,
        count(*) filter (where outcome = 'success') as success_count,
        count(*) filter (where outcome = 'failure') as failure_count,
        count(*) filter (where run_attempt > 1) as rerun_count,
        {{ quantile(0.5, 'minutes', 'outcome is not null') }} as duration_minutes_p50,
        {{ quantile(0.95, 'minutes', 'outcome is not null') }} as duration_minutes_p95
    from runs
    group by instance_id, repository_id, workflow_id, week_start
),

freshness as (
    {{ freshness_of([ref('github_workflow_runs'), ref('github_workflow_jobs')]) }}
)

select
    w.instance_id,
    w.repository_id,
    coalesce(r.full_name, w.repository) as repository,
    w.workflow_id,
    w.workflow,
    w.week_start,
    w.run_count,
    w.success_count,
    w.failure_count,
    w.run_count - w.success_count - w.failure_count as undecided_count,
    round(w.success_count::numeric / nullif(w.success_count + w.failure_count, 0), 4) as success_rate,
    w.duration_minutes_p50,
    w.duration_minutes_p95,
    w.rerun_count,
    coalesce(k.tested_commit_count, 0) as tested_commit_count,
    coalesce(k.flaky_commit_count, 0) as flaky_commit_count,
    round(k.flaky_commit_count::numeric / nullif(k.tested_commit_count, 0), 4) as flaky_rate,
    f.data_as_of
from weeks as w
left join flakiness as k
    on k.instance_id = w.instance_id and k.repository_id = w.repository_id
    and k.workflow_id = w.workflow_id and k.week_start = w.week_start
left join {{ live(ref('github_repositories')) }} as r on r.instance_id = w.instance_id and r.id = w.repository_id
left join freshness as f on f.instance_id = w.instance_id
