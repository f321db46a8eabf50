# SPDX-License-Identifier: Apache-2.0
"""How GitHub tells about people, organizations and teams."""

from __future__ import annotations

import functools

import msgspec

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import Account, Organization, Team
from tap_github.sandbox.shapes.form import API, WEB, Json, node_id

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


def contributor(one: Account, count: int) -> Json:
    """An account with its number of commits."""
    return {**member(one), "contributions": count}


def anonymous_contributor(name: str, email: str, count: int) -> Json:
    """An author without an account: no id."""
    return {"email": email, "name": name, "type": "Anonymous", "contributions": count}
