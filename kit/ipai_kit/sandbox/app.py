# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a source's API: the tap supplies routes and data, this the behaviour around them.

A request passes: count, fault, caller, limits, handler, entity tag, latency.
"""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ipai_kit.sandbox.auth import Authenticate, open_access
from ipai_kit.sandbox.faults import (
    Fault,
    FaultError,
    FaultQueue,
    broken_json,
    read_fault,
    retyped,
)
from ipai_kit.sandbox.limits import Limit
from ipai_kit.sandbox.paging import Page
from ipai_kit.sandbox.replies import CutResponse, Refused, Reply, entity_tag
from ipai_kit.sandbox.statistics import Statistics

Handler = Callable[[Request], Any]
Record = dict[str, Any]
_encode = msgspec.json.Encoder(decimal_format="number").encode
_NO_REPLY = 0
_OK = 200
_NOT_MODIFIED = 304
_CHUNK_BYTES = 65_536
_logger = logging.getLogger("ipai.sandbox")


class World(Protocol):
    """The made-up data behind a stand-in, as far as this module needs it."""

    def advance(self, steps: int) -> Mapping[str, Any]:
        """Let time pass: change some records, the same ones every time; say what changed."""

    def reset(self) -> None:
        """Back to the first moment."""


@dataclass(frozen=True, slots=True)
class _Oracle:
    """What a tap should land for one stream."""

    key: tuple[str, ...]
    records: Callable[[], Iterable[Record]]


class Sandbox:
    """Collects a source's routes and serves them with quota, auth, latency and faults.

    ``config`` holds the settings with which a tap reads all of it; ``{url}`` in a text stands for
    this server, and without one the address goes to ``api_url``.
    """

    def __init__(
        self,
        source: str,
        *,
        auth: Authenticate = open_access,
        limits: Sequence[Limit] = (),
        world: World | None = None,
        etags: bool = False,
        not_found: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.config = dict(config or {})
        self.auth = auth
        self.limits = list(limits)
        self.latency_seconds = 0.0
        self.faults = FaultQueue()
        self.statistics = Statistics()
        self._world = world
        self._etags = etags
        self._not_found = {"message": "Not Found"} if not_found is None else not_found
        self._routes: list[Route] = []
        self._oracles: dict[str, _Oracle] = {}

    def route(
        self, path: str, methods: Sequence[str] = ("GET",), *, public: bool = False
    ) -> Callable[[Handler], Handler]:
        """Serve a path; ``public`` routes (token endpoints) ask for no caller and no quota."""

        def register(handler: Handler) -> Handler:
            endpoint = self._endpoint(handler, path, public=public)
            self._routes.append(Route(path, endpoint, methods=list(methods)))
            return handler

        return register

    def get(self, path: str, *, public: bool = False) -> Callable[[Handler], Handler]:
        """Serve GET requests of a path."""
        return self.route(path, public=public)

    def post(self, path: str, *, public: bool = False) -> Callable[[Handler], Handler]:
        """Serve POST requests of a path."""
        return self.route(path, ("POST",), public=public)

    def stream(
        self, name: str, key: Sequence[str], records: Callable[[], Iterable[Record]]
    ) -> None:
        """Tell the oracle what a stream holds now, as the tap should land it."""
        self._oracles[name] = _Oracle(tuple(key), records)

    def config_for(self, url: str) -> dict[str, Any]:
        """The settings with which a tap reads this stand-in at an address."""
        text = msgspec.json.encode(self.config).decode()
        config: dict[str, Any] = msgspec.json.decode(text.replace("{url}", url))
        return config if "{url}" in text else {"api_url": url, **config}

    def app(self) -> Starlette:
        """The application; this object stays reachable as ``app.state.sandbox``."""
        control = [
            Route("/_sandbox/config", self._show_config),
            Route("/_sandbox/stats", self._show_statistics),
            Route("/_sandbox/faults", self._change_faults, methods=["GET", "POST", "DELETE"]),
            Route("/_sandbox/advance", self._advance, methods=["POST"]),
            Route("/_sandbox/reset", self._reset, methods=["POST"]),
            Route("/_sandbox/expire", self._expire, methods=["POST"]),
            Route("/_sandbox/streams", self._list_streams),
            Route("/_sandbox/streams/{stream}", self._show_stream),
        ]
        anything = self._endpoint(lambda _: Reply(self._not_found, 404), "(unknown)", public=False)
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        rest = Route("/{path:path}", anything, methods=methods)
        app = Starlette(routes=[*control, *self._routes, rest])
        app.state.sandbox = self
        return app

    def _endpoint(self, handler: Handler, label: str, *, public: bool) -> Handler:
        async def serve(request: Request) -> Response:
            route = f"{request.method} {label}"
            self.statistics.arrived(route)
            status = size = _NO_REPLY
            try:
                response = await self._spoiled(handler, request, public=public)
                status = response.status_code
                size = len(response.body)
            finally:
                self.statistics.answered(route, status, size)
            return response

        return serve

    async def _spoiled(self, handler: Handler, request: Request, *, public: bool) -> Response:
        """The reply, with the fault that is waiting for this request."""
        fault = self.faults.next(request)
        if fault is None:
            return await self._admitted(handler, request, self.latency_seconds, public=public)
        self.statistics.faults[fault.kind] += 1
        if fault.kind == "timeout":
            return await _hang(request, fault.seconds)
        if fault.kind == "status":
            await asyncio.sleep(self.latency_seconds)
            body = {"message": f"Fault {fault.status}"} if fault.body is None else fault.body
            return _response(Reply(body, fault.status, fault.headers))
        latency = self.latency_seconds + (fault.seconds if fault.kind == "latency" else 0.0)
        return _damaged(await self._admitted(handler, request, latency, public=public), fault)

    async def _admitted(
        self, handler: Handler, request: Request, latency: float, *, public: bool
    ) -> Response:
        """Knows the caller and keeps the limits, which count the request until it has its reply."""
        headers: dict[str, str] = {}
        admitted: list[Limit] = []
        caller = ""
        try:
            if not public:
                caller = self.auth(request)
                self._admit(caller, admitted, headers)
            reply = await self._handled(handler, request)
        except Refused as refusal:
            reply = refusal.reply
        if latency:
            await asyncio.sleep(latency)
        for limit in admitted:
            headers |= limit.release(caller, refund=reply.status == _NOT_MODIFIED)
        return _response(reply, headers)

    def _admit(self, caller: str, admitted: list[Limit], headers: dict[str, str]) -> None:
        for limit in self.limits:
            verdict = limit.admit(caller)
            headers |= verdict.headers
            if verdict.rejection:
                raise Refused.with_reply(verdict.rejection)
            admitted.append(limit)

    async def _handled(self, handler: Handler, request: Request) -> Reply:
        try:
            result = handler(request)
            reply = _as_reply(await result if inspect.isawaitable(result) else result)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 -- the edge of foreign code: a tap's handler
            return _failure(error, f"{request.method} {request.url.path}")
        if self._etags and request.method == "GET" and reply.status == _OK:
            return _revalidated(request, reply)
        return reply

    async def _show_config(self, request: Request) -> Response:
        return JSONResponse(self.config_for(f"{request.url.scheme}://{request.url.netloc}"))

    async def _show_statistics(self, _: Request) -> Response:
        return JSONResponse({"source": self.source, **self.statistics.report()})

    async def _change_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                wanted = msgspec.json.decode(await request.body())
                faults = wanted if isinstance(wanted, list) else [wanted]
                self.faults.add(*[read_fault(fault) for fault in faults])
            except (FaultError, msgspec.DecodeError) as error:
                return JSONResponse({"message": str(error)}, 422)
        return Response(_encode(self.faults.waiting), media_type="application/json")

    async def _advance(self, request: Request) -> Response:
        body = await request.body()
        steps = int((msgspec.json.decode(body) if body else {}).get("steps", 1))
        if self._world is None:
            return JSONResponse({"message": f"Sandbox {self.source!r} cannot advance."}, 501)
        return Response(_encode(self._world.advance(steps)), media_type="application/json")

    async def _reset(self, _: Request) -> Response:
        self.faults.clear()
        self.statistics.reset()
        for part in (*self.limits, self._world, self.auth):
            if (reset := getattr(part, "reset", None)) is not None:
                reset()
        return JSONResponse({"source": self.source})

    async def _expire(self, _: Request) -> Response:
        """End all access tokens, where this source issues any."""
        if (expire := getattr(self.auth, "expire", None)) is None:
            return JSONResponse({"message": f"Sandbox {self.source!r} issues no tokens."}, 501)
        expire()
        return JSONResponse({"source": self.source})

    async def _list_streams(self, _: Request) -> Response:
        return JSONResponse({name: {"key": oracle.key} for name, oracle in self._oracles.items()})

    async def _show_stream(self, request: Request) -> Response:
        name = request.path_params["stream"]
        if name not in self._oracles:
            known = ", ".join(sorted(self._oracles))
            message = f"No stream {name!r}. Use one of: {known}."
            return JSONResponse({"message": message}, 404)
        lines = _oracle_lines(self._oracles[name])
        return StreamingResponse(lines, media_type="application/json")


async def _oracle_lines(oracle: _Oracle) -> AsyncIterator[bytes]:
    """A JSON array with one ``{"key": [...], "record": {...}}`` per line."""
    chunk = bytearray(b"[")
    separator = b"\n"
    for record in oracle.records():
        key = [record.get(name) for name in oracle.key]
        chunk += separator + _encode({"key": key, "record": record})
        separator = b",\n"
        if len(chunk) > _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk) + b"\n]\n"


def _as_reply(result: Any) -> Reply:
    """Whatever a handler returned: pages and plain values are JSON with status 200."""
    if isinstance(result, Reply):
        return result
    if isinstance(result, Page):
        return Reply(result.items, headers=result.headers)
    return Reply(result)


def _failure(error: Exception, route: str) -> Reply:
    """A mistake in a tap's stand-in: say so in the log and to the caller."""
    message = "stand-in failed in %s"
    _logger.error(message, route, exc_info=error)
    text = f"The stand-in failed with {type(error).__name__}. Its log has the traceback."
    return Reply({"message": text}, 500)


