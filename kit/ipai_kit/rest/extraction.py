# SPDX-License-Identifier: Apache-2.0
"""Walks the tree of streams on the fetching side: slices, their pages, the children of each page.

Runs in the fetcher's threads. What it finds is scheduled at once, so that later pages and the
children of many parents travel in parallel while the emitting side takes them in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipai_kit.rest.calls import Call, Reply
from ipai_kit.rest.client import Client
from ipai_kit.rest.pages import Page
from ipai_kit.rest.prefetch import Fetcher, Key, Ticket
from ipai_kit.rest.retry import Action, Verdict

if TYPE_CHECKING:
    from ipai_kit.rest.streams import RestStream

__all__ = ["Extraction", "Slice"]


@dataclass
class Slice:
    """One stream in one context: what is requested, where it starts, what came of it.

    `owner` is the slice whose cursor brought us here, when that is not this slice: the nearest
    ancestor that is read incrementally. The owner keeps the bookmark, because what this slice
    holds is complete only together with all its sisters.
    """

    stream: RestStream
    context: Mapping[str, Any]
    key: Key
    start: Any = None  # records before this are not emitted
    fetch_start: Any = None  # the request starts here: earlier when a child has to catch up
    etag: str | None = None
    owner: Slice | None = None
    driver: Any = None  # the owner's cursor value that led here
    emits: bool = True
    first: Ticket[Page] | None = None
    child_starts: dict[str, Any] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    latest: Any = None

    @property
    def holder(self) -> Slice:
        """The slice that keeps the bookmark."""
        return self.owner or self


class Extraction:
    """Schedules requests for slices and makes pages of the replies."""

    def __init__(self, client: Client, fetcher: Fetcher[Page]) -> None:
        self._client = client
        self._fetcher = fetcher

    def open(self, piece: Slice) -> Slice:
        """Schedule the first page of a slice."""
        call = piece.stream.first_call(piece.context, piece.fetch_start)
        if piece.etag:
            call = call.with_headers({"If-None-Match": piece.etag})
        piece.first = self._schedule(piece, call, 0, extend=True)
        return piece

    def pages(self, piece: Slice) -> Iterator[Page]:
        """Take the pages of a slice in order."""
        waiting = [piece.first] if piece.first else []
        while waiting:
            page = self._fetcher.take(waiting.pop(0))
            yield page
            waiting.extend(page.following)

    def _schedule(self, piece: Slice, call: Call, number: int, *, extend: bool) -> Ticket[Page]:
        key = (*piece.key, number)
        return self._fetcher.submit(key, lambda: self._fetch(piece, call, key, extend))

    def _fetch(self, piece: Slice, call: Call, key: Key, extend: bool) -> Page:
        following: list[Call] = []
        stream = piece.stream

        def read(reply: Reply, verdict: Verdict) -> Page:
            page = stream.reader.read(reply, verdict, piece)
            if extend and verdict.action is Action.OK and not page.last:
                following[:] = stream.paginator.follow(call, reply, page.delivered)
            return page

        page = self._client.fetch(call, read, stream.classify)
        if not stream.may_run_ahead(piece):
            del following[1:]
        page.following = [
            self._schedule(piece, one, key[-1] + 1 + n, extend=n == len(following) - 1)
            for n, one in enumerate(following)
        ]
        page.children = self._open_children(piece, page, key)
        return page

    def _open_children(self, piece: Slice, page: Page, key: Key) -> list[Slice]:
        children = piece.stream.reader.child_contexts(piece, page)
        slices = [
            child.child_slice(context, (*key, row, column), piece, driver)
            for row, column, child, context, driver in children
        ]
        return [self.open(one) for one in slices if one is not None]
