# SPDX-License-Identifier: Apache-2.0
"""The addresses of the made-up GitHub and how they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request

from ipai_kit.sandbox import PageSize, Refused, Reply, Sandbox, link_header, whole_number
from tap_github.sandbox.callers import INSTALLATION, Callers, demand, is_narrow, is_stranger, refuse
from tap_github.sandbox.facts import Organization, Repository
from tap_github.sandbox.listings import LISTINGS, RESULT_CAP, Listing, owner_name
from tap_github.sandbox.shapes import accounts, repositories
from tap_github.sandbox.shapes.form import API, Json
from tap_github.sandbox.world import GitHub

BLOCKED = "octo-sandbox/blocked"
_PAGE = PageSize()
_encode = msgspec.json.encode
_SEARCH_QUOTA = {
    "x-ratelimit-limit": "30",
    "x-ratelimit-remaining": "29",
    "x-ratelimit-resource": "search",
}


class Routes:
    """All handlers; what they answered is kept encoded until the world changes."""

    def __init__(self, world: GitHub, callers: Callers) -> None:
        self._world = world
        self._callers = callers
        self._kept: dict[Any, Any] = {}
        self._kept_version = (-1, -1)
        self._asked_by_name: set[int] = set()

    def register(self, sandbox: Sandbox) -> None:
        """Tell the stand-in all addresses and what each stream holds."""
        sandbox.get("/repos/{owner}/{name}")(self.repository)
        sandbox.get("/repositories/{id}")(self.repository)
        for listing in LISTINGS:
            if listing.stream != "anonymous_contributors":
                self._register_listing(sandbox, listing)
            sandbox.stream(listing.stream, listing.key, partial(self.records, listing))
        self._register_accounts(sandbox)
        sandbox.get("/search/repositories")(self.search)
        sandbox.get("/rate_limit", public=True)(lambda _: _RATE_LIMIT)
        grant = "/app/installations/{installation}/access_tokens"
        sandbox.post(grant)(self._callers.grant)
        sandbox.get("/app/installations")(self.installations)

    def _register_listing(self, sandbox: Sandbox, listing: Listing) -> None:
        suffix = listing.path.replace("{owner}", "{owned_by}")
        handler = self._contributors if listing.stream == "contributors" else self._list
        serve = partial(_with_listing, handler, listing)
        for base in ("/repos/{owner}/{name}", "/repositories/{id}"):
            sandbox.get(base + suffix)(serve)

    def _register_accounts(self, sandbox: Sandbox) -> None:
        for base in ("/orgs/{org}", "/organizations/{org_id}"):
            sandbox.get(base)(lambda request: accounts.organization(self._organization(request)))
            sandbox.get(f"{base}/repos")(self.organization_repositories)
            sandbox.get(f"{base}/members")(self.members)
            sandbox.get(f"{base}/teams")(self.teams)
            sandbox.get(base + "/teams/{slug}/members")(self.team_members)
        sandbox.get("/users/{user}/repos")(self.user_repositories)
        sandbox.stream("repositories", ("id",), self._repository_records)
        owner = self._world.organization
        sandbox.stream("organizations", ("id",), lambda: [accounts.organization(owner)])
        sandbox.stream("members", _ORGANIZATION_KEY, lambda: self._member_records(owner))
        sandbox.stream("teams", _ORGANIZATION_KEY, lambda: self._team_records(owner))
        key = ("_organization_id", "_team_id", "id")
        sandbox.stream("team_members", key, lambda: self._team_member_records(owner))

    # -- what a repository lists ------------------------------------------------------------

    def repository(self, request: Request) -> Json:
        """A repository by name or id."""
        found = self._repository(request)
        self._asked_by_name.add(found.id)
        return repositories.single_repository(found)

    def _list(self, request: Request, listing: Listing) -> Reply:
        repository = self._repository(request)
        demand(request, listing.permission)
        _refuse_special(repository, listing)
        owner = _owner(repository, listing, request.path_params.get("owned_by", ""))
        chosen = self._chosen(repository, owner, listing, request.query_params)
        path = f"/repositories/{repository.id}{listing.path}"
        path = path.replace("{owner}", request.path_params.get("owned_by", ""))
        plain = listing.stream == "stargazers" and "star+json" not in request.headers["accept"]
        encoded = [
            (
                accounts.account(one.account)
                if plain
                else self._encoded(repository, owner, listing, one)
            )
            for one in _visible(request, chosen, listing)
        ]
        return _page(request, encoded, path, envelope=listing.envelope, total=len(chosen))

    def _contributors(self, request: Request, listing: Listing) -> Reply:
        """Accounts; authors without one come last, when asked for."""
        repository = self._repository(request)
        if not repository.commits:
            return Reply(None, 204)
        names = ["contributors", "anonymous_contributors"]
        wanted = names if request.query_params.get("anon") in ("1", "true") else names[:1]
        encoded = [
            _encode(one.shape(repository, None, fact))
            for one in LISTINGS
            if one.stream in wanted
            for fact in one.facts(repository, None)
        ]
        return _page(request, encoded, f"/repositories/{repository.id}{listing.path}")

    def _repository(self, request: Request) -> Repository:
        """The repository of an address; where it moved, if it was renamed."""
        if "id" in request.path_params:
            number = request.path_params["id"]
            found = self._world.by_id(int(number)) if number.isdigit() else None
        else:
            found = self._by_name(request)
        if found is None or (found.private and is_stranger(request)):
            raise refuse(404, "Not Found")
        return found

    def _by_name(self, request: Request) -> Repository | None:
        owner, name = request.path_params["owner"], request.path_params["name"]
        if f"{owner}/{name}" == BLOCKED:
            raise Refused(451, body=_BLOCKED)
        found = self._world.by_name(f"{owner}/{name}")
        if found is None or found.name.lower() == name.lower():
            return found
        rest = request.url.path.removeprefix(f"/repos/{owner}/{name}")
        query = f"?{request.url.query}" if request.url.query else ""
        host = f"{request.url.scheme}://{request.url.netloc}"
        moved = f"{host}/repositories/{found.id}{rest}{query}"
        body = {"message": "Moved Permanently", "url": moved, "documentation_url": API}
        raise Refused(301, headers={"location": moved}, body=body)

    def _chosen(
        self, repository: Repository, owner: Any, listing: Listing, query: Mapping[str, str]
    ) -> Sequence[Any]:
        words = tuple(sorted(pair for pair in query.items() if pair[0] not in _PAGING))
        key = (listing.stream, repository.id, id(owner), words)
        kept: Sequence[Any] = self._keep(
            key, lambda: listing.choose(listing.facts(repository, owner), query)
        )
        return kept

    def _encoded(self, repository: Repository, owner: Any, listing: Listing, one: Any) -> bytes:
        if isinstance(one, tuple):
            return _encode(listing.shape(repository, owner, one))
        key = (listing.stream, id(one))
        kept: bytes = self._keep(key, lambda: _encode(listing.shape(repository, owner, one)))
        return kept

    def _keep(self, key: Any, make: Callable[[], Any]) -> Any:
        version = (id(self._world.organization), self._world.version)
        if version != self._kept_version:
            self._kept, self._kept_version = {}, version
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    # -- accounts and search ----------------------------------------------------------------

    def _organization(self, request: Request) -> Organization:
        one, params = self._world.organization, request.path_params
        if one.account.login == params.get("org") or str(one.account.id) == params.get("org_id"):
            return one
        raise refuse(404, "Not Found")

    def _listed(self, request: Request, login: str) -> list[Repository]:
        """The repositories of an account that the caller may see."""
        stranger = is_stranger(request)
        return [
            one
            for one in self._world.repositories
            if one.owner.login == login and not (one.private and stranger)
        ]

    def organization_repositories(self, request: Request) -> Reply:
        """The repositories of an organization."""
        owner = self._organization(request)
        return self._account_page(
            request, self._listed(request, owner.account.login), owner, "repos"
        )

    def _account_page(
        self, request: Request, found: list[Repository], owner: Organization, rest: str
    ) -> Reply:
        encoded = [_encode(repositories.listed_repository(one)) for one in found]
        return _page(request, encoded, f"/organizations/{owner.account.id}/{rest}")

    def user_repositories(self, request: Request) -> Reply:
        """The repositories of a person."""
        login = request.path_params["user"]
        found = self._listed(request, login)
        if not found:
            raise refuse(404, "Not Found")
        path = f"/user/{found[0].owner.id}/repos"
        return _page(request, [_encode(repositories.listed_repository(one)) for one in found], path)

    def members(self, request: Request) -> Reply:
        """The members; to strangers only those who show themselves."""
        owner = self._organization(request)
        hidden = is_stranger(request) or is_narrow(request)
        people = owner.members[:5] if hidden else owner.members
        path = f"/organizations/{owner.account.id}/members"
        return _page(request, [accounts.account(one) for one in people], path)

    def teams(self, request: Request) -> Reply:
        """The teams."""
        demand(request, "members=read")
        owner = self._organization(request)
        encoded = [_encode(accounts.team(one, owner)) for one in owner.teams]
        return _page(request, encoded, f"/organizations/{owner.account.id}/teams")

    def team_members(self, request: Request) -> Reply:
        """The members of a team."""
        demand(request, "members=read")
        owner, slug = self._organization(request), request.path_params["slug"]
        for team in owner.teams:
            if team.slug == slug:
                path = f"/organizations/{owner.account.id}/team/{team.id}/members"
                return _page(request, [accounts.account(one) for one in team.members], path)
        raise refuse(404, "Not Found")

    def search(self, request: Request) -> Reply:
        """Repositories by organization, user, language, topic and words of the name."""
        words = request.query_params.get("q", "").split()
        if not words:
            raise refuse(422, "Validation Failed")
        stranger = is_stranger(request)
        found = [
            _encode(repositories.found_repository(one))
            for one in self._world.repositories
            if not (one.private and stranger) and all(_matches(one, word) for word in words)
        ]
        shown = found[:RESULT_CAP]
        reply = _page(request, shown, "/search/repositories", envelope="items", total=len(found))
        return Reply(reply.body, headers={**reply.headers, **_SEARCH_QUOTA})

    def installations(self, request: Request) -> list[Json]:
        """The only installation of the app, as far as a client needs it."""
        self._callers.app(request)
        return [{"id": INSTALLATION, "account": accounts.account(self._world.organization.account)}]

    # -- the oracle -------------------------------------------------------------------------

    def records(self, listing: Listing) -> Iterator[Json]:
        """Every record of a stream, as a tap should land it."""
        for repository in self._world.repositories:
            ours = {"_repository_id": repository.id, "_repository": repository.full_name}
            for owner in listing.owners(repository) if listing.owners else [None]:
                for fact in listing.facts(repository, owner):
                    record = listing.shape(repository, owner, fact)
                    yield {**record, **ours, **_lifted(listing, owner, record)}

    def _repository_records(self) -> Iterator[Json]:
        """In the shape in which they were last asked for: by name there is more to see."""
        for one in self._world.repositories:
            by_name = one.id in self._asked_by_name
            yield (
                repositories.single_repository(one)
                if by_name
                else repositories.listed_repository(one)
            )

    def _member_records(self, owner: Organization) -> Iterator[Json]:
        for one in owner.members:
            yield {**accounts.member(one), **_of(owner)}

    def _team_records(self, owner: Organization) -> Iterator[Json]:
        for one in owner.teams:
            yield {**accounts.team(one, owner), **_of(owner)}

    def _team_member_records(self, owner: Organization) -> Iterator[Json]:
        for team in owner.teams:
            for one in team.members:
                ours = {"_team_id": team.id, "_team": team.slug}
                yield {**accounts.member(one), **_of(owner), **ours}


def _with_listing(
    handler: Callable[[Request, Listing], Reply], listing: Listing, request: Request
) -> Reply:
    return handler(request, listing)


_PAGING = {"page", "per_page", "after", "before"}
_ORGANIZATION_KEY = ("_organization_id", "id")
_BLOCKED = {
    "message": "Repository access blocked",
    "block": {
        "reason": "dmca",
        "created_at": "2024-05-02T10:00:00Z",
        "html_url": "https://github.com/github/dmca",
    },
}
_RATE = {"limit": 5000, "used": 1, "remaining": 4999, "reset": 1_900_000_000}
_RATE_LIMIT = {"resources": {"core": _RATE, "search": _RATE}, "rate": _RATE}


def _of(owner: Organization) -> Json:
    return {"_organization_id": owner.account.id, "_organization": owner.account.login}


def _lifted(listing: Listing, owner: Any, record: Json) -> Json:
    if listing.stream == "stargazers":
        return {"_user_id": msgspec.json.decode(record["user"])["id"]}
    return listing.ours(owner, record)


def _owner(repository: Repository, listing: Listing, name: str) -> Any:
    if listing.owners is None:
        return None
    for owner in listing.owners(repository):
        if owner_name(owner) == name:
            return owner
    raise refuse(404, "Not Found")


def _refuse_special(repository: Repository, listing: Listing) -> None:
    if listing.stream == "issues" and not repository.has_issues:
        raise refuse(410, "Issues has been disabled in this repository.")
    if listing.stream == "commits" and not repository.commits:
        raise refuse(409, "Git Repository is empty.")


def _visible(request: Request, chosen: Sequence[Any], listing: Listing) -> Sequence[Any]:
    """What can be paged to at all."""
    if listing.page_limit and whole_number(request, "page", 1) > listing.page_limit:
        message = (
            "In order to keep the API fast for everyone, pagination is limited for this resource."
        )
        raise refuse(422, message)
    return chosen[: listing.cap] if listing.cap else chosen


def _page(
    request: Request,
    encoded: Sequence[Any],
    path: str,
    *,
    envelope: str | None = None,
    total: int = 0,
) -> Reply:
    """One page of encoded records with its Link header."""
    page = link_header(request, encoded, _PAGE, path=path)
    body = b"[" + b",".join(bytes(one) for one in page.items) + b"]"
    if envelope == "items":
        body = b'{"total_count":%d,"incomplete_results":false,"items":%b}' % (total, body)
    elif envelope:
        body = b'{"total_count":%d,"%b":%b}' % (total, envelope.encode(), body)
    return Reply(body, headers=page.headers)


def _matches(repository: Repository, word: str) -> bool:
    field, _, value = word.partition(":")
    value = value.lower()
    if field in ("org", "user"):
        return repository.owner.login == value
    if field == "language":
        return repository.language.lower() == value
    if field == "topic":
        return value in ("sandbox", repository.language.lower())
    return word.lower() in repository.full_name.lower()
