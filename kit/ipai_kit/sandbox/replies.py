# SPDX-License-Identifier: Apache-2.0
"""What a handler of a stand-in gives back, and how it becomes an HTTP response."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and a JSON body (bytes are sent as they are, None sends nothing)."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json; charset=utf-8"

    def content(self) -> bytes:
        """The body as bytes."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else _encode(self.body)


class Refused(Exception):  # noqa: N818 -- a reply that travels as an exception, not a mistake
    """Raised anywhere in a handler to answer with an error."""

    def __init__(
        self,
        status: int,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> None:
        super().__init__(message)
        self.reply = Reply({"message": message} if body is None else body, status, headers or {})

    @classmethod
    def with_reply(cls, reply: Reply) -> "Refused":
        """Answer with a reply that exists already."""
        refused = cls(reply.status)
        refused.reply = reply
        return refused


def entity_tag(content: bytes) -> str:
    """A weak validator of a body."""
    return f'W/"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'


class CutResponse(Response):
    """Promises a whole body, sends a part of it and drops the connection."""

    def __init__(self, response: Response, share: float) -> None:
        content = bytes(response.body)
        super().__init__(content, response.status_code)
        self.raw_headers = [
            *(pair for pair in response.raw_headers if pair[0] != b"content-length"),
            (b"content-length", str(max(len(content), 1)).encode()),
        ]
        self._sent = content[: int(len(content) * share)]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Leave the body unfinished: the server then closes the connection."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._sent, "more_body": True})
