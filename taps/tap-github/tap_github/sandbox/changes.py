# SPDX-License-Identifier: Apache-2.0
"""What happens to a repository in one step of time: the same things whenever it is replayed."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from tap_github.sandbox.author import Author
from tap_github.sandbox.facts import Account, DeploymentStatus, Issue, Star
from tap_github.sandbox.history import close, conclusion_of, merge


def change_repository(author: Author, step: int) -> Counter[str]:
    """New and changed objects of every kind; the count of each."""
    moment = author.now - timedelta(minutes=30)
    changed: Counter[str] = Counter()
    _work(author, step, moment, changed)
    _pull_requests(author, step, moment, changed)
    if author.repository.has_issues:
        _issues(author, step, moment, changed)
    _runs(author, step, moment, changed)
    _metadata(author, step, moment, changed)
    return changed


def _work(author: Author, step: int, moment: datetime, changed: Counter[str]) -> None:
    repository = author.repository
    commit = author.commit(moment, "main", "step", step, parent=repository.head_sha)
    repository.commits.append(commit)
    repository.pushed_at = repository.updated_at = moment
    changed["commits"] += 1
    if repository.deployments:
        deployment = repository.deployments[step % len(repository.deployments)]
        deployment.statuses.append(DeploymentStatus(next(author.ids), "inactive", moment))
        changed += Counter(deployments=1, deployment_statuses=1)


def _pull_requests(author: Author, step: int, moment: datetime, changed: Counter[str]) -> None:
    waiting = [pull for pull in author.repository.pulls if not pull.closed_at]
    if waiting:
        pull = waiting[step % len(waiting)]
        author.review(pull, moment, "APPROVED", "step", step)
        merge(author, pull, moment + timedelta(minutes=5))
        _happened(author, pull, "merged", moment + timedelta(minutes=5))
        changed += Counter(reviews=1, pull_requests=1, issues=1, issue_events=1)
    number = _next_number(author)
    pull = author.open_issue(number, moment, is_pull=True)
    author.review(pull, moment + timedelta(minutes=10), "COMMENTED", "step", step)
    pull.updated_at = moment + timedelta(minutes=10)
    changed += Counter(pull_requests=1, issues=1, reviews=1, review_comments=1)


def _issues(author: Author, step: int, moment: datetime, changed: Counter[str]) -> None:
    open_issues = [one for one in author.repository.issues if not one.closed_at and not one.pull]
    if open_issues:
        issue = open_issues[step % len(open_issues)]
        close(author, issue, moment)
        _happened(author, issue, "closed", moment)
        changed += Counter(issues=1, issue_events=1)
    issue = author.open_issue(_next_number(author), moment, is_pull=False)
    author.comment(issue, moment + timedelta(minutes=2), "step", step)
    issue.updated_at = moment + timedelta(minutes=2)
    changed += Counter(issues=1, issue_comments=1)
    comment = author.repository.comments[step % len(author.repository.comments)]
    comment.body += " (edited)"
    comment.updated_at = moment + timedelta(minutes=3)
    changed["issue_comments"] += 1


def _happened(author: Author, issue: Issue, event: str, moment: datetime) -> None:
    actor = issue.closed_by or issue.author
    sha = issue.pull.merge_sha if issue.pull else None
    author.repository.events.append(author.event(issue, event, actor, moment, sha=sha))


def _next_number(author: Author) -> int:
    issues = author.repository.issues
    return issues[-1].number + 1 if issues else 1


def _runs(author: Author, step: int, moment: datetime, changed: Counter[str]) -> None:
    """End what was under way, start an ended run again, start new ones."""
    runs = author.repository.runs
    for run in [one for one in runs if not one.conclusion]:
        author.finish(run, conclusion_of(author, run))
        run.updated_at = max(run.updated_at, moment)
        changed["workflow_runs"] += 1
    recent = [run for run in runs if run.created_at > moment - timedelta(days=28)]
    if recent:
        run = recent[step % len(recent)]
        author.start_again(run, moment)
        author.finish(run, "success")
        changed += Counter(workflow_runs=1, workflow_jobs=len(run.workflow.jobs))
    for _ in range(2):
        run = author.run(runs[-1].number + 1 if runs else 1, moment)
        runs.append(run)
        changed += Counter(workflow_runs=1, workflow_jobs=len(run.jobs))


def _metadata(author: Author, step: int, moment: datetime, changed: Counter[str]) -> None:
    """Things without a time of change: only a full read finds them."""
    repository = author.repository
    unused = repository.labels[-1]
    if step % 3 == 2 and unused.name.startswith("legacy"):
        repository.labels.pop()
    elif unused.name.startswith("legacy"):
        unused.name = f"legacy-{step}"
    changed["labels"] += 1
    milestone = repository.milestones[-1]
    milestone.closed_at = None if milestone.closed_at else moment
    milestone.updated_at = moment
    repository.stars.append(Star(Account(990_000 + step, f"new-fan-{step}"), moment))
    if repository.releases:
        repository.releases[-1].assets[0].downloads += 3
        changed += Counter(releases=1, release_assets=1)
    alert = repository.dependabot_alerts[step % len(repository.dependabot_alerts)]
    alert.updated_at = moment
    alert.fixed_at = alert.fixed_at or moment
    changed += Counter(milestones=1, stargazers=1, dependabot_alerts=1)
