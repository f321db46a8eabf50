# SPDX-License-Identifier: Apache-2.0
"""How GitHub's API tells about issues, pull requests, runs and deployments."""

from __future__ import annotations

from typing import Any

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import (
    Comment,
    Commit,
    Deployment,
    DeploymentStatus,
    Issue,
    IssueEvent,
    Job,
    Label,
    Milestone,
    Pull,
    Repository,
    Review,
    ReviewComment,
    Run,
    Workflow,
)
from tap_github.sandbox.shapes import (
    WEB,
    Json,
    account,
    account_or_none,
    embedded_repository,
    mentioned_repository,
    node_id,
    repository_url,
    zulu_or_none,
)

_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
RUNNER_IMAGE = "ubuntu-latest"
APP_CREATED = "2018-07-30T09:30:17Z"


def label(repository: Repository, one: Label) -> Json:
    """A label."""
    return {
        "id": one.id,
        "node_id": node_id("LA", one.id),
        "url": f"{repository_url(repository)}/labels/{one.name.replace(' ', '%20')}",
        "name": one.name,
        "color": one.color,
        "default": one.default,
        "description": one.description,
    }


def milestone(repository: Repository, one: Milestone) -> Json:
    """A milestone."""
    url = f"{repository_url(repository)}/milestones/{one.number}"
    return {
        "url": url,
        "html_url": f"{WEB}/{repository.full_name}/milestone/{one.number}",
        "labels_url": f"{url}/labels",
        "id": one.id,
        "node_id": node_id("MI", one.id),
        "number": one.number,
        "title": one.title,
        "description": f"All for {one.title}.",
        "creator": account(one.creator),
        "open_issues": one.number,
        "closed_issues": 2 * one.number,
        "state": "closed" if one.closed_at else "open",
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "due_on": zulu(one.due_on),
        "closed_at": zulu_or_none(one.closed_at),
    }


def _reactions(url: str) -> Json:
    return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(_REACTIONS, 0)}


def _conversation(repository: Repository, one: Issue) -> Json:
    """What an issue and a pull request have in common."""
    return {
        "number": one.number,
        "title": one.title,
        "user": account(one.author),
        "labels": [label(repository, each) for each in one.labels],
        "state": "closed" if one.closed_at else "open",
        "locked": False,
        "assignee": account_or_none(one.assignees[0] if one.assignees else None),
        "assignees": [account(each) for each in one.assignees],
        "milestone": milestone(repository, one.milestone) if one.milestone else None,
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "closed_at": zulu_or_none(one.closed_at),
        "author_association": "MEMBER",
        "active_lock_reason": None,
        "body": f"We should {one.title.lower()}.\n\nWhy: it is \u201cneeded\u201d.",
    }


def issue(repository: Repository, one: Issue) -> Json:
    """An issue, or a pull request as the list of issues shows it."""
    url, web = repository_url(repository), f"{WEB}/{repository.full_name}"
    own = f"{url}/issues/{one.number}"
    shape = {
        "url": own,
        "repository_url": url,
        "labels_url": f"{own}/labels{{/name}}",
        "comments_url": f"{own}/comments",
        "events_url": f"{own}/events",
        "html_url": f"{web}/{'pull' if one.pull else 'issues'}/{one.number}",
        "id": one.id,
        "node_id": node_id("I", one.id),
        **_conversation(repository, one),
        "comments": one.comment_count,
        "closed_by": account_or_none(one.closed_by),
        "reactions": _reactions(own),
        "type": None,
        "sub_issues_summary": {"total": 0, "completed": 0, "percent_completed": 0},
        "timeline_url": f"{own}/timeline",
        "performed_via_github_app": None,
        "state_reason": "completed" if one.closed_at and not one.pull else None,
    }
    if one.pull:
        shape["draft"] = one.pull.draft
        shape["pull_request"] = {
            "url": f"{url}/pulls/{one.number}",
            "html_url": f"{web}/pull/{one.number}",
            "diff_url": f"{web}/pull/{one.number}.diff",
            "patch_url": f"{web}/pull/{one.number}.patch",
            "merged_at": zulu_or_none(one.pull.merged_at),
        }
    return shape


