# SPDX-License-Identifier: Apache-2.0
"""The one door to the network: official hosts only, TLS only, redirects checked hop by hop."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import requests
from requests.adapters import HTTPAdapter

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.rest.calls import Call, Reply, safe_url

__all__ = ["Transport", "TransportError"]

Signer = Callable[[requests.PreparedRequest], requests.PreparedRequest]

_MAX_HOPS = 5
_MOVED = {301, 302, 303, 307, 308}
_encoder = msgspec.json.Encoder(decimal_format="number")


class TransportError(Exception):
    """No whole reply came: timeout, refused or cut connection."""


class Transport:
    """Sends one request and returns the whole reply; safe to share between threads."""

    def __init__(
        self,
        base_urls: Iterable[str],
        *,
        connections: int = 8,
        timeout: tuple[float, float] = (10.0, 60.0),
        user_agent: str = "ipai-connectors",
    ) -> None:
        self._origins = {_origin(url) for url in base_urls}
        self._timeout = timeout
        self._environments: dict[str, Mapping[str, Any]] = {}
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}

    def allow(self, url: str) -> None:
        """Add the origin of a URL that the spec or the operator names, e.g. a token endpoint."""
        self._origins.add(_origin(url))

    def check(self, url: str) -> None:
        """Refuse a URL outside the source's own hosts."""
        if _origin(url) not in self._origins:
            message = f"The host of {safe_url(url)!r} is not one of the source's."
            raise ConfigurationError(
                message,
                next_step=f"Allowed are {sorted(self._origins)!r}; see 'api_url' and base_urls.",
            )

    def send(self, call: Call, sign: Signer | None = None) -> Reply:
        """Send the request, following redirects that stay with the source."""
        url, method = call.url, call.method
        self.check(url)
        request = self._prepare(call, method, url)
        for _ in range(_MAX_HOPS):
            reply = self._exchange(sign(request) if sign else request)
            target = reply.headers.get("location")
            if reply.status not in _MOVED or not target:
                return reply
            if reply.status != 307 and reply.status != 308 and method != "GET":
                return reply
            url = urljoin(reply.url, target)
            self.check(url)
            request = self._prepare(call.to(url), method, url)
        message = f"More than {_MAX_HOPS} redirects from {safe_url(call.url)!r}."
        raise TransportError(message)

    def _prepare(self, call: Call, method: str, url: str) -> requests.PreparedRequest:
        headers = {**self._headers, **call.headers}
        data = call.data
        if call.body is not None:
            data = _encoder.encode(call.body)
            headers.setdefault("Content-Type", "application/json")
        params = {name: value for name, value in call.params.items() if value is not None}
        return requests.Request(method, url, headers=headers, params=params, data=data).prepare()

    def _exchange(self, request: requests.PreparedRequest) -> Reply:
        url = request.url or ""
        try:
            response = self._session.send(
                request, timeout=self._timeout, allow_redirects=False, **self._environment(url)
            )
            body = response.content
        except requests.exceptions.SSLError as error:
            message = f"The certificate of {safe_url(url)!r} is not trusted."
            raise ConfigurationError(
                message, next_step="Check 'api_url' or set REQUESTS_CA_BUNDLE."
            ) from error
        except (requests.RequestException, OSError) as error:
            message = f"{_reason(error)} at {_origin(url)!r}"
            raise TransportError(message) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, body, url)

    def _environment(self, url: str) -> Mapping[str, Any]:
        """Return proxy and certificate settings; asked once per host because it takes long."""
        host = urlsplit(url).netloc
        if host not in self._environments:
            self._environments[host] = self._session.merge_environment_settings(
                url, {}, False, None, None
            )
        return self._environments[host]

    def close(self) -> None:
        """Close every connection."""
        self._session.close()


def _reason(error: Exception) -> str:
    """The class of what went wrong at the bottom; its words may hold the URL with its secrets."""
    inner = error.args[0] if error.args else None
    return type(getattr(inner, "reason", None) or error).__name__


def _origin(url: str) -> str:
    """Return scheme, host and port; http only where nobody can listen in."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme == "http" and not _is_loopback(host):
        message = f"The URL {safe_url(url)!r} is not encrypted."
        raise ConfigurationError(message, next_step="Use https; http is for loopback only.")
    if parts.scheme not in ("http", "https") or not host:
        message = f"The URL {safe_url(url)!r} is not an https URL."
        raise ConfigurationError(message, next_step="Use e.g. https://api.example.com.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
