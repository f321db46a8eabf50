# SPDX-License-Identifier: Apache-2.0
"""What GitHub lists for a repository: which objects, in which order, filtered by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import Account, Commit, Deployment, Issue, Release, Repository, Run
from tap_github.sandbox.shapes import accounts, actions, code, conversations, deployments, security
from tap_github.sandbox.shapes.form import Json

Query = Mapping[str, str]
Choose = Callable[[Sequence[Any], Query], Sequence[Any]]
RESULT_CAP = 1000
PAGE_LIMIT = 400


@dataclass(frozen=True, slots=True)
class Listing:
    """One list: of a repository, or of something that belongs to one (the owner)."""

    stream: str
    path: str
    facts: Callable[[Repository, Any], Sequence[Any]]
    shape: Callable[[Repository, Any, Any], Json]
    key: tuple[str, ...] = ("_repository_id", "id")
    choose: Choose = lambda facts, _: facts
    envelope: str | None = None
    cap: int | None = None
    page_limit: int | None = None
    permission: str | None = None
    owners: Callable[[Repository], Iterable[Any]] | None = None
    ours: Callable[[Any, Json], Json] = lambda _owner, _record: {}


# -- orders and filters -------------------------------------------------------------------------


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00+00:00")


def _ordered(facts: Sequence[Any], query: Query, *, default: str) -> list[Any]:
    """Sort by created or updated; the direction is descending unless asked otherwise."""
    name = f"{query.get('sort', 'created')}_at"
    descending = query.get("direction", default) == "desc"
    return sorted(facts, key=lambda one: (getattr(one, name), _number(one)), reverse=descending)


def _number(one: Any) -> int:
    return int(one.id if hasattr(one, "id") else one.number)


def _in_state(facts: Sequence[Any], query: Query) -> list[Any]:
    state = query.get("state", "open")
    if state == "all":
        return list(facts)
    return [one for one in facts if (one.closed_at is not None) == (state == "closed")]


def _since(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    if "since" not in query:
        return facts
    start = _moment(query["since"])
    return [one for one in facts if one.updated_at >= start]


def choose_issues(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """Open ones by default, newest first."""
    return _ordered(_since(_in_state(facts, query), query), query, default="desc")


def choose_pulls(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """Open ones by default; no filter by time exists."""
    by_creation = query.get("sort", "created") == "created"
    return _ordered(_in_state(facts, query), query, default="desc" if by_creation else "asc")


def choose_comments(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """In the order of their ids; `direction` counts only together with `sort`."""
    found = _since(facts, query)
    if "sort" not in query:
        return sorted(found, key=lambda one: one.id)
    return _ordered(found, query, default="desc")


def choose_commits(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """Newest first, between two committer dates."""
    found = list(reversed(facts))
    if "since" in query:
        start = _moment(query["since"])
        found = [one for one in found if one.committed_at >= start]
    if "until" in query:
        end = _moment(query["until"])
        found = [one for one in found if one.committed_at <= end]
    return found


def choose_milestones(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """Open ones by default, by due date."""
    return sorted(_in_state(facts, query), key=lambda one: one.due_on)


def choose_alerts(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """Newest first."""
    return _ordered(facts, query, default="desc")


def choose_runs(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """Newest first, created within a window: `A..B`, `>=A`, `<=B`."""
    found = sorted(facts, key=lambda one: (one.created_at, one.id), reverse=True)
    window = query.get("created")
    if not window:
        return found
    lower, both, upper = window.partition("..")
    if not both:
        lower = window[2:] if window.startswith(">=") else ""
        upper = window[2:] if window.startswith("<=") else "" if lower else window
    first = "" if lower in ("", "*") else zulu(_moment(lower))
    last = "9" if upper in ("", "*") else zulu(_moment(upper))
    return [one for one in found if first <= zulu(one.created_at) <= last]


def choose_jobs(facts: Sequence[Any], query: Query) -> Sequence[Any]:
    """Those of the last attempt, or of all."""
    if query.get("filter") == "all" or not facts:
        return facts
    last = max(job.attempt for job in facts)
    return [job for job in facts if job.attempt == last]


def newest_first(facts: Sequence[Any], _: Query) -> Sequence[Any]:
    """In the reverse order of creation."""
    return list(reversed(facts))


# -- what is derived ----------------------------------------------------------------------------


def contributors(repository: Repository, _: Any) -> list[tuple[Account, int]]:
    """Accounts by their number of commits."""
    people = {commit.author.id: commit.author for commit in repository.commits if commit.author}
    counts = Counter(commit.author.id for commit in repository.commits if commit.author)
    return [(people[number], count) for number, count in _most(counts)]


def anonymous(repository: Repository, _: Any) -> list[tuple[str, str, int]]:
    """Authors without an account by their number of commits."""
    counts = Counter(
        (commit.author_name, commit.author_email)
        for commit in repository.commits
        if not commit.author
    )
    return [(name, email, count) for (name, email), count in _most(counts)]


def _most(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def branches(repository: Repository, _: Any) -> list[tuple[str, str]]:
    """The default branch and those of open pull requests."""
    if not repository.commits:
        return []
    waiting = [
        (one.pull.branch, one.pull.commits[-1].sha)
        for one in repository.pulls
        if one.pull and not one.closed_at
    ]
    return sorted([("main", repository.head_sha), *waiting])


def check_run_id(repository: Repository, commit: Commit, place: int) -> int:
    """A number for a check, the same every time."""
    return int(commit.sha[:11], 16) * 2 + place + repository.id


def _issues(repository: Repository, _: Any) -> list[Issue]:
    return repository.issues if repository.has_issues else []


LISTINGS = (
    Listing(
        "branches",
        "/branches",
        branches,
        lambda repository, _, one: code.branch(repository, *one),
        key=("_repository_id", "name"),
    ),
    Listing(
        "tags",
        "/tags",
        lambda repository, _: repository.releases[::-1],
        lambda repository, _, one: code.tag(repository, one.tag, one.sha),
        key=("_repository_id", "name"),
    ),
    Listing(
        "commits",
        "/commits",
        lambda repository, _: repository.commits,
        lambda repository, _, one: code.commit(repository, one),
        key=("_repository_id", "sha"),
        choose=choose_commits,
        ours=lambda _, record: {"_committed_at": record["commit"]["committer"]["date"]},
    ),
    Listing(
        "check_runs",
        "/commits/{owner}/check-runs",
        lambda _, commit: [(commit, 0), (commit, 1)],
        lambda repository, commit, one: actions.check_run(
            repository, commit, one[1], check_run_id(repository, commit, one[1])
        ),
        envelope="check_runs",
        owners=lambda repository: repository.commits,
        ours=lambda commit, _: {"_sha": commit.sha},
    ),
    Listing(
        "pull_requests",
        "/pulls",
        lambda repository, _: repository.pulls,
        lambda repository, _, one: conversations.pull_request(repository, one, one.pull),
        choose=choose_pulls,
    ),
    Listing(
        "pull_request_commits",
        "/pulls/{owner}/commits",
        lambda _, pull: pull.pull.commits,
        lambda repository, _, one: code.commit(repository, one),
        key=("_repository_id", "_pull_number", "sha"),
        owners=lambda repository: repository.pulls,
        ours=lambda pull, _: {"_pull_number": pull.number, "_pull_request_id": pull.pull.id},
    ),
    Listing(
        "reviews",
        "/pulls/{owner}/reviews",
        lambda _, pull: pull.pull.reviews,
        lambda repository, pull, one: conversations.review(repository, pull.number, one),
        owners=lambda repository: repository.pulls,
        ours=lambda pull, _: {"_pull_number": pull.number, "_pull_request_id": pull.pull.id},
    ),
    Listing(
        "review_comments",
        "/pulls/comments",
        lambda repository, _: repository.review_comments,
        lambda repository, _, one: conversations.review_comment(repository, one),
        choose=choose_comments,
    ),
    Listing(
        "issues",
        "/issues",
        _issues,
        lambda repository, _, one: conversations.issue(repository, one),
        choose=choose_issues,
        ours=lambda _, record: {"_is_pull_request": "pull_request" in record},
    ),
    Listing(
        "issue_comments",
        "/issues/comments",
        lambda repository, _: repository.comments,
        lambda repository, _, one: conversations.issue_comment(repository, one),
        choose=choose_comments,
    ),
    Listing(
        "issue_events",
        "/issues/events",
        lambda repository, _: repository.events,
        lambda repository, _, one: conversations.issue_event(repository, one),
        choose=newest_first,
        page_limit=PAGE_LIMIT,
    ),
    Listing(
        "labels",
        "/labels",
        lambda repository, _: repository.labels,
        lambda repository, _, one: conversations.label(repository, one),
    ),
    Listing(
        "milestones",
        "/milestones",
        lambda repository, _: repository.milestones,
        lambda repository, _, one: conversations.milestone(repository, one),
        choose=choose_milestones,
    ),
    Listing(
        "releases",
        "/releases",
        lambda repository, _: repository.releases,
        lambda repository, _, one: code.release(repository, one),
        choose=newest_first,
    ),
    Listing(
        "release_assets",
        "/releases/{owner}/assets",
        lambda _, release: release.assets,
        code.asset,
        owners=lambda repository: repository.releases,
        ours=lambda release, _: {"_release_id": release.id},
    ),
    Listing(
        "contributors",
        "/contributors",
        contributors,
        lambda _repository, _, one: accounts.contributor(*one),
    ),
    Listing(
        "anonymous_contributors",
        "/contributors",
        anonymous,
        lambda _repository, _, one: accounts.anonymous_contributor(*one),
        key=("_repository_id", "email", "name"),
    ),
    Listing(
        "stargazers",
        "/stargazers",
        lambda repository, _: repository.stars,
        lambda _repository, _, one: code.star(one),
        key=("_repository_id", "_user_id"),
        page_limit=PAGE_LIMIT,
    ),
    Listing(
        "workflows",
        "/actions/workflows",
        lambda repository, _: repository.workflows,
        lambda repository, _, one: actions.workflow(repository, one),
        envelope="workflows",
    ),
    Listing(
        "workflow_runs",
        "/actions/runs",
        lambda repository, _: repository.runs,
        lambda repository, _, one: actions.workflow_run(repository, one),
        choose=choose_runs,
        envelope="workflow_runs",
        cap=RESULT_CAP,
    ),
    Listing(
        "workflow_jobs",
        "/actions/runs/{owner}/jobs",
        lambda _, run: run.jobs,
        actions.workflow_job,
        choose=choose_jobs,
        envelope="jobs",
        owners=lambda repository: repository.runs,
        ours=lambda run, _: {"_workflow_id": run.workflow.id},
    ),
    Listing(
        "deployments",
        "/deployments",
        lambda repository, _: repository.deployments,
        lambda repository, _, one: deployments.deployment(repository, one),
        choose=newest_first,
    ),
    Listing(
        "deployment_statuses",
        "/deployments/{owner}/statuses",
        lambda _, deployment: deployment.statuses,
        deployments.deployment_status,
        choose=newest_first,
        owners=lambda repository: repository.deployments,
        ours=lambda deployment, _: {"_deployment_id": deployment.id},
    ),
    Listing(
        "dependabot_alerts",
        "/dependabot/alerts",
        lambda repository, _: repository.dependabot_alerts,
        lambda repository, _, one: security.dependabot_alert(repository, one),
        key=("_repository_id", "number"),
        choose=choose_alerts,
        permission="vulnerability_alerts=read",
    ),
    Listing(
        "code_scanning_alerts",
        "/code-scanning/alerts",
        lambda repository, _: repository.code_scanning_alerts,
        lambda repository, _, one: security.code_scanning_alert(repository, one),
        key=("_repository_id", "number"),
        choose=choose_alerts,
        permission="security_events=read",
    ),
)


def owner_name(owner: Commit | Issue | Release | Run | Deployment) -> str:
    """What stands for the owner in an address."""
    if isinstance(owner, Commit):
        return owner.sha
    return str(owner.number if isinstance(owner, Issue) else owner.id)