def pull_request(repository: Repository, one: Issue, pull: Pull) -> Json:
    """A pull request in the list of pull requests."""
    url, web = repository_url(repository), f"{WEB}/{repository.full_name}/pull/{one.number}"
    own, talk = f"{url}/pulls/{one.number}", f"{url}/issues/{one.number}"
    sha = pull.commits[-1].sha
    links = {
        "self": own,
        "html": web,
        "issue": talk,
        "comments": f"{talk}/comments",
        "review_comments": f"{own}/comments",
        "review_comment": f"{url}/pulls/comments{{/number}}",
        "commits": f"{own}/commits",
        "statuses": f"{url}/statuses/{sha}",
    }
    return {
        "url": own,
        "id": pull.id,
        "node_id": node_id("PR", pull.id),
        "html_url": web,
        "diff_url": f"{web}.diff",
        "patch_url": f"{web}.patch",
        "issue_url": talk,
        **_conversation(repository, one),
        "merged_at": zulu_or_none(pull.merged_at),
        "merge_commit_sha": pull.merge_sha,
        "requested_reviewers": [account(each) for each in pull.reviewers],
        "requested_teams": [],
        "draft": pull.draft,
        **{f"{name}_url": links[name] for name in _PULL_LINKS},
        "head": _end(repository, one, pull.branch, sha),
        "base": _end(repository, one, "main", pull.base_sha),
        "_links": {name: {"href": link} for name, link in links.items()},
        "auto_merge": None,
    }


_PULL_LINKS = ("commits", "review_comments", "review_comment", "comments", "statuses")


def _end(repository: Repository, one: Issue, ref: str, sha: str) -> Json:
    owner = repository.owner
    return {
        "label": f"{owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": account(owner if ref == "main" else one.author),
        "repo": embedded_repository(repository),
    }


def review(repository: Repository, number: int, one: Review) -> Json:
    """A submitted review."""
    pull = f"{repository_url(repository)}/pulls/{number}"
    web = f"{WEB}/{repository.full_name}/pull/{number}#pullrequestreview-{one.id}"
    return {
        "id": one.id,
        "node_id": node_id("PRR", one.id),
        "user": account(one.author),
        "body": one.body,
        "state": one.state,
        "html_url": web,
        "pull_request_url": pull,
        "author_association": "MEMBER",
        "_links": {"html": {"href": web}, "pull_request": {"href": pull}},
        "submitted_at": zulu(one.submitted_at),
        "commit_id": one.commit_sha,
    }


def review_comment(repository: Repository, one: ReviewComment) -> Json:
    """A comment on a line."""
    url = repository_url(repository)
    own, pull = f"{url}/pulls/comments/{one.id}", f"{url}/pulls/{one.number}"
    web = f"{WEB}/{repository.full_name}/pull/{one.number}#discussion_r{one.id}"
    return {
        "url": own,
        "pull_request_review_id": one.review_id,
        "id": one.id,
        "node_id": node_id("PRRC", one.id),
        "diff_hunk": f"@@ -{one.line},3 +{one.line},4 @@\n line\n+new line",
        "path": one.path,
        "commit_id": one.commit_sha,
        "original_commit_id": one.commit_sha,
        "user": account(one.author),
        "body": one.body,
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "html_url": web,
        "pull_request_url": pull,
        "author_association": "MEMBER",
        "_links": {
            "self": {"href": own}, "html": {"href": web}, "pull_request": {"href": pull},
        },
        "reactions": _reactions(own),
        "start_line": None,
        "original_start_line": None,
        "start_side": None,
        "line": one.line,
        "original_line": one.line,
        "side": "RIGHT",
        "original_position": 2,
        "position": 2,
        "subject_type": "line",
    }  # fmt: skip


def issue_comment(repository: Repository, one: Comment) -> Json:
    """A comment on an issue or pull request."""
    url = repository_url(repository)
    own = f"{url}/issues/comments/{one.id}"
    return {
        "url": own,
        "html_url": f"{WEB}/{repository.full_name}/issues/{one.number}#issuecomment-{one.id}",
        "issue_url": f"{url}/issues/{one.number}",
        "id": one.id,
        "node_id": node_id("IC", one.id),
        "user": account(one.author),
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "author_association": "MEMBER",
        "body": one.body,
        "reactions": _reactions(own),
        "performed_via_github_app": None,
    }


