# SPDX-License-Identifier: Apache-2.0
"""How GitHub tells about a repository: alone, in a list, found, inside something else."""

from __future__ import annotations

import msgspec

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import Repository
from tap_github.sandbox.shapes.accounts import account
from tap_github.sandbox.shapes.form import API, WEB, Json, node_id

_encode = msgspec.json.encode
_REPOSITORY_LINKS = {
    "archive": "/{archive_format}{/ref}",
    "assignees": "/assignees{/user}",
    "blobs": "/git/blobs{/sha}",
    "branches": "/branches{/branch}",
    "collaborators": "/collaborators{/collaborator}",
    "comments": "/comments{/number}",
    "commits": "/commits{/sha}",
    "compare": "/compare/{base}...{head}",
    "contents": "/contents/{+path}",
    "contributors": "/contributors",
    "deployments": "/deployments",
    "downloads": "/downloads",
    "events": "/events",
    "forks": "/forks",
    "git_commits": "/git/commits{/sha}",
    "git_refs": "/git/refs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "hooks": "/hooks",
    "issue_comment": "/issues/comments{/number}",
    "issue_events": "/issues/events{/number}",
    "issues": "/issues{/number}",
    "keys": "/keys{/key_id}",
    "labels": "/labels{/name}",
    "languages": "/languages",
    "merges": "/merges",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "pulls": "/pulls{/number}",
    "releases": "/releases{/id}",
    "stargazers": "/stargazers",
    "statuses": "/statuses/{sha}",
    "subscribers": "/subscribers",
    "subscription": "/subscription",
    "tags": "/tags",
    "teams": "/teams",
    "trees": "/git/trees{/sha}",
}


def repository_url(repository: Repository) -> str:
    """The address of a repository in the API."""
    return f"{API}/repos/{repository.full_name}"


def _addresses(repository: Repository) -> Json:
    url, web = repository_url(repository), f"{WEB}/{repository.full_name}"
    links = {f"{name}_url": f"{url}{suffix}" for name, suffix in _REPOSITORY_LINKS.items()}
    return links | {
        "url": url,
        "html_url": web,
        "git_url": f"git://github.com/{repository.full_name}.git",
        "ssh_url": f"git@github.com:{repository.full_name}.git",
        "clone_url": f"{web}.git",
        "svn_url": web,
        "mirror_url": None,
    }


def _switches(repository: Repository) -> Json:
    return {
        "has_issues": repository.has_issues,
        "has_projects": True,
        "has_wiki": True,
        "has_pages": False,
        "has_downloads": True,
        "has_discussions": False,
        "is_template": False,
        "archived": repository.archived,
        "disabled": False,
        "allow_forking": True,
        "web_commit_signoff_required": False,
        "visibility": "private" if repository.private else "public",
    }


def _counters(repository: Repository) -> Json:
    opened = repository.open_issue_count
    return {
        "forks_count": 3,
        "stargazers_count": repository.star_count,
        "watchers_count": repository.star_count,
        "open_issues_count": opened,
        "forks": 3,
        "open_issues": opened,
        "watchers": repository.star_count,
        "size": 1024,
    }


def _identity(repository: Repository) -> Json:
    return {
        "id": repository.id,
        "node_id": node_id("R", repository.id),
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
        "owner": account(repository.owner),
        "description": repository.description,
        "fork": False,
    }


def listed_repository(repository: Repository) -> Json:
    """A repository in the list of its owner."""
    return {
        **_identity(repository),
        **_addresses(repository),
        "homepage": None,
        "language": repository.language,
        **_switches(repository),
        **_counters(repository),
        "license": {
            "key": "mit",
            "name": "MIT License",
            "spdx_id": "MIT",
            "url": f"{API}/licenses/mit",
            "node_id": node_id("L", "mit"),
        },
        "topics": ["sandbox", repository.language.lower()],
        "default_branch": "main",
        "permissions": {
            "admin": False, "maintain": False, "push": False, "triage": False, "pull": True,
        },
        "created_at": zulu(repository.created_at),
        "updated_at": zulu(repository.updated_at),
        "pushed_at": zulu(repository.pushed_at),
    }  # fmt: skip


def single_repository(repository: Repository) -> Json:
    """A repository when it is asked for by name: a little more than in a list."""
    return {
        **listed_repository(repository),
        "temp_clone_token": None,
        "allow_squash_merge": True,
        "allow_merge_commit": True,
        "allow_rebase_merge": True,
        "delete_branch_on_merge": True,
        "subscribers_count": 4,
        "network_count": 3,
        "organization": (
            account(repository.owner) if repository.owner.kind == "Organization" else None
        ),
    }


def found_repository(repository: Repository) -> Json:
    """A repository as a search finds it."""
    return {**listed_repository(repository), "score": 1.0}


def embedded_repository(repository: Repository) -> msgspec.Raw:
    """A repository inside a pull request: as it was when the world began, encoded once."""
    if not repository.embedded:
        past = zulu(repository.first_push)
        shape = {**listed_repository(repository), "updated_at": past, "pushed_at": past}
        repository.embedded = _encode(shape)
    return msgspec.Raw(repository.embedded)


def mentioned_repository(repository: Repository) -> Json:
    """A repository where only its name matters."""
    url = repository_url(repository)
    return {"id": repository.id, "url": url, "name": repository.name}
