# SPDX-License-Identifier: Apache-2.0
"""Invents the past of a repository: work that is reviewed, tested, released and deployed."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist

from ipai_kit.sandbox import Seeded
from tap_github.sandbox.facts import (
    Account,
    Alert,
    Asset,
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
    Release,
    Repository,
    Review,
    ReviewComment,
    Run,
    Star,
    Workflow,
)

WORDS = (
    "parser", "cache", "retry", "login", "export", "report", "schema", "index", "queue", "limit",
    "token", "page", "worker", "metric", "search", "upload", "filter", "cursor", "backup", "theme",
)  # fmt: skip
VERBS = ("Add", "Fix", "Remove", "Speed up", "Document", "Test", "Rename", "Simplify")
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
IDS_PER_REPOSITORY = 10_000_000
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of each."""

    issues: int = 40
    pulls: int = 40
    commits: int = 80
    runs: int = 60
    stars: int = 25
    deployments: int = 8
    releases: int = 4


@dataclass(slots=True)
class Author:
    """Writes the history of one repository; later the same hand writes what changes."""

    draw: Seeded
    repository: Repository
    people: Sequence[Account]
    sizes: Sizes
    start: datetime
    now: datetime
    ids: itertools.count[int]
    event_ids: itertools.count[int]

    # -- drawing ----------------------------------------------------------------------------

    def person(self, *key: object) -> Account:
        """Somebody; the first people work most."""
        place = int(len(self.people) * self.unit("person", *key) ** 2)
        return self.people[place]

    def unit(self, *key: object) -> float:
        """A number from 0 to below 1."""
        return self.draw.unit(self.repository.id, *key)

    def chance(self, share: float, *key: object) -> bool:
        """True for a share of the keys."""
        return self.unit(*key) < share

    def hours(self, median: float, spread: float, *key: object) -> timedelta:
        """A waiting time: most are short, a few are very long."""
        z = _NORMAL.inv_cdf(min(max(self.unit(*key), 1e-6), 1 - 1e-6))
        return timedelta(seconds=round(3600 * median * math.exp(spread * z)))

    def moments(self, kind: str, count: int) -> list[datetime]:
        """That many times in order, spread over the history."""
        step = (self.now - self.start) / max(count, 1)
        return [
            (self.start + step * (place + 0.05 + 0.9 * self.unit(kind, place))).replace(
                microsecond=0
            )
            for place in range(count)
        ]

    def sha(self, *key: object) -> str:
        """The SHA of a commit."""
        return self.draw.hexadecimal(self.repository.id, *key)

    def title(self, *key: object) -> str:
        """What a piece of work is called."""
        verb = self.draw.choice(VERBS, self.repository.id, "verb", *key)
        return f"{verb} {self.draw.text(WORDS, self.repository.id, 'title', *key, count=2)}"

    # -- writing ----------------------------------------------------------------------------

    def commit(self, moment: datetime, *key: object, parent: str | None = None) -> Commit:
        """A commit; one in twelve has an author without an account."""
        person = self.person("commit", *key)
        known = not self.chance(1 / 12, "anonymous", *key)
        name = person.login if known else f"guest-{int(self.unit('guest', *key) * 3)}"
        return Commit(
            sha=self.sha("commit", *key),
            message=self.title("commit", *key),
            committed_at=moment,
            author=person if known else None,
            author_name=name,
            author_email=f"{name}@example.org",
            parents=[parent] if parent else [],
        )

    def event(
        self,
        issue: Issue,
        event: str,
        actor: Account,
        moment: datetime,
        label: Label | None = None,
        sha: str | None = None,
    ) -> IssueEvent:
        """An event of an issue; ids grow with time."""
        return IssueEvent(next(self.event_ids), issue, event, actor, moment, label, sha)

    def open_issue(self, number: int, moment: datetime, *, is_pull: bool) -> Issue:
        """Open an issue or a pull request."""
        issue = self.pull(number, moment) if is_pull else self.issue(number, moment)
        self.repository.issues.append(issue)
        if is_pull:
            self.repository.pulls.append(issue)
        return issue

    def issue(self, number: int, moment: datetime) -> Issue:
        """An issue without a past."""
        repository = self.repository
        labels = repository.labels[:-1]  # nobody uses the last one
        chosen = [one for one in labels if self.chance(0.2, "label", number, one.id)]
        milestones = repository.milestones[:-1]
        wanted = self.chance(0.3, "milestone", number) and milestones
        assigned = self.chance(0.5, "assigned", number)
        return Issue(
            id=next(self.ids),
            number=number,
            title=self.title("issue", number),
            author=self.person("issue", number),
            created_at=moment,
            updated_at=moment,
            labels=chosen,
            milestone=milestones[number % len(milestones)] if wanted else None,
            assignees=[self.person("assignee", number)] if assigned else [],
        )

    def pull(self, number: int, moment: datetime) -> Issue:
        """A pull request without a past."""
        issue = self.issue(number, moment)
        count = 1 + int(3 * self.unit("pull commits", number))
        commits = [
            self.commit(moment - timedelta(minutes=20 * (count - place)), "pull", number, place)
            for place in range(count)
        ]
        issue.pull = Pull(
            id=next(self.ids),
            branch=f"{issue.author.login}/{number}-{issue.title.split()[-1]}",
            commits=commits,
            draft=self.chance(0.05, "draft", number),
            reviewers=(
                [self.person("reviewer", number)] if self.chance(0.6, "asked", number) else []
            ),
            base_sha=self.base_sha(moment),
        )
        return issue

    def base_sha(self, moment: datetime) -> str:
        """The head of the default branch at a time."""
        commits = self.repository.commits
        place = bisect.bisect_right(commits, moment, key=lambda one: one.committed_at)
        return commits[place - 1].sha if place else self.sha("root")

    def review(self, issue: Issue, moment: datetime, state: str, *key: object) -> Review:
        """A review with its comments on lines."""
        assert issue.pull  # noqa: S101 -- only pull requests are reviewed
        sha = issue.pull.commits[-1].sha
        reviewer = self.person("review", issue.number, *key)
        body = "Looks good." if state == "APPROVED" else "Please look at the remarks."
        review = Review(next(self.ids), reviewer, state, moment, sha, body)
        issue.pull.reviews.append(review)
        if state != "APPROVED":
            self.repository.review_comments.append(
                ReviewComment(
                    id=next(self.ids),
                    review_id=review.id,
                    number=issue.number,
                    author=reviewer,
                    commit_sha=sha,
                    path=f"src/{self.draw.choice(WORDS, issue.number, *key)}.py",
                    line=1 + int(200 * self.unit("line", issue.number, *key)),
                    body="Is this needed?",
                    created_at=moment,
                    updated_at=moment,
                )
            )
        return review

    def comment(self, issue: Issue, moment: datetime, *key: object) -> Comment:
        """A comment on an issue or pull request."""
        comment = Comment(
            id=next(self.ids),
            number=issue.number,
            author=self.person("comment", issue.number, *key),
            body=f"See {self.draw.text(WORDS, issue.number, *key, count=6)}.",
            created_at=moment,
            updated_at=moment,
        )
        self.repository.comments.append(comment)
        issue.comment_count += 1
        return comment

    def run(self, number: int, moment: datetime) -> Run:
        """A run that has just started."""
        repository = self.repository
        workflow = repository.workflows[(0, 0, 1, 0, 2)[number % 5]]
        pulls = repository.pulls
        pull = pulls[number % len(pulls)] if pulls and workflow.name == "CI" else None
        commit = repository.commits[number % len(repository.commits)]
        if pull and pull.pull:
            commit = pull.pull.commits[-1]
        run = Run(
            id=next(self.ids),
            workflow=workflow,
            number=number,
            event="pull_request" if pull else "schedule" if workflow.name == "Nightly" else "push",
            branch=pull.pull.branch if pull and pull.pull else "main",
            commit=commit,
            actor=self.person("run", number),
            created_at=moment,
            started_at=moment,
            updated_at=moment,
            pull=pull,
        )
        self.start_jobs(run)
        return run

    def start_jobs(self, run: Run) -> None:
        """The jobs of a new attempt."""
        for name in run.workflow.jobs:
            run.jobs.append(Job(next(self.ids), name, run.attempt, run.started_at, None, None))

    def finish(self, run: Run, conclusion: str) -> None:
        """End the current attempt; a failure is the failure of its last job."""
        length = 0.1 * (1 + len(run.workflow.jobs))
        took = self.hours(length, 0.4, "run", run.number, run.attempt)
        took = min(took, self.now - run.started_at)  # nothing lies in the future
        jobs = [job for job in run.jobs if job.attempt == run.attempt]
        for job in jobs:
            done = run.started_at + took * (0.4 + 0.5 * self.unit("job", job.id))
            job.completed_at = done.replace(microsecond=0)
            job.conclusion = "cancelled" if conclusion == "cancelled" else "success"
        if conclusion == "failure":
            jobs[-1].conclusion = "failure"
        run.conclusion = conclusion
        run.updated_at = run.started_at + took

    def start_again(self, run: Run, moment: datetime) -> None:
        """Another attempt of a run that had ended."""
        run.attempt += 1
        run.started_at = run.updated_at = max(moment, run.updated_at)
        run.conclusion = None
        self.start_jobs(run)


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
