# SPDX-License-Identifier: Apache-2.0
"""A request to make and the reply to it, as plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

__all__ = ["Call", "Reply", "fill_path", "safe_url"]

_SECRET_PARAM = re.compile(
    r"token|secret|password|passwd|signature|credential|key$|^sig$|^code$|auth|jwt",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def safe_url(url: str) -> str:
    """Return the URL as it may be shown: no user, no password, secret query values masked."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    netloc = f"{host}:{parts.port}" if parts.port else host
    query = urlencode(
        [
            (name, "***" if _SECRET_PARAM.search(name) else value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ],
        safe="*:",
    )
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def fill_path(path: str, context: Mapping[str, Any]) -> str:
    """Put context values into `{placeholders}`, quoted so that a value stays one segment."""
    return _PLACEHOLDER.sub(lambda match: quote(str(context[match[1]]), safe=""), path)


@dataclass(frozen=True)
class Call:
    """One request, before authentication."""

    url: str
    method: str = "GET"
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None  # sent as JSON
    data: bytes | None = None  # sent as it is
    stream: str | None = None
    bucket: str = "default"

    def to(self, url: str) -> Call:
        """Return the same request to a URL that carries its own query."""
        return replace(self, url=url, params={})

    def with_params(self, params: Mapping[str, Any]) -> Call:
        """Return the request with these query parameters added or replaced."""
        return replace(self, params={**self.params, **params})

    def with_headers(self, headers: Mapping[str, str]) -> Call:
        """Return the request with these headers added or replaced."""
        return replace(self, headers={**self.headers, **headers})

    def with_values(self, values: Mapping[str, Any], in_body: bool) -> Call:
        """Return the request with values added to the JSON body or to the query."""
        if in_body:
            return replace(self, body={**(self.body or {}), **values})
        return self.with_params(values)

    def value(self, name: str, in_body: bool) -> Any:
        """Return one value of the JSON body or of the query."""
        return (self.body or {})[name] if in_body else self.params[name]


_envelope = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Reply:
    """One answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def raw(self, path: str | None) -> msgspec.Raw | bytes | None:
        """Return the bytes at a dotted path of the body, None when the path is absent."""
        here: msgspec.Raw | bytes | None = self.body
        for name in path.split(".") if path else ():
            if here is None or bytes(memoryview(here)[:4]) == b"null":
                return None
            here = _envelope.decode(here).get(name)
        return here

    def field(self, path: str) -> Any:
        """Return the decoded value at a dotted path of the body, None when absent."""
        raw = self.raw(path)
        return None if raw is None else msgspec.json.decode(raw)
