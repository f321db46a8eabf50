# SPDX-License-Identifier: Apache-2.0
"""Who may ask the made-up GitHub for what: tokens, app installations, strangers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from ipai_kit.sandbox import ANONYMOUS, JwtAuth, Refused, Reply, credentials, zulu

TOKENS = ("sandbox-token", "sandbox-token-2", "sandbox-token-3")
NARROW_TOKEN = "sandbox-narrow-token"  # noqa: S105 -- opens nothing but this stand-in
INSTALLATION = 4242
DOCS = "https://docs.github.com/rest"


def refuse(status: int, message: str, **headers: str) -> Refused:
    """An error as GitHub words it."""
    body = {"message": message, "documentation_url": DOCS, "status": str(status)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refused(status, message, named, body)


class Callers:
    """Knows tokens; issues installation tokens to whoever signs with the app's key."""

    def __init__(
        self,
        app_public_key: str | None = None,
        lifetime_seconds: float = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = JwtAuth(app_public_key, max_lifetime_seconds=660) if app_public_key else None
        self._lifetime = lifetime_seconds
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """No installation token is out."""
        self._granted: dict[str, float] = {}
        self._number = 0

    def expire(self) -> None:
        """End every installation token now."""
        self._granted = dict.fromkeys(self._granted, 0.0)

    def __call__(self, request: Request) -> str:
        """Name the caller: the token, or nobody."""
        token = credentials(request, "bearer", "token")
        if token is None and "authorization" not in request.headers:
            return ANONYMOUS
        if request.url.path.startswith("/app"):
            return "app"  # the handler checks the signature
        if token in (*TOKENS, NARROW_TOKEN):
            return str(token)
        if token and self._granted.get(token, 0.0) > self._clock():
            return f"installation-{INSTALLATION}"
        raise refuse(401, "Bad credentials")

    def app(self, request: Request) -> None:
        """Let the app in that holds the private key."""
        if self._app is None:
            message = "A JSON web token could not be decoded"
            raise refuse(401, message)
        self._app(request)

    def grant(self, request: Request) -> Reply:
        """Issue an installation token."""
        self.app(request)
        if request.path_params["installation"] != str(INSTALLATION):
            raise refuse(404, "Not Found")
        self._number += 1
        digest = hashlib.sha256(f"installation{self._number}".encode()).hexdigest()[:36]
        token, end = f"ghs_{digest}", self._clock() + self._lifetime
        self._granted[token] = end
        body: dict[str, Any] = {
            "token": token,
            "expires_at": zulu(datetime.fromtimestamp(end, UTC)),
            "permissions": {"metadata": "read", "contents": "read"},
            "repository_selection": "all",
        }
        return Reply(body, 201)


def is_stranger(request: Request) -> bool:
    """Whether nobody signed the request."""
    return "authorization" not in request.headers


def is_narrow(request: Request) -> bool:
    """Whether the token has few permissions."""
    return credentials(request, "bearer", "token") == NARROW_TOKEN


def demand(request: Request, permission: str | None) -> None:
    """Refuse a caller without the permission, as GitHub does it."""
    if permission is None:
        return
    if is_stranger(request):
        raise refuse(401, "Requires authentication")
    if is_narrow(request):
        message = "Resource not accessible by personal access token"
        raise refuse(403, message, x_accepted_github_permissions=permission)