def issue_event(repository: Repository, one: IssueEvent) -> Json:
    """An event; what it says of its issue is how that was when the event happened."""
    url = repository_url(repository)
    past = Issue(
        id=one.issue.id,
        number=one.issue.number,
        title=one.issue.title,
        author=one.issue.author,
        created_at=one.issue.created_at,
        updated_at=one.created_at,
        pull=None,
    )
    shape = {
        "id": one.id,
        "node_id": node_id("E", one.id),
        "url": f"{url}/issues/events/{one.id}",
        "actor": account(one.actor),
        "event": one.event,
        "commit_id": one.commit_sha,
        "commit_url": f"{url}/commits/{one.commit_sha}" if one.commit_sha else None,
        "created_at": zulu(one.created_at),
        "issue": issue(repository, past),
        "performed_via_github_app": None,
    }
    if one.label:
        shape["label"] = {"name": one.label.name, "color": one.label.color}
    return shape


# -- actions ------------------------------------------------------------------------------------


def workflow(repository: Repository, one: Workflow) -> Json:
    """A workflow."""
    web = f"{WEB}/{repository.full_name}"
    return {
        "id": one.id,
        "node_id": node_id("W", one.id),
        "name": one.name,
        "path": one.path,
        "state": "active",
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.created_at),
        "url": f"{repository_url(repository)}/actions/workflows/{one.id}",
        "html_url": f"{web}/blob/main/{one.path}",
        "badge_url": f"{web}/actions/workflows/{one.path.rpartition('/')[2]}/badge.svg",
    }


def _mentioned_pull(repository: Repository, one: Issue, pull: Pull) -> Json:
    named = mentioned_repository(repository)
    return {
        "url": f"{repository_url(repository)}/pulls/{one.number}",
        "id": pull.id,
        "number": one.number,
        "head": {"ref": pull.branch, "sha": pull.commits[-1].sha, "repo": named},
        "base": {"ref": "main", "sha": pull.base_sha, "repo": named},
    }


def workflow_run(repository: Repository, one: Run) -> Json:
    """A run, as its last attempt left it."""
    url = repository_url(repository)
    own = f"{url}/actions/runs/{one.id}"
    suite = one.id + 1
    signature = {"name": one.commit.author_name, "email": one.commit.author_email}
    pull = one.pull
    return {
        "id": one.id,
        "name": one.workflow.name,
        "node_id": node_id("WFR", one.id),
        "head_branch": one.branch,
        "head_sha": one.commit.sha,
        "path": one.workflow.path,
        "display_title": pull.title if pull else one.commit.message,
        "run_number": one.number,
        "event": one.event,
        "status": one.status,
        "conclusion": one.conclusion,
        "workflow_id": one.workflow.id,
        "check_suite_id": suite,
        "check_suite_node_id": node_id("CS", suite),
        "url": own,
        "html_url": f"{WEB}/{repository.full_name}/actions/runs/{one.id}",
        "pull_requests": (
            [_mentioned_pull(repository, pull, pull.pull)] if pull and pull.pull else []
        ),
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "actor": account(one.actor),
        "run_attempt": one.attempt,
        "referenced_workflows": [],
        "run_started_at": zulu(one.started_at),
        "triggering_actor": account(one.actor),
        "jobs_url": f"{own}/jobs",
        "logs_url": f"{own}/logs",
        "check_suite_url": f"{url}/check-suites/{suite}",
        "artifacts_url": f"{own}/artifacts",
        "cancel_url": f"{own}/cancel",
        "rerun_url": f"{own}/rerun",
        "previous_attempt_url": f"{own}/attempts/{one.attempt - 1}" if one.attempt > 1 else None,
        "workflow_url": f"{url}/actions/workflows/{one.workflow.id}",
        "head_commit": {
            "id": one.commit.sha,
            "tree_id": one.commit.sha[::-1],
            "message": one.commit.message,
            "timestamp": zulu(one.commit.committed_at),
            "author": signature,
            "committer": signature,
        },
        "repository": embedded_repository(repository),
        "head_repository": embedded_repository(repository),
    }


