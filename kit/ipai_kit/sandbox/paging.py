# SPDX-License-Identifier: Apache-2.0
"""The ways in which APIs hand out long lists, over any sequence."""

import base64
import binascii
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from ipai_kit.sandbox.replies import Refused


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a list. ``next`` is a page number, an offset, a token or an address."""

    items: list[Any]
    total: int
    next: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PageSize:
    """The parameter that sets the length of a page, its default and what the API allows."""

    name: str = "per_page"
    default: int = 30
    maximum: int = 100

    def of(self, request: Request) -> int:
        """The wanted size within the bounds; nonsense means the default, as most APIs do it."""
        return min(self.maximum, max(1, whole_number(request, self.name, self.default)))


def whole_number(request: Request, name: str, default: int) -> int:
    """A query parameter as a whole number; the default when it is absent or nonsense."""
    try:
        return int(request.query_params.get(name, default))
    except ValueError:
        return default


def link_header(
    request: Request,
    items: Sequence[Any],
    size: PageSize | None = None,
    *,
    page_param: str = "page",
    path: str | None = None,
) -> Page:
    """Pages by number with an RFC 8288 ``Link`` header; ``path`` moves the links elsewhere."""
    per_page = (size or PageSize()).of(request)
    number = max(1, whole_number(request, page_param, 1))
    last = max(1, -(-len(items) // per_page))
    links: dict[str, int] = {}
    if number > 1:
        links |= {"prev": min(number - 1, last), "first": 1}
    if number < last:
        links |= {"next": number + 1, "last": last}
    value = ", ".join(
        f'<{_address(request, {page_param: page}, path)}>; rel="{relation}"'
        for relation, page in links.items()
    )
    found = list(items[(number - 1) * per_page : number * per_page])
    return Page(found, len(items), links.get("next"), {"link": value} if value else {})


def page_number(
    request: Request,
    items: Sequence[Any],
    size: PageSize | None = None,
    *,
    page_param: str = "page",
    first: int = 1,
) -> Page:
    """Pages by number; ``next`` is the next number or None."""
    per_page = (size or PageSize()).of(request)
    number = max(first, whole_number(request, page_param, first))
    start = (number - first) * per_page
    more = start + per_page < len(items)
    return Page(list(items[start : start + per_page]), len(items), number + 1 if more else None)


def offset(
    request: Request,
    items: Sequence[Any],
    size: PageSize | None = None,
    *,
    offset_param: str = "offset",
) -> Page:
    """Slices by offset; ``next`` is the next offset or None."""
    limit = (size or PageSize("limit")).of(request)
    start = max(0, whole_number(request, offset_param, 0))
    end = start + limit
    return Page(list(items[start:end]), len(items), end if end < len(items) else None)


def cursor_token(
    request: Request,
    items: Sequence[Any],
    size: PageSize | None = None,
    *,
    token_param: str = "page_token",  # noqa: S107 -- the name of a parameter
) -> Page:
    """Slices by an opaque token; ``next`` is the next one. A foreign token is refused with 400."""
    limit = (size or PageSize("page_size")).of(request)
    start = _token_offset(request.query_params.get(token_param, ""))
    end = start + limit
    token = base64.urlsafe_b64encode(f"at:{end}".encode()).decode() if end < len(items) else None
    return Page(list(items[start:end]), len(items), token)


def next_url(
    request: Request,
    items: Sequence[Any],
    size: PageSize | None = None,
    *,
    offset_param: str = "offset",
    path: str | None = None,
) -> Page:
    """Slices whose reply names the address of the next one."""
    page = offset(request, items, size, offset_param=offset_param)
    if page.next is None:
        return page
    address = _address(request, {offset_param: page.next}, path)
    return Page(page.items, page.total, address)


def _token_offset(token: str) -> int:
    if not token:
        return 0
    try:
        mark, _, number = base64.urlsafe_b64decode(token).decode("ascii").partition(":")
        if mark == "at":
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise Refused(400, f"Page token {token!r} was not issued here. Start without one.")


def _address(request: Request, changed: Mapping[str, object], path: str | None) -> str:
    query = {**request.query_params, **{name: str(value) for name, value in changed.items()}}
    url = request.url
    return f"{url.scheme}://{url.netloc}{path or url.path}?{urllib.parse.urlencode(query)}"
