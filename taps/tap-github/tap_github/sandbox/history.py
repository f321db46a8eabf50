# SPDX-License-Identifier: Apache-2.0
"""Invents the past of a repository: work that is reviewed, tested, released and deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from tap_github.sandbox.author import Author
from tap_github.sandbox.facts import (
    Account,
    Alert,
    Asset,
    Deployment,
    DeploymentStatus,
    Issue,
    IssueEvent,
    Label,
    Milestone,
    Release,
    Run,
    Star,
    Workflow,
)

PACKAGES = ("lodash", "requests", "jinja2", "urllib3", "minimist")
RULES = ("py/clear-text-logging", "py/path-injection", "js/xss", "py/weak-hash")
SEVERITIES = ("low", "medium", "high", "critical")
LABELS = (
    ("bug", "d73a4a", "Something is not working"),
    ("enhancement", "a2eeef", "New feature or request"),
    ("documentation", "0075ca", "Improvements of the documentation"),
    ("good first issue", "7057ff", "Good for newcomers"),
    ("triage", "ededed", "Not looked at yet"),
    ("legacy", "cfd3d7", "About the former version"),
)
WORKFLOWS = (
    ("CI", ".github/workflows/ci.yml", ("lint", "test (3.11)", "test (3.12)")),
    ("Build", ".github/workflows/build.yml", ("build",)),
    ("Nightly", ".github/workflows/nightly.yml", ("integration", "load")),
)


def write_history(author: Author) -> None:
    """Fill a repository."""
    repository, sizes = author.repository, author.sizes
    repository.labels = _labels(author)
    repository.milestones = _milestones(author)
    repository.workflows = _workflows(author)
    _write_commits(author)
    _write_issues(author)
    _write_releases(author)
    _write_runs(author)
    _write_deployments(author)
    repository.stars = [
        Star(Account(900_000 + place * 7 + repository.id % 7, f"fan-{place}"), moment)
        for place, moment in enumerate(author.moments("star", sizes.stars))
    ]
    repository.star_count = len(repository.stars)
    repository.dependabot_alerts = _alerts(author, "dependabot", PACKAGES)
    repository.code_scanning_alerts = _alerts(author, "scanning", RULES)
    repository.pushed_at = repository.commits[-1].committed_at
    repository.updated_at = repository.first_push = repository.pushed_at
    repository.open_issue_count = sum(1 for issue in repository.issues if not issue.closed_at)


def _labels(author: Author) -> list[Label]:
    return [Label(next(author.ids), name, color, text) for name, color, text in LABELS]


def _milestones(author: Author) -> list[Milestone]:
    return [
        Milestone(
            id=next(author.ids),
            number=place + 1,
            title=f"v{place + 1}.0",
            creator=author.people[0],
            created_at=author.start,
            updated_at=author.start + timedelta(days=place),
            due_on=author.now + timedelta(days=30 * (place + 1)),
        )
        for place in range(3)
    ]


def _workflows(author: Author) -> list[Workflow]:
    created = author.start - timedelta(days=400)
    return [Workflow(next(author.ids), name, path, created, jobs) for name, path, jobs in WORKFLOWS]


def _write_commits(author: Author) -> None:
    parent = None
    for place, moment in enumerate(author.moments("commit", author.sizes.commits)):
        commit = author.commit(moment, "main", place, parent=parent)
        parent = commit.sha
        author.repository.commits.append(commit)


def _write_issues(author: Author) -> None:
    """Issues and pull requests share their numbers; what happens to them follows."""
    sizes = author.sizes
    total = sizes.issues + sizes.pulls
    happened: list[tuple[datetime, Callable[[], IssueEvent]]] = []
    for number, moment in enumerate(author.moments("issue", total), start=1):
        is_pull = number * sizes.pulls // total != (number - 1) * sizes.pulls // total
        issue = author.open_issue(number, moment, is_pull=is_pull)
        _discuss(author, issue)
        if is_pull:
            _review(author, issue)
        elif author.chance(0.65, "closed", number):
            close(author, issue, moment + author.hours(60, 1.1, "close", number))
        happened += _events_of(author, issue)
    happened.sort(key=lambda one: one[0])
    author.repository.events = [make() for _, make in happened]


def _discuss(author: Author, issue: Issue) -> None:
    moment = issue.created_at
    for place in range(int(4 * author.unit("comments", issue.number))):
        moment += author.hours(8, 1.0, "comment", issue.number, place)
        if moment < author.now:
            author.comment(issue, moment, place)
            issue.updated_at = max(issue.updated_at, moment)


def _review(author: Author, issue: Issue) -> None:
    """Review, merge or close a pull request; some wait, some are never looked at."""
    number, moment = issue.number, issue.created_at
    pace = 1 + 6 * author.unit("pace")  # every repository has its own
    for place in range(int(3.2 * author.unit("reviews", number))):
        moment += author.hours(pace, 1.0, "review", number, place)
        if moment < author.now:
            changes = place == 0 and author.chance(0.3, "changes", number)
            state = "CHANGES_REQUESTED" if changes else ("COMMENTED", "APPROVED")[place > 0]
            author.review(issue, moment, state, place)
            issue.updated_at = max(issue.updated_at, moment)
    ending = author.unit("ending", number)
    moment += author.hours(pace * 2, 1.2, "merge", number)
    if ending < 0.75:
        merge(author, issue, moment)
    elif ending < 0.85:
        close(author, issue, moment)


def merge(author: Author, issue: Issue, moment: datetime) -> None:
    """Merge a pull request, unless that lies in the future."""
    if moment < author.now and issue.pull:
        issue.pull.merged_at = moment
        issue.pull.merge_sha = author.sha("merge", issue.number)
        close(author, issue, moment)


def close(author: Author, issue: Issue, moment: datetime) -> None:
    """Close an issue, unless that lies in the future."""
    if moment < author.now:
        issue.closed_at = moment
        issue.closed_by = author.person("closer", issue.number)
        issue.updated_at = max(issue.updated_at, moment)


def _events_of(author: Author, issue: Issue) -> list[tuple[datetime, Callable[[], IssueEvent]]]:
    """What happened to an issue, to be numbered in the order of time."""
    found: list[tuple[datetime, Callable[[], IssueEvent]]] = []

    def add(event: str, actor: Account, moment: datetime, label: Label | None = None) -> None:
        sha = issue.pull.merge_sha if issue.pull and event == "merged" else None
        found.append((moment, lambda: author.event(issue, event, actor, moment, label, sha)))

    for label in issue.labels:
        add("labeled", issue.author, issue.created_at, label)
    if issue.closed_at and issue.closed_by:
        if issue.pull and issue.pull.merged_at:
            add("merged", issue.closed_by, issue.closed_at)
        add("closed", issue.closed_by, issue.closed_at)
    return found


def _write_releases(author: Author) -> None:
    repository = author.repository
    for place, moment in enumerate(author.moments("release", author.sizes.releases)):
        person = author.people[0]
        assets = [
            Asset(next(author.ids), name, 40_000 + 917 * place, 3 * place + 1, person, moment)
            for name in (f"{repository.name}-{place}.tar.gz", f"{repository.name}-{place}.whl")
        ]
        release = Release(
            id=next(author.ids),
            tag=f"v0.{place + 1}.0",
            sha=author.base_sha(moment),
            author=person,
            created_at=moment,
            body=f"- {author.title('release', place)}",
            assets=assets if place % 3 else assets[:1],
        )
        repository.releases.append(release)


def conclusion_of(author: Author, run: Run) -> str:
    """Most runs pass; each repository fails at its own rate."""
    failing = 0.04 + 0.2 * author.unit("failing") ** 2
    drawn = author.unit("conclusion", run.number)
    return "failure" if drawn < failing else "cancelled" if drawn > 0.97 else "success"


def _write_runs(author: Author) -> None:
    runs = author.repository.runs
    for number, moment in enumerate(author.moments("run", author.sizes.runs), start=1):
        run = author.run(number, moment)
        runs.append(run)
        if number > author.sizes.runs - 2:
            continue  # the last two are still under way
        author.finish(run, conclusion_of(author, run))
        again = run.updated_at + timedelta(minutes=30)
        flaky = run.conclusion == "failure" and author.chance(0.5, "flaky", number)
        if flaky and again < author.now:
            author.start_again(run, again)
            author.finish(run, "success")


def _write_deployments(author: Author) -> None:
    for place, moment in enumerate(author.moments("deployment", author.sizes.deployments)):
        deployment = Deployment(
            id=next(author.ids),
            environment=("production", "staging")[place % 2],
            sha=author.base_sha(moment),
            creator=author.person("deployment", place),
            created_at=moment,
        )
        final = "failure" if author.chance(0.1, "deployment", place) else "success"
        for minutes, state in ((1, "in_progress"), (6, final)):
            later = moment + timedelta(minutes=minutes)
            deployment.statuses.append(DeploymentStatus(next(author.ids), state, later))
        author.repository.deployments.append(deployment)


def _alerts(author: Author, kind: str, subjects: Sequence[str]) -> list[Alert]:
    alerts = []
    for place, moment in enumerate(author.moments(kind, 3)):
        fixed = min(moment + timedelta(days=5), author.now) if place == 0 else None
        severity = author.draw.choice(SEVERITIES, kind, place)
        subject = subjects[(author.repository.id + place) % len(subjects)]
        alerts.append(Alert(place + 1, subject, severity, moment, fixed or moment, fixed))
    return alerts