def workflow_job(repository: Repository, run: Run, one: Job) -> Json:
    """A job with its steps."""
    url = repository_url(repository)
    done = one.completed_at is not None
    status = "completed" if done else "in_progress"
    steps = [
        {
            "name": name,
            "status": status,
            "conclusion": one.conclusion if last or not done else "success",
            "number": number,
            "started_at": zulu(one.started_at),
            "completed_at": zulu_or_none(one.completed_at),
        }
        for number, name, last in ((1, "Set up job", False), (2, f"Run {one.name}", True))
    ]
    return {
        "id": one.id,
        "run_id": run.id,
        "workflow_name": run.workflow.name,
        "head_branch": run.branch,
        "run_url": f"{url}/actions/runs/{run.id}",
        "run_attempt": one.attempt,
        "node_id": node_id("CR", one.id),
        "head_sha": run.commit.sha,
        "url": f"{url}/actions/jobs/{one.id}",
        "html_url": f"{WEB}/{repository.full_name}/actions/runs/{run.id}/job/{one.id}",
        "status": status,
        "conclusion": one.conclusion,
        "created_at": zulu(one.started_at),
        "started_at": zulu(one.started_at),
        "completed_at": zulu_or_none(one.completed_at),
        "name": one.name,
        "steps": steps,
        "check_run_url": f"{url}/check-runs/{one.id}",
        "labels": [RUNNER_IMAGE],
        "runner_id": 1 + one.id % 20,
        "runner_name": f"GitHub Actions {1 + one.id % 20}",
        "runner_group_id": 2,
        "runner_group_name": "GitHub Actions",
    }


def check_run(repository: Repository, commit: Commit, place: int, number: int) -> Json:
    """A check on a commit of the default branch."""
    own = f"{repository_url(repository)}/check-runs/{number}"
    web = f"{WEB}/{repository.full_name}/runs/{number}"
    moment = zulu(commit.committed_at)
    return {
        "id": number,
        "name": ("lint", "test")[place],
        "node_id": node_id("CR", number),
        "head_sha": commit.sha,
        "external_id": "",
        "url": own,
        "html_url": web,
        "details_url": web,
        "status": "completed",
        "conclusion": "failure" if int(commit.sha[:2], 16) < 20 * place else "success",
        "started_at": moment,
        "completed_at": moment,
        "output": {
            "title": None,
            "summary": None,
            "text": None,
            "annotations_count": 0,
            "annotations_url": f"{own}/annotations",
        },
        "check_suite": {"id": number - place + 5},
        "app": _actions_app(),
        "pull_requests": [],
    }


def _actions_app() -> Json:
    owner: dict[str, Any] = {
        "id": 9919,
        "node_id": node_id("O", 9919),
        "slug": "github",
        "name": "GitHub",
        "description": None,
        "html_url": f"{WEB}/github",
        "avatar_url": "https://avatars.githubusercontent.com/u/9919?v=4",
        "created_at": APP_CREATED,
        "updated_at": APP_CREATED,
    }
    return {
        "id": 15368,
        "slug": "github-actions",
        "node_id": node_id("A", 15368),
        "owner": owner,
        "name": "GitHub Actions",
        "description": "Automate your workflow from idea to production",
        "external_url": "https://help.github.com/en/actions",
        "html_url": f"{WEB}/apps/github-actions",
        "created_at": APP_CREATED,
        "updated_at": APP_CREATED,
        "permissions": {"checks": "write", "contents": "read", "metadata": "read"},
        "events": ["check_run"],
    }


# -- deployments --------------------------------------------------------------------------------


def deployment(repository: Repository, one: Deployment) -> Json:
    """A deployment."""
    own = f"{repository_url(repository)}/deployments/{one.id}"
    return {
        "url": own,
        "id": one.id,
        "node_id": node_id("DE", one.id),
        "task": "deploy",
        "original_environment": one.environment,
        "environment": one.environment,
        "description": None,
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "statuses_url": f"{own}/statuses",
        "repository_url": repository_url(repository),
        "creator": account(one.creator),
        "sha": one.sha,
        "ref": "main",
        "payload": {},
        "transient_environment": False,
        "production_environment": one.environment == "production",
        "performed_via_github_app": None,
    }


def deployment_status(repository: Repository, owner: Deployment, one: DeploymentStatus) -> Json:
    """A status of a deployment."""
    own = f"{repository_url(repository)}/deployments/{owner.id}"
    return {
        "url": f"{own}/statuses/{one.id}",
        "id": one.id,
        "node_id": node_id("DES", one.id),
        "state": one.state,
        "creator": account(owner.creator),
        "description": "",
        "environment": owner.environment,
        "target_url": "",
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.created_at),
        "deployment_url": own,
        "repository_url": repository_url(repository),
        "environment_url": "",
        "log_url": "",
        "performed_via_github_app": None,
    }
