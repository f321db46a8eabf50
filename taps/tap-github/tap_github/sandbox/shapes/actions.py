# SPDX-License-Identifier: Apache-2.0
"""How GitHub tells about workflows, their runs and jobs, and checks."""

from __future__ import annotations

from typing import Any

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import Commit, Issue, Job, Pull, Repository, Run, Workflow
from tap_github.sandbox.shapes.accounts import account
from tap_github.sandbox.shapes.form import WEB, Json, node_id, zulu_or_none
from tap_github.sandbox.shapes.repositories import (
    embedded_repository,
    mentioned_repository,
    repository_url,
)

RUNNER_IMAGE = "ubuntu-latest"
APP_CREATED = "2018-07-30T09:30:17Z"


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
