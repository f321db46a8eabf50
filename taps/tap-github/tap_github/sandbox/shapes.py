# SPDX-License-Identifier: Apache-2.0
"""How GitHub's API tells about accounts, repositories and the code in them."""

from __future__ import annotations

import base64
import functools
from datetime import datetime
from typing import Any

import msgspec

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import (
    Account,
    Alert,
    Asset,
    Commit,
    Organization,
    Release,
    Repository,
    Star,
    Team,
)

API = "https://api.github.com"
WEB = "https://github.com"
Json = dict[str, Any]
_encode = msgspec.json.encode

_USER_LINKS = {
    "followers": "",
    "following": "{/other_user}",
    "gists": "{/gist_id}",
    "starred": "{/owner}{/repo}",
    "subscriptions": "",
    "organizations": "",
    "repos": "",
    "events": "{/privacy}",
    "received_events": "",
}
_PATHS = {"organizations": "orgs"}
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


def node_id(kind: str, number: object) -> str:
    """A global id."""
    return f"{kind}_{base64.urlsafe_b64encode(str(number).encode()).decode().rstrip('=')}"


def zulu_or_none(moment: datetime | None) -> str | None:
    """A time as GitHub writes it."""
    return zulu(moment) if moment else None


def repository_url(repository: Repository) -> str:
    """The address of a repository in the API."""
    return f"{API}/repos/{repository.full_name}"


@functools.lru_cache(maxsize=4096)
def _account(number: int, login: str, kind: str) -> msgspec.Raw:
    url = f"{API}/users/{login}"
    shape: Json = {
        "login": login,
        "id": number,
        "node_id": node_id("U" if kind == "User" else "O", number),
        "avatar_url": f"https://avatars.githubusercontent.com/u/{number}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{WEB}/{login}",
    }
    for name, suffix in _USER_LINKS.items():
        shape[f"{name}_url"] = f"{url}/{_PATHS.get(name, name)}{suffix}"
    shape |= {"type": kind, "user_view_type": "public", "site_admin": False}
    return msgspec.Raw(_encode(shape))


def account(one: Account) -> msgspec.Raw:
    """An account as it is embedded everywhere; encoded once."""
    return _account(one.id, one.login, one.kind)


def account_or_none(one: Account | None) -> msgspec.Raw | None:
    """An account, or null where nobody is named."""
    return account(one) if one else None


def member(one: Account) -> Json:
    """An account as a record of its own."""
    decoded: Json = msgspec.json.decode(account(one))
    return decoded


# -- repositories and organizations -------------------------------------------------------------


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


def organization(one: Organization) -> Json:
    """An organization."""
    login = one.account.login
    url = f"{API}/orgs/{login}"
    links = ("repos", "events", "hooks", "issues")
    return {
        "login": login,
        "id": one.account.id,
        "node_id": node_id("O", one.account.id),
        "url": url,
        **{f"{name}_url": f"{url}/{name}" for name in links},
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{one.account.id}?v=4",
        "description": "An organization that does not exist.",
        "name": "Octo Sandbox",
        "company": "Octo",
        "blog": f"https://{login}.example.org",
        "location": "Loopback",
        "email": f"office@{login}.example.org",
        "twitter_username": None,
        "is_verified": False,
        "has_organization_projects": True,
        "has_repository_projects": True,
        "public_repos": 5,
        "public_gists": 0,
        "followers": 12,
        "following": 0,
        "html_url": f"{WEB}/{login}",
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "archived_at": None,
        "type": "Organization",
    }


def team(one: Team, owner: Organization) -> Json:
    """A team."""
    url = f"{API}/organizations/{owner.account.id}/team/{one.id}"
    return {
        "name": one.slug.title(),
        "id": one.id,
        "node_id": node_id("T", one.id),
        "slug": one.slug,
        "description": f"The {one.slug} team.",
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "url": url,
        "html_url": f"{WEB}/orgs/{owner.account.login}/teams/{one.slug}",
        "members_url": f"{url}/members{{/member}}",
        "repositories_url": f"{url}/repos",
        "permission": "pull",
        "type": "organization",
        "organization_id": owner.account.id,
        "parent": None,
    }


# -- code ---------------------------------------------------------------------------------------


def commit(repository: Repository, one: Commit) -> Json:
    """A commit."""
    url, web = repository_url(repository), f"{WEB}/{repository.full_name}"
    date = zulu(one.committed_at)
    signature = {"name": one.author_name, "email": one.author_email, "date": date}
    tree = one.sha[::-1]
    return {
        "sha": one.sha,
        "node_id": node_id("C", one.sha),
        "commit": {
            "author": signature,
            "committer": signature,
            "message": one.message,
            "tree": {"sha": tree, "url": f"{url}/git/trees/{tree}"},
            "url": f"{url}/git/commits/{one.sha}",
            "comment_count": 0,
            "verification": {
                "verified": False,
                "reason": "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": None,
            },
        },
        "url": f"{url}/commits/{one.sha}",
        "html_url": f"{web}/commit/{one.sha}",
        "comments_url": f"{url}/commits/{one.sha}/comments",
        "author": account_or_none(one.author),
        "committer": account_or_none(one.author),
        "parents": [
            {"sha": sha, "url": f"{url}/commits/{sha}", "html_url": f"{web}/commit/{sha}"}
            for sha in one.parents
        ],
    }


def branch(repository: Repository, name: str, sha: str) -> Json:
    """A branch."""
    url = repository_url(repository)
    return {
        "name": name,
        "commit": {"sha": sha, "url": f"{url}/commits/{sha}"},
        "protected": name == "main",
    }


