# SPDX-License-Identifier: Apache-2.0
"""How GitHub tells about issues, pull requests and what is said about them."""

from __future__ import annotations

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import (
    Comment,
    Issue,
    IssueEvent,
    Label,
    Milestone,
    Pull,
    Repository,
    Review,
    ReviewComment,
)
from tap_github.sandbox.shapes.accounts import account, account_or_none
from tap_github.sandbox.shapes.form import WEB, Json, node_id, zulu_or_none
from tap_github.sandbox.shapes.repositories import embedded_repository, repository_url

_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_PULL_LINKS = ("commits", "review_comments", "review_comment", "comments", "statuses")


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
