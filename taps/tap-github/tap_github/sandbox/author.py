# SPDX-License-Identifier: Apache-2.0
"""The hand that writes the history of a repository, and later what changes in it."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist

from ipai_kit.sandbox import Seeded
from tap_github.sandbox.facts import (
    Account,
    Comment,
    Commit,
    Issue,
    IssueEvent,
    Job,
    Label,
    Pull,
    Repository,
    Review,
    ReviewComment,
    Run,
)

WORDS = (
    "parser", "cache", "retry", "login", "export", "report", "schema", "index", "queue", "limit",
    "token", "page", "worker", "metric", "search", "upload", "filter", "cursor", "backup", "theme",
)  # fmt: skip
VERBS = ("Add", "Fix", "Remove", "Speed up", "Document", "Test", "Rename", "Simplify")
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
