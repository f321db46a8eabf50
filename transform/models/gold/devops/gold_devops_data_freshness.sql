-- SPDX-License-Identifier: Apache-2.0
{%- set inputs = [
    ref('github_repositories'), ref('github_commits'), ref('github_pull_requests'), ref('github_reviews'),
    ref('github_issues'), ref('github_releases'), ref('github_stargazers'), ref('github_workflow_runs'),
    ref('github_workflow_jobs'),
] %}
{%- for input in inputs %}
select
    instance_id,
    _source as source,
    _stream as stream,
    count(*) filter (where _deleted_at is null) as row_count,
    count(*) filter (where _deleted_at is not null) as deleted_row_count,
    max(_cursor collate "C") as newest_cursor,
    max(_emitted_at) as data_as_of,
    max(_loaded_at) as loaded_at
from {{ input }}
group by instance_id, _source, _stream
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
