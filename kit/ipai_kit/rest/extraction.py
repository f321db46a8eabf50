# SPDX-License-Identifier: Apache-2.0
"""Walks the tree of streams on the fetching side: slices, their pages, the children of each page.

Runs in the fetcher's threads. What it finds is scheduled at once, so that later pages and the
children of many parents travel in parallel while the emitting side takes them in order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ipai_kit.exceptions import StreamUnavailableError
from ipai_kit.rest.calls import Call, Reply
from ipai_kit.rest.client import Client
from ipai_kit.rest.pages import Page
from ipai_kit.rest.prefetch import Fetcher, Key, Ticket
from ipai_kit.rest.retry import Action, Verdict

if TYPE_CHECKING:
    from ipai_kit.rest.streams import RestStream

_refusal_lock = threading.Lock()

__all__ = ["Extraction", "Slice", "Window"]


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
    known: Collection[str] = ()  # digests of records at the start that were emitted before
    first: list[Ticket[Page]] = field(default_factory=list)
    child_starts: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, Key] = field(default_factory=dict)  # streams without permission, since when
    left_out: set[str] = field(default_factory=set)  # the same, as far as was emitted
    behind: set[str] = field(default_factory=set)  # streams that missed something: no bookmark
    reached: set[str] = field(default_factory=set)  # streams that delivered something
    latest: Any = None  # the latest cursor emitted
    ordered: bool = True  # no cursor went back so far
    boundary: list[str] | None = field(default_factory=list)  # digests of the records there

    @property
    def holder(self) -> Slice:
        """The slice that keeps the bookmark."""
        return self.owner or self

    @property
    def cut_off(self) -> bool:
        """Whether an earlier sister met a missing permission, which this one would meet too."""
        return self.holder.refused.get(self.stream.name, self.key) < self.key

    def names_below(self) -> set[str]:
        """Return this stream and those below it whose bookmarks the same holder keeps."""
        return {one.name for one in [self.stream, *self.stream.driven_descendants()]}

    def refuse(self) -> None:
        """Note that the permission for this stream is missing below the holder."""
        refused, name = self.holder.refused, self.stream.name
        with _refusal_lock:
            refused[name] = min(refused.get(name, self.key), self.key)


class Window(NamedTuple):
    """A span of time that one query asks for, where a source caps the size of its answers."""

    start: datetime
    end: datetime

    def halves(self) -> list[Window]:
        """Return two windows of half the length; none when it is too short to divide."""
        middle = self.start + (self.end - self.start) / 2
        middle = middle.replace(microsecond=0)
        if middle <= self.start:
            return []
        return [Window(self.start, middle), Window(middle, self.end)]


@dataclass(frozen=True)
class _Step:
    """One page to fetch. `extend` says that its reply tells what follows."""

    piece: Slice
    call: Call
    key: Key
    extend: bool = True
    window: Window | None = None

    def split(self, reply: Reply) -> list[Window]:
        """Return smaller windows when the answer is larger than the source will give."""
        stream = self.piece.stream
        if self.window is None or stream.result_cap is None:
            return []
        total = stream.paginator.total(reply)
        return self.window.halves() if total is not None and total >= stream.result_cap else []


class Extraction:
    """Schedules requests for slices and makes pages of the replies."""

    def __init__(self, client: Client, fetcher: Fetcher[Page]) -> None:
        self._client = client
        self._fetcher = fetcher

    def open(self, piece: Slice) -> Slice:
        """Schedule the first page of a slice, or of each of its windows."""
        call = piece.stream.first_call(piece.context, piece.fetch_start)
        if piece.etag:
            call = call.with_headers({"If-None-Match": piece.etag})
        windows = piece.stream.partition_windows(piece.fetch_start, piece.context)
        if windows is None:
            piece.first = [self._schedule(_Step(piece, call, (*piece.key, 0)))]
        else:
            piece.first = self._schedule_windows(_Step(piece, call, piece.key), windows)
        return piece

    def halt(self, error: Exception) -> None:
        """Ask the source for nothing more; what has come already can still be emitted."""
        self._fetcher.halt(error)

    def pages(self, piece: Slice) -> Iterator[Page]:
        """Take the pages of a slice in order."""
        waiting = deque(piece.first)
        while waiting:
            page = self._fetcher.take(waiting.popleft())
            yield page
            waiting.extendleft(reversed(page.following))

    def _schedule(self, step: _Step) -> Ticket[Page]:
        return self._fetcher.submit(step.key, lambda: self._fetch(step))

    def _schedule_windows(self, step: _Step, windows: Sequence[Window]) -> list[Ticket[Page]]:
        stream = step.piece.stream
        return [
            self._schedule(
                replace(
                    step,
                    call=step.call.with_params(stream.window_params(window)),
                    key=(*step.key, number, 0),
                    window=window,
                )
            )
            for number, window in enumerate(windows)
        ]

    def _fetch(self, step: _Step) -> Page:
        piece = step.piece
        if piece.cut_off:
            raise StreamUnavailableError
        following: list[Call] = []
        halves: list[Window] = []

        def read(reply: Reply, verdict: Verdict) -> Page:
            halves[:] = step.split(reply) if verdict.action is Action.OK else []
            if halves:
                return Page(reply.received_at.isoformat())
            page = piece.stream.reader.read(reply, verdict, piece)
            if step.extend and verdict.action is Action.OK and not page.last:
                following[:] = piece.stream.paginator.follow(step.call, reply, page.delivered)
            return page

        try:
            page = self._client.fetch(step.call, read, piece.stream.classify)
        except StreamUnavailableError as error:
            if not error.lasting:
                piece.refuse()
            raise
        page.following = (
            self._schedule_windows(step, halves)
            if halves
            else self._schedule_pages(step, following)
        )
        page.children = self._open_children(piece, page, step.key)
        return page

    def _schedule_pages(self, step: _Step, calls: list[Call]) -> list[Ticket[Page]]:
        if not step.piece.stream.may_run_ahead(step.piece):
            calls = calls[:1]
        *path, number = step.key
        return [
            self._schedule(
                replace(
                    step, call=call, key=(*path, number + n), extend=n == len(calls), window=None
                )
            )
            for n, call in enumerate(calls, start=1)
        ]

    def _open_children(self, piece: Slice, page: Page, key: Key) -> list[Slice]:
        children = piece.stream.reader.child_contexts(piece, page)
        slices = [
            child.child_slice(context, (*key, row, column), piece, driver)
            for row, column, child, context, driver in children
        ]
        return [self.open(one) for one in slices if one is not None]
