# SPDX-License-Identifier: Apache-2.0
"""How GitHub pages, refuses and scopes: what the streams in `streams.py` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from ipai_kit.exceptions import InternalError
from ipai_kit.rest import Action, Call, LinkHeader, Reply, RestStream, Verdict, classify_rest
from ipai_kit.rest.pages import Row
from ipai_kit.rest.reading import PageReader

RESULT_CAP = 1000  # GitHub answers at most so many results of a filtered list
CUT_OFF = "GitHub does not page further through this list."
PAGE: Mapping[str, Any] = {"per_page": 100}
NEWEST_FIRST: Mapping[str, Any] = {**PAGE, "sort": "updated", "direction": "desc"}


def classify_github(reply: Reply) -> Verdict:
    """Judge a reply: GitHub uses 403, 404 and 422 for several things each."""
    body = reply.body[:4096]
    if reply.status == 422 and b"pagination is limited" in body:
        return Verdict(Action.EMPTY, CUT_OFF)
    if reply.status == 403 and b"too large to list" in body:
        return Verdict(Action.SKIP, "The list is too large for GitHub to answer.", lasting=True)
    if reply.status == 403 and (b" disabled" in body or b" enabled" in body):
        return Verdict(Action.SKIP, f"GitHub says: {_message(reply)}", lasting=True)
    if reply.status == 401 and b"Requires authentication" in body:
        return Verdict(Action.SKIP, "Only who signs in may read this.", next_step="Set a token.")
    verdict = classify_rest(reply)
    if reply.status == 403 and verdict.action is Action.SKIP:
        return Verdict(Action.SKIP, f"GitHub says: {_message(reply)}", next_step=_grant(reply))
    return verdict


def _message(reply: Reply) -> str:
    try:
        return str(msgspec.json.decode(reply.body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "Forbidden"


def _grant(reply: Reply) -> str:
    """Name what the token lacks, as the reply's headers tell it."""
    if sso := reply.headers.get("x-github-sso", ""):
        return f"Authorize the token for single sign-on: {sso.partition('url=')[2] or sso}"
    for name in ("x-accepted-github-permissions", "x-accepted-oauth-scopes"):
        if wanted := reply.headers.get(name):
            return f"Grant the token {wanted!r}."
    return "Grant the token read access to it."


class GitHubStream(RestStream):
    """A list that GitHub pages by the Link header."""

    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    params: ClassVar[Mapping[str, Any]] = PAGE
    paginator = LinkHeader()
    skip_on = frozenset({404, 409, 410, 451})


class EmbeddedReader(PageReader):
    """Reads records that lie in a list inside each delivered object, e.g. a release's assets."""

    def __init__(self, stream: RestStream, field: str, outer: Mapping[str, str]) -> None:
        super().__init__(stream)
        self._field = field
        self._outer = outer
        self.as_dicts = True

    def _rows(self, reply: Reply, context: Mapping[str, Any]) -> list[Row]:
        rows = []
        for row in super()._rows(reply, context):
            owner = row.record
            ours = {name: value for name, value in owner.items() if name.startswith("_")}
            ours |= {name: owner[source] for name, source in self._outer.items()}
            rows += [Row({**record, **ours}, None, record) for record in owner[self._field]]
        return rows


class _Created(msgspec.Struct):
    created_at: str


@dataclass(frozen=True)
class CreatedWindows(LinkHeader):
    """Pages through a list that ends at 1000 results: goes on before the oldest one seen.

    The list comes newest first. Runs of the boundary second come twice, which loses none.
    """

    records_path: str = "workflow_runs"

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:
        """Return the next pages; at the cap the first page of the window before."""
        following = super().follow(call, reply, count)
        parts = urlsplit(reply.url)
        query = dict(parse_qsl(parts.query))
        page, size = int(query.pop("page", 1)), int(query.get("per_page", 30))
        if following or page * size < RESULT_CAP or not count:
            return following
        runs = msgspec.json.decode(reply.raw(self.records_path) or b"[]", type=list[_Created])
        query["created"] = _before(query.get("created", ""), min(run.created_at for run in runs))
        return [call.to(urlunsplit(parts._replace(query=urlencode(query))))]


def _before(window: str, oldest: str) -> str:
    """Return the window that ends where the last one's results ended."""
    lower, _, upper = window.partition("..")
    if window.startswith(">="):
        lower, upper = window[2:], ""
    elif window.startswith("<="):
        lower, upper = "", window[2:]
    if upper == oldest:
        message = f"More than {RESULT_CAP} results were created within one second: {oldest!r}."
        raise InternalError(message, next_step="Report it: GitHub cannot list them.")
    return f"{lower}..{oldest}" if lower else f"<={oldest}"


def moved_back(start: str, by: timedelta) -> str:
    """Return a timestamp moved back, in GitHub's form."""
    moment = datetime.fromisoformat(start)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - by).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = [
    "CUT_OFF",
    "NEWEST_FIRST",
    "PAGE",
    "RESULT_CAP",
    "CreatedWindows",
    "EmbeddedReader",
    "GitHubStream",
    "classify_github",
    "moved_back",
]
