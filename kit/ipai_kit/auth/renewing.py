# SPDX-License-Identifier: Apache-2.0
"""Signs with a token that is renewed before it ends, once for all threads and processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from requests import PreparedRequest

from ipai_kit.auth.tokens import MemoryTokenStore, Token, TokenStore
from ipai_kit.logs import protect

__all__ = ["Grant", "RenewingAuth"]

_MARGIN = 300.0  # renew this long before the end: a page in flight must not outlive its token


class Grant(Protocol):
    """A way to get the next token; it may need the last one (rotation)."""

    def __call__(self, last: Token | None) -> Token:
        """Return a new token; raise CredentialsError when the grant was revoked."""
        ...


class RenewingAuth:
    """`Authorization: Bearer …` with a token that a grant renews.

    A new token is kept in the store before it is used: where the refresh token rotates, a crash
    in between would otherwise lose the only one that still works.
    """

    def __init__(
        self,
        grant: Grant,
        store: TokenStore | None = None,
        *,
        scheme: str = "Bearer",
        margin: float = _MARGIN,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._grant = grant
        self._store = store or MemoryTokenStore()
        self._scheme = scheme
        self._margin = margin
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add a token that will still be good when the request arrives."""
        request.headers["Authorization"] = f"{self._scheme} {self._current().access_token}"
        return request

    def renew(self, request: PreparedRequest) -> bool:
        """Replace the token that this request carried, unless somebody has done so already."""
        refused = str(request.headers.get("Authorization", "")).partition(" ")[2]
        with self._lock:
            if self._token is None or self._token.access_token == refused:
                self._token = self._renewed(refused)
        return True

    def _current(self) -> Token:
        with self._lock:
            if self._token is None or self._token.due(self._now()):
                self._token = self._renewed(None)
            return self._token

    def _renewed(self, refused: str | None) -> Token:
        with self._store.exclusive():
            last = self._store.load()
            if last and last.access_token != refused and not last.due(self._now()):
                return last  # another thread or process was first
            token = self._grant(last)
            token = replace(token, renew_at=self._renewal(token))
            protect(token.access_token, token.refresh_token)
            self._store.save(token)
            return token

    def _renewal(self, token: Token) -> float | None:
        """Return when to renew: well before the end, but not at once for a token of short life."""
        if token.expires_at is None:
            return None
        return token.expires_at - min(self._margin, (token.expires_at - self._now()) / 4)