def _response(reply: Reply, headers: Mapping[str, str] | None = None) -> Response:
    content = reply.content()
    media_type = reply.media_type if content else None
    return Response(content, reply.status, {**(headers or {}), **reply.headers}, media_type)


def _revalidated(request: Request, reply: Reply) -> Reply:
    content = reply.content()
    tag = entity_tag(content)
    headers = {**reply.headers, "etag": tag}
    known = {known.strip() for known in request.headers.get("if-none-match", "").split(",")}
    if tag in known or tag.removeprefix("W/") in known:
        return Reply(None, _NOT_MODIFIED, headers)
    return Reply(content, reply.status, headers, reply.media_type)


async def _hang(request: Request, seconds: float) -> Response:
    """Say nothing until the caller gives up or the time is over; then drop the connection."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(gone(), seconds)
    return CutResponse(Response(b"", 504), 0.0)


def _damaged(response: Response, fault: Fault) -> Response:
    if fault.kind == "cut":
        return CutResponse(response, fault.share)
    if fault.kind not in {"broken_json", "retype"}:
        return response
    content = bytes(response.body)
    changed = (
        broken_json(content)
        if fault.kind == "broken_json"
        else retyped(content, fault.field, fault.to)
    )
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in {"content-length", "etag"}
    }
    return Response(changed, response.status_code, headers)
