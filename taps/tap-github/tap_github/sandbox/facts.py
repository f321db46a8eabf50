# SPDX-License-Identifier: Apache-2.0
"""What is true in the made-up GitHub, without the shape in which the API tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Account:
    """A person, a bot or an organization."""

    id: int
    login: str
    kind: str = "User"


@dataclass(slots=True)
class Label:
    """A label of a repository."""

    id: int
    name: str
    color: str
    description: str
    default: bool = True


@dataclass(slots=True)
class Milestone:
    """A milestone. Its counts are fixed: see `Repository`."""

    id: int
    number: int
    title: str
    creator: Account
    created_at: datetime
    updated_at: datetime
    due_on: datetime
    closed_at: datetime | None = None


@dataclass(slots=True)
class Commit:
    """A commit; an author without an account is known by name and address only."""

    sha: str
    message: str
    committed_at: datetime
    author: Account | None
    author_name: str
    author_email: str
    parents: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Comment:
    """A comment on an issue or pull request."""

    id: int
    number: int
    author: Account
    body: str
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Review:
    """A submitted review."""

    id: int
    author: Account
    state: str
    submitted_at: datetime
    commit_sha: str
    body: str


@dataclass(slots=True)
class ReviewComment:
    """A comment on a line of a pull request's diff."""

    id: int
    review_id: int
    number: int
    author: Account
    commit_sha: str
    path: str
    line: int
    body: str
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Issue:
    """An issue, or the issue side of a pull request."""

    id: int
    number: int
    title: str
    author: Account
    created_at: datetime
    updated_at: datetime
    labels: list[Label] = field(default_factory=list)
    milestone: Milestone | None = None
    assignees: list[Account] = field(default_factory=list)
    comment_count: int = 0
    closed_at: datetime | None = None
    closed_by: Account | None = None
    pull: Pull | None = None


@dataclass(slots=True)
class Pull:
    """What a pull request has beyond its issue."""

    id: int
    branch: str
    commits: list[Commit]
    draft: bool
    reviewers: list[Account] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    merged_at: datetime | None = None
    merge_sha: str | None = None
    base_sha: str = ""


@dataclass(slots=True)
class IssueEvent:
    """Something that happened to an issue."""

    id: int
    issue: Issue
    event: str
    actor: Account
    created_at: datetime
    label: Label | None = None
    commit_sha: str | None = None


@dataclass(slots=True)
class Asset:
    """A file of a release."""

    id: int
    name: str
    size: int
    downloads: int
    uploader: Account
    updated_at: datetime


@dataclass(slots=True)
class Release:
    """A release and its tag."""

    id: int
    tag: str
    sha: str
    author: Account
    created_at: datetime
    body: str
    assets: list[Asset] = field(default_factory=list)


@dataclass(slots=True)
class Star:
    """A star."""

    account: Account
    starred_at: datetime


@dataclass(slots=True)
class Workflow:
    """A workflow of Actions."""

    id: int
    name: str
    path: str
    created_at: datetime
    jobs: tuple[str, ...]


@dataclass(slots=True)
class Job:
    """A job of one attempt of a run."""

    id: int
    name: str
    attempt: int
    started_at: datetime
    completed_at: datetime | None
    conclusion: str | None


@dataclass(slots=True)
class Run:
    """A run of a workflow; starting it again adds an attempt."""

    id: int
    workflow: Workflow
    number: int
    event: str
    branch: str
    commit: Commit
    actor: Account
    created_at: datetime
    started_at: datetime
    updated_at: datetime
    attempt: int = 1
    conclusion: str | None = None
    jobs: list[Job] = field(default_factory=list)
    pull: Issue | None = None

    @property
    def status(self) -> str:
        """Completed as soon as there is a conclusion."""
        return "completed" if self.conclusion else "in_progress"


@dataclass(slots=True)
class DeploymentStatus:
    """One status of a deployment."""

    id: int
    state: str
    created_at: datetime


@dataclass(slots=True)
class Deployment:
    """A deployment."""

    id: int
    environment: str
    sha: str
    creator: Account
    created_at: datetime
    statuses: list[DeploymentStatus] = field(default_factory=list)

    @property
    def updated_at(self) -> datetime:
        """A status counts as a change."""
        return self.statuses[-1].created_at if self.statuses else self.created_at


@dataclass(slots=True)
class Alert:
    """A Dependabot or code scanning alert."""

    number: int
    subject: str
    severity: str
    created_at: datetime
    updated_at: datetime
    fixed_at: datetime | None = None


@dataclass(slots=True)
class Team:
    """A team of an organization."""

    id: int
    slug: str
    members: list[Account]


@dataclass(slots=True)
class Organization:
    """An organization."""

    account: Account
    members: list[Account]
    teams: list[Team]
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Repository:
    """A repository and all that belongs to it.

    What other objects embed (its counters, a label's name, a milestone's counts) stays as it was
    at the start: GitHub changes those without touching the objects around them, and a stand-in
    that did so could not say exactly what a tap should hold.
    """

    id: int
    owner: Account
    name: str
    description: str
    language: str
    created_at: datetime
    pushed_at: datetime
    updated_at: datetime
    first_push: datetime
    private: bool = False
    archived: bool = False
    has_issues: bool = True
    former_names: tuple[str, ...] = ()
    star_count: int = 0
    open_issue_count: int = 0
    embedded: bytes = b""  # how other objects show it, encoded
    labels: list[Label] = field(default_factory=list)
    milestones: list[Milestone] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)  # pull requests among them
    pulls: list[Issue] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    review_comments: list[ReviewComment] = field(default_factory=list)
    events: list[IssueEvent] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    stars: list[Star] = field(default_factory=list)
    workflows: list[Workflow] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    dependabot_alerts: list[Alert] = field(default_factory=list)
    code_scanning_alerts: list[Alert] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        """Owner and name."""
        return f"{self.owner.login}/{self.name}"

    @property
    def head_sha(self) -> str:
        """The head of the default branch."""
        return self.commits[-1].sha
