# SPDX-License-Identifier: Apache-2.0
"""Where reading begins: repositories and organizations, and what is read once for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.rest import Call, RestStream
from ipai_kit.tap import ConnectorTap
from tap_github.client import GitHubStream


class Repositories(GitHubStream):
    """All chosen repositories, every run: what belongs to them changes without touching them."""

    name = "repositories"
    primary_keys = ("id",)

    # How a root was chosen: path, and path of the records within the reply.
    SCOPES = {
        "repository": ("/repos/{owner}/{name}", None),
        "organization": ("/orgs/{organization}/repos", None),
        "user": ("/users/{user}/repos", None),
        "search": ("/search/repositories", "items"),
    }

    @property
    def partitions(self) -> list[dict[str, Any]]:
        """One root for each repository, organization, user and search in the configuration."""
        config = self.config
        return [
            *(_named(repository) for repository in config.get("repositories") or ()),
            *_roots("organization", config.get("organizations")),
            *_roots("user", config.get("users")),
            *_roots("search", config.get("search")),
        ]

    def path_for(self, context: Mapping[str, Any]) -> str:
        """Choose the list that the root asks for."""
        return self.SCOPES[context["scope"]][0]

    def records_path_for(self, context: Mapping[str, Any]) -> str | None:
        """Searches answer in an envelope."""
        return self.SCOPES[context["scope"]][1]

    def first_call(self, context: Mapping[str, Any], start: Any) -> Call:
        """Add the query of a search, which has a quota of its own."""
        call = super().first_call(context, start)
        if context["scope"] == "search":
            return replace(call.with_params({"q": context["search"]}), bucket="search")
        return call if context["scope"] != "repository" else replace(call, params={})


def _named(repository: str) -> dict[str, Any]:
    owner, _, name = repository.strip("/").partition("/")
    if not owner or not name or "/" in name:
        message = f"Repository {repository!r} is not an owner and a name."
        raise ConfigurationError(message, next_step="Use e.g. 'octokit/octokit.rb'.")
    return {"scope": "repository", "root": repository, "owner": owner, "name": name}


def _roots(scope: str, names: list[str] | None) -> list[dict[str, Any]]:
    return [{"scope": scope, "root": f"{scope}:{name}", scope: name} for name in names or ()]


class Organizations(GitHubStream):
    """The chosen organizations."""

    name = "organizations"
    path = "/orgs/{organization}"
    params = {}
    primary_keys = ("id",)

    @property
    def partitions(self) -> list[dict[str, Any]]:
        """One root for each organization in the configuration."""
        return [{"organization": name} for name in self.config.get("organizations") or ()]


class RepositoryStream(GitHubStream):
    """Something that is listed once for each repository."""

    parent: ClassVar[type[RestStream] | None] = Repositories
    primary_keys: Sequence[str] = ("_repository_id", "id")
    state_partitioning_keys = ["repository_id"]  # survives a rename
    context_from_parent = {
        "owner": "owner.login",
        "name": "name",
        "repository_id": "id",
        "repository": "full_name",
        "archived": "archived",
    }
    context_fields = {"_repository_id": "repository_id", "_repository": "repository"}

    def __init__(self, tap: ConnectorTap) -> None:
        super().__init__(tap)
        self._found_by: dict[int, str] = {}

    def accepts_context(self, context: Mapping[str, Any]) -> bool:
        """Read a repository once, though its name, its organization and a search may find it."""
        if context["archived"] and self.config.get("skip_archived"):
            return False
        found_by = self._found_by.setdefault(context["repository_id"], context["root"])
        return bool(found_by == context["root"])


class OrganizationStream(GitHubStream):
    """Something that is listed once for each organization."""

    parent: ClassVar[type[RestStream] | None] = Organizations
    primary_keys: Sequence[str] = ("_organization_id", "id")
    state_partitioning_keys = ["organization_id"]
    context_from_parent = {"organization": "login", "organization_id": "id"}
    context_fields = {"_organization_id": "organization_id", "_organization": "organization"}
