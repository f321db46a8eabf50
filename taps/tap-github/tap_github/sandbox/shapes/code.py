# SPDX-License-Identifier: Apache-2.0
"""How GitHub tells about commits, branches, tags, releases and stars."""

from __future__ import annotations

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import Asset, Commit, Release, Repository, Star
from tap_github.sandbox.shapes.accounts import account, account_or_none
from tap_github.sandbox.shapes.form import WEB, Json, node_id
from tap_github.sandbox.shapes.repositories import repository_url


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


def star(one: Star) -> Json:
    """A star as the star media type tells it."""
    return {"starred_at": zulu(one.starred_at), "user": account(one.account)}
