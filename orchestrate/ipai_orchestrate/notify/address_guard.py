# SPDX-License-Identifier: Apache-2.0
"""Which addresses a webhook may go to: none inside the network that the notifier runs in.

An endpoint's URL is data that many may write. Without this guard it could make the notifier post
to a metadata service or an admin port. Who runs the notifier may allow origins by name.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ipai_orchestrate.exceptions import ConfigurationError

Resolver = Callable[..., Sequence[tuple[Any, ...]]]

# Embeddings of IPv4 and protocol ranges that `is_global` lets through.
_INSIDE = [
    ip_network(text)
    for text in (
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "192.0.0.0/24",
        "fec0::/10",
    )
]
_PORTS = {"http": 80, "https": 443}


class AddressRefusedError(Exception):
    """The endpoint's address is not one that may be posted to."""


@dataclass(frozen=True)
class Destination:
    """Where to connect: only to these addresses, which were checked, whatever DNS says later."""

    scheme: str
    host: str
    port: int
    target: str
    addresses: tuple[str, ...]

    @property
    def host_header(self) -> str:
        """The value of the header Host."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"


@dataclass(frozen=True)
class AddressGuard:
    """Checks addresses; `allowed` are origins that the operator of the notifier trusts."""

    allowed: frozenset[str] = frozenset()
    resolve: Resolver = socket.getaddrinfo

    @classmethod
    def allowing(cls, origins: Iterable[str]) -> "AddressGuard":
        """A guard that lets origins such as http://127.0.0.1:5678 pass."""
        return cls(frozenset(_origin_of(text) for text in origins))

    def check(self, url: str) -> Destination:
        """Resolve the host once and refuse it unless every address of it is public."""
        parts = _split(url)
        trusted = _origin(parts) in self.allowed
        if parts.scheme != "https" and not trusted:
            message = f"Scheme {parts.scheme!r} is not https. Use https, or allow the origin."
            raise AddressRefusedError(message)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        addresses = self._addresses(host, port)
        if not trusted:
            for address in addresses:
                _refuse_inside(host, address)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Destination(parts.scheme, host, port, target, addresses)

    def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        try:
            found = self.resolve(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            message = f"Host {host!r} has no address: {error}."
            raise AddressRefusedError(message) from error
        return tuple(dict.fromkeys(str(one[4][0]) for one in found))


def is_public(address: str) -> bool:
    """Whether an address is on the public internet, in each of its spellings."""
    parsed: IPv4Address | IPv6Address = ip_address(address.split("%")[0])
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    inside = any(parsed.version == net.version and parsed in net for net in _INSIDE)
    return parsed.is_global and not parsed.is_multicast and not inside


def _refuse_inside(host: str, address: str) -> None:
    if not is_public(address):
        message = (
            f"Host {host!r} is at {address}, which is not public. Whoever runs the notifier can "
            "allow the origin in IPAI_WEBHOOK_ALLOW."
        )
        raise AddressRefusedError(message)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and (parts.port or 1)
    except ValueError as error:
        message = f"The address cannot be read: {error}."
        raise AddressRefusedError(message) from error
    if not usable or "@" in parts.netloc or any(one.isspace() for one in url) or not url.isascii():
        message = "The address is not a plain http(s) URL without user, password and spaces."
        raise AddressRefusedError(message)
    return parts


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"


def _origin_of(text: str) -> str:
    try:
        parts = _split(text)
    except AddressRefusedError as error:
        message = f"Allowed origin {text!r} is not an origin. Write e.g. http://127.0.0.1:5678."
        raise ConfigurationError(message) from error
    if parts.path not in ("", "/") or parts.query:
        message = f"Allowed origin {text!r} has a path. Write only e.g. http://127.0.0.1:5678."
        raise ConfigurationError(message)
    return _origin(parts)