def tag(repository: Repository, name: str, sha: str) -> Json:
    """A tag."""
    url = repository_url(repository)
    return {
        "name": name,
        "zipball_url": f"{url}/zipball/refs/tags/{name}",
        "tarball_url": f"{url}/tarball/refs/tags/{name}",
        "commit": {"sha": sha, "url": f"{url}/commits/{sha}"},
        "node_id": node_id("REF", name),
    }


def release(repository: Repository, one: Release) -> Json:
    """A release with its assets."""
    url, web = repository_url(repository), f"{WEB}/{repository.full_name}"
    return {
        "url": f"{url}/releases/{one.id}",
        "assets_url": f"{url}/releases/{one.id}/assets",
        "upload_url": f"https://uploads.github.com/repos/{repository.full_name}/releases/{one.id}"
        "/assets{?name,label}",
        "html_url": f"{web}/releases/tag/{one.tag}",
        "id": one.id,
        "author": account(one.author),
        "node_id": node_id("RE", one.id),
        "tag_name": one.tag,
        "target_commitish": "main",
        "name": one.tag,
        "draft": False,
        "immutable": False,
        "prerelease": one.tag.startswith("v0.1"),
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.created_at),
        "published_at": zulu(one.created_at),
        "assets": [asset(repository, one, each) for each in one.assets],
        "tarball_url": f"{url}/tarball/{one.tag}",
        "zipball_url": f"{url}/zipball/{one.tag}",
        "body": one.body,
    }


def asset(repository: Repository, owner: Release, one: Asset) -> Json:
    """A file of a release."""
    web = f"{WEB}/{repository.full_name}"
    return {
        "url": f"{repository_url(repository)}/releases/assets/{one.id}",
        "id": one.id,
        "node_id": node_id("RA", one.id),
        "name": one.name,
        "label": "",
        "uploader": account(one.uploader),
        "content_type": "application/octet-stream",
        "state": "uploaded",
        "size": one.size,
        "digest": None,
        "download_count": one.downloads,
        "created_at": zulu(owner.created_at),
        "updated_at": zulu(one.updated_at),
        "browser_download_url": f"{web}/releases/download/{owner.tag}/{one.name}",
    }


def contributor(one: Account, count: int) -> Json:
    """An account with its number of commits."""
    return {**member(one), "contributions": count}


def anonymous_contributor(name: str, email: str, count: int) -> Json:
    """An author without an account: no id."""
    return {"email": email, "name": name, "type": "Anonymous", "contributions": count}


def star(one: Star) -> Json:
    """A star as the star media type tells it."""
    return {"starred_at": zulu(one.starred_at), "user": account(one.account)}


# -- security -----------------------------------------------------------------------------------


def _alert(repository: Repository, one: Alert, kind: str) -> Json:
    url = f"{repository_url(repository)}/{kind}/alerts/{one.number}"
    return {
        "number": one.number,
        "state": "fixed" if one.fixed_at else "open",
        "url": url,
        "html_url": f"{WEB}/{repository.full_name}/security/{kind}/{one.number}",
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "fixed_at": zulu_or_none(one.fixed_at),
        "dismissed_at": None,
        "dismissed_by": None,
        "dismissed_reason": None,
        "dismissed_comment": None,
    }


def dependabot_alert(repository: Repository, one: Alert) -> Json:
    """An alert about a vulnerable dependency."""
    package = {"ecosystem": "npm", "name": one.subject}
    vulnerability = {
        "package": package,
        "severity": one.severity,
        "vulnerable_version_range": "< 4.17.21",
        "first_patched_version": {"identifier": "4.17.21"},
    }
    ghsa, cve = "GHSA-2a2b-3c3d-4e4f", "CVE-2024-00001"
    return {
        **_alert(repository, one, "dependabot"),
        "dependency": {
            "package": package,
            "manifest_path": "package-lock.json",
            "scope": "runtime",
            "relationship": "direct",
        },
        "security_advisory": {
            "ghsa_id": ghsa,
            "cve_id": cve,
            "summary": f"Injection in {one.subject}",
            "description": f"{one.subject} lets input through.",
            "severity": one.severity,
            "identifiers": [{"type": "GHSA", "value": ghsa}, {"type": "CVE", "value": cve}],
            "references": [{"url": f"{WEB}/advisories/{ghsa}"}],
            "published_at": zulu(one.created_at),
            "updated_at": zulu(one.created_at),
            "withdrawn_at": None,
            "vulnerabilities": [vulnerability],
            "cvss": {"score": 7.2, "vector_string": None},
            "cwes": [{"cwe_id": "CWE-94", "name": "Code Injection"}],
        },
        "security_vulnerability": vulnerability,
        "auto_dismissed_at": None,
    }


def code_scanning_alert(repository: Repository, one: Alert) -> Json:
    """A finding of code scanning."""
    common = _alert(repository, one, "code-scanning")
    path = f"src/{one.subject.partition('/')[2].replace('-', '_')}.py"
    return {
        **common,
        "instances_url": f"{common['url']}/instances",
        "rule": {
            "id": one.subject,
            "severity": "error",
            "description": one.subject,
            "name": one.subject,
            "tags": ["security"],
            "security_severity_level": one.severity,
        },
        "tool": {"name": "CodeQL", "guid": None, "version": "2.19.3"},
        "most_recent_instance": {
            "ref": "refs/heads/main",
            "analysis_key": ".github/workflows/codeql.yml:analyze",
            "environment": "{}",
            "category": ".github/workflows/codeql.yml:analyze",
            "state": common["state"],
            "commit_sha": repository.commits[0].sha,
            "message": {"text": "This value comes from the outside."},
            "location": {
                "path": path,
                "start_line": 10 + one.number,
                "end_line": 10 + one.number,
                "start_column": 5,
                "end_column": 20,
            },
            "classifications": [],
        },
    }
