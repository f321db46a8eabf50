# SPDX-License-Identifier: Apache-2.0
"""How a source says where its next page is: small value objects without I/O.

`begin(call)` prepares the first request; `follow(call, reply, count)` names the requests after a
reply: none at the end, one when only the next is known, or all up to the last when the source
tells how many there are (these are then fetched in parallel).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from ipai_kit.rest.calls import Call, Reply

__all__ = [
    "LinkHeader",
    "NextToken",
    "NextUrl",
    "Offset",
    "PageNumber",
    "Paginator",
    "SinglePage",
    "parse_links",
]

_LINK = re.compile(r'<([^>]*)>\s*;[^,]*?rel="?([^";,]+)"?')


class Paginator(Protocol):
    """What a stream needs to know about paging."""

    def begin(self, call: Call) -> Call:
        """Return the first page's request."""
        ...

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:
        """Return the requests that follow this reply, which held `count` records."""
        ...

    def total(self, reply: Reply) -> int | None:
        """Return how many records the whole answer has, if the source says so."""
        ...


def parse_links(header: str | None) -> dict[str, str]:
    """Read a Link header (RFC 8288) into `{rel: url}`."""
    return {rel: url for url, rels in _LINK.findall(header or "") for rel in rels.split()}


def _with_query(url: str, name: str, value: str) -> str:
    parts = urlsplit(url)
    query = [(k, value if k == name else v) for k, v in parse_qsl(parts.query, True)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _page_of(url: str, name: str) -> tuple[int | None, list[tuple[str, str]]]:
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    page = dict(query).get(name, "")
    return (int(page) if page.isdigit() else None), [kv for kv in query if kv[0] != name]


@dataclass(frozen=True)
class SinglePage:
    """One request, one answer."""

    def begin(self, call: Call) -> Call:
        """Return the only request."""
        return call

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:  # noqa: ARG002
        """Return nothing: there is no second page."""
        return []

    def total(self, reply: Reply) -> int | None:  # noqa: ARG002
        """Return nothing: a single page needs no total."""
        return None


@dataclass(frozen=True)
class LinkHeader(SinglePage):
    """`Link: <...>; rel="next"`; with a numbered rel="last" the pages between are known too.

    URLs are followed as given, never rebuilt: a renamed resource moves to another path.
    """

    page_param: str = "page"
    total_path: str | None = None

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:  # noqa: ARG002
        """Return next, or next to last when both carry a page number."""
        links = parse_links(reply.headers.get("link"))
        if "next" not in links:
            return []
        following = urljoin(reply.url, links["next"])
        pages = self._known_pages(following, urljoin(reply.url, links.get("last", "")))
        return [call.to(url) for url in pages]

    def _known_pages(self, following: str, last: str) -> list[str]:
        first, first_rest = _page_of(following, self.page_param)
        final, final_rest = _page_of(last, self.page_param)
        if first is None or final is None or final <= first or first_rest != final_rest:
            return [following]
        return [_with_query(following, self.page_param, str(n)) for n in range(first, final + 1)]

    def total(self, reply: Reply) -> int | None:
        """Return the count that an envelope carries."""
        return _whole(reply.field(self.total_path)) if self.total_path else None


@dataclass(frozen=True)
class PageNumber(SinglePage):
    """`?page=1`, `?page=2`, … until a short page, or up to a total that the body tells."""

    param: str = "page"
    size_param: str | None = None
    size: int = 100
    first: int = 1
    total_path: str | None = None
    pages_path: str | None = None

    def begin(self, call: Call) -> Call:
        """Return the request for the first page."""
        size = {self.size_param: self.size} if self.size_param else {}
        return call.with_params({**size, self.param: self.first})

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:
        """Return the pages up to the known last one, or the next one after a full page."""
        page = int(call.params[self.param])
        last = self._last_page(reply)
        if last is not None:
            return [call.with_params({self.param: n}) for n in range(page + 1, last + 1)]
        return [call.with_params({self.param: page + 1})] if count >= self.size else []

    def _last_page(self, reply: Reply) -> int | None:
        pages = _whole(reply.field(self.pages_path)) if self.pages_path else None
        total = self.total(reply)
        if pages is None and total is not None:
            pages = -(-total // self.size)
        return None if pages is None else self.first + pages - 1

    def total(self, reply: Reply) -> int | None:
        """Return the count that the body carries."""
        return _whole(reply.field(self.total_path)) if self.total_path else None


@dataclass(frozen=True)
class Offset(SinglePage):
    """`?offset=0&limit=100`, in the query or (`in_body`) in the JSON body."""

    offset_param: str = "offset"
    limit_param: str | None = "limit"
    size: int = 100
    total_path: str | None = None
    in_body: bool = False
    as_text: bool = False  # Google's int64 parameters are JSON strings

    def begin(self, call: Call) -> Call:
        """Return the request for the first slice."""
        limit = {self.limit_param: self._value(self.size)} if self.limit_param else {}
        return call.with_values({**limit, self.offset_param: self._value(0)}, self.in_body)

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:
        """Return the slices up to the known total, or the next one after a full slice."""
        start = int(call.value(self.offset_param, self.in_body)) + self.size
        total = self.total(reply)
        if total is None:
            total = start + 1 if count >= self.size else 0
        return [
            call.with_values({self.offset_param: self._value(n)}, self.in_body)
            for n in range(start, total, self.size)
        ]

    def total(self, reply: Reply) -> int | None:
        """Return the count that the body carries."""
        return _whole(reply.field(self.total_path)) if self.total_path else None

    def _value(self, number: int) -> int | str:
        return str(number) if self.as_text else number


@dataclass(frozen=True)
class NextToken(SinglePage):
    """A token in the body names the next page: `{"nextPageToken": "…"}`."""

    path: str = "nextPageToken"
    param: str = "pageToken"
    in_body: bool = False

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:  # noqa: ARG002
        """Return the page that the token names."""
        token = reply.field(self.path)
        return [call.with_values({self.param: token}, self.in_body)] if token else []


@dataclass(frozen=True)
class NextUrl(SinglePage):
    """A URL in the body is the next page: `{"next": "https://…"}`."""

    path: str = "next"

    def follow(self, call: Call, reply: Reply, count: int) -> list[Call]:  # noqa: ARG002
        """Return the page that the URL names."""
        url = reply.field(self.path)
        return [call.to(urljoin(reply.url, url))] if url else []


def _whole(value: Any) -> int | None:
    """Read a count that may come as a number, as text or not at all."""
    if isinstance(value, bool) or value is None:
        return None
    return int(value)
