# SPDX-License-Identifier: Apache-2.0
"""How a stand-in knows its callers: tokens, keys, passwords, signed assertions, OAuth 2.0.

Each way is a callable that gives the caller's name or raises ``Refused`` with the API's own status.
"""

import base64
import binascii
import hashlib
import itertools
import json
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from ipai_kit.sandbox.replies import Refused, Reply

Authenticate = Callable[[Request], str]
ANONYMOUS = "anonymous"
JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def open_access(_request: Request) -> str:
    """Everybody may read."""
    return ANONYMOUS


def credentials(request: Request, *schemes: str) -> str | None:
    """The credentials of the Authorization header under one of these schemes, or None."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() in schemes and value.strip() else None


class TokenAuth:
    """Fixed tokens in the Authorization header; ``optional`` lets callers without one in."""

    def __init__(
        self,
        tokens: Iterable[str],
        *,
        schemes: tuple[str, ...] = ("bearer",),
        optional: bool = False,
        message: str = "Bad credentials",
    ) -> None:
        self.tokens = set(tokens)
        self._schemes = schemes
        self._optional = optional
        self._message = message

    def __call__(self, request: Request) -> str:
        """The token is the caller."""
        token = credentials(request, *self._schemes)
        if token is None and self._optional and "authorization" not in request.headers:
            return ANONYMOUS
        if token not in self.tokens or token is None:
            raise Refused(401, self._message, {"www-authenticate": "Bearer"})
        return token


class BasicAuth:
    """User names and passwords."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = dict(passwords)

    def __call__(self, request: Request) -> str:
        """The user is the caller."""
        try:
            pair = base64.b64decode(credentials(request, "basic") or "", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            pair = ""
        user, _, password = pair.partition(":")
        if not user or self._passwords.get(user) != password:
            raise Refused(401, "Wrong user or password", {"www-authenticate": "Basic"})
        return user


class ApiKeyAuth:
    """A key in a header or in the query."""

    def __init__(
        self, keys: Iterable[str], name: str, place: Literal["header", "query"] = "header"
    ) -> None:
        self._keys = set(keys)
        self._name = name
        self._place = place

    def __call__(self, request: Request) -> str:
        """The key is the caller."""
        given = request.headers if self._place == "header" else request.query_params
        key = given.get(self._name, "")
        if key not in self._keys:
            raise Refused(401, "API key not valid")
        return key


class JwtAuth:
    """A token that the caller signed: GitHub Apps, service accounts."""

    def __init__(
        self,
        key: str | bytes,
        algorithms: tuple[str, ...] = ("RS256",),
        *,
        issuer: str | None = None,
        audience: str | None = None,
        max_lifetime_seconds: int = 3600,
    ) -> None:
        self._key = key
        self._algorithms = list(algorithms)
        self._issuer = issuer
        self._audience = audience
        self._max_lifetime = max_lifetime_seconds

    def __call__(self, request: Request) -> str:
        """The issuer is the caller."""
        return self.issuer_of(credentials(request, "bearer") or "")

    def issuer_of(self, assertion: str) -> str:
        """Check signature, times and names of an assertion."""
        import jwt

        try:
            claims = jwt.decode(
                assertion,
                self._key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp", "iat", "iss"]},
            )
        except jwt.InvalidTokenError as error:
            raise Refused(401, f"A JSON web token could not be decoded: {error}") from error
        if claims["exp"] - claims["iat"] > self._max_lifetime:
            raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
        return str(claims["iss"])


class AnyAuth:
    """The first way that knows the caller."""

    def __init__(self, *ways: Authenticate) -> None:
        self._ways = ways

    def __call__(self, request: Request) -> str:
        """Ask each way; the last refusal is the answer."""
        refusal: Refused | None = None
        for way in self._ways:
            try:
                return way(request)
            except Refused as error:
                refusal = error
        raise refusal or Refused(401, "Bad credentials")


@dataclass(slots=True)
class _Grant:
    """An access token that was issued."""

    caller: str
    expires_at: float


class OAuthServer:
    """An OAuth 2.0 server: issues tokens that expire, and rotates refresh tokens when asked to.

    Mount ``token`` as a public POST route and use the object itself as the API's ``auth``.
    """

    def __init__(
        self,
        clients: Mapping[str, str],
        *,
        refresh_tokens: Iterable[str] = (),
        codes: Iterable[str] = (),
        assertions: JwtAuth | None = None,
        lifetime_seconds: float = 3600,
        rotate: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients = dict(clients)
        self._first_refresh = set(refresh_tokens)
        self._codes = set(codes)
        self._assertions = assertions
        self.lifetime_seconds = lifetime_seconds
        self._rotate = rotate
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Back to the start: no access token, the first refresh tokens."""
        self.refresh_tokens = set(self._first_refresh)
        self.grants: dict[str, _Grant] = {}
        self._numbers = itertools.count(1)

    def expire(self) -> None:
        """End every access token now, as a revocation does."""
        self.grants.clear()

    def __call__(self, request: Request) -> str:
        """The client that was granted the access token."""
        grant = self.grants.get(credentials(request, "bearer") or "")
        if grant is None or grant.expires_at <= self._clock():
            challenge = 'Bearer error="invalid_token"'
            raise Refused(401, "The access token expired", {"www-authenticate": challenge})
        return grant.caller

    async def token(self, request: Request) -> Reply:
        """The token endpoint."""
        form = await form_fields(request)
        kind = form.get("grant_type", "")
        if kind == JWT_BEARER_GRANT and self._assertions:
            return self._issue(self._assertions.issuer_of(form.get("assertion", "")), None)
        client = self._client(request, form)
        if kind == "client_credentials":
            return self._issue(client, None)
        if kind == "refresh_token":
            return self._issue(client, self._next_refresh(form.get("refresh_token", "")))
        if kind == "authorization_code":
            if form.get("code", "") not in self._codes:
                raise _oauth_error(400, "invalid_grant")
            self._codes.discard(form["code"])
            return self._issue(client, self._new_refresh())
        raise _oauth_error(400, "unsupported_grant_type")

    def _client(self, request: Request, form: Mapping[str, str]) -> str:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if basic := credentials(request, "basic"):
            pair = base64.b64decode(basic).decode().partition(":")
            name, secret = urllib.parse.unquote(pair[0]), urllib.parse.unquote(pair[2])
        if not name or self._clients.get(name) != secret:
            raise _oauth_error(401, "invalid_client")
        return name

    def _next_refresh(self, token: str) -> str | None:
        if token not in self.refresh_tokens:
            raise _oauth_error(400, "invalid_grant")
        if not self._rotate:
            return None
        self.refresh_tokens.discard(token)
        return self._new_refresh()

    def _new_refresh(self) -> str:
        token = self._unguessable("refresh")
        self.refresh_tokens.add(token)
        return token

    def _issue(self, caller: str, refresh: str | None) -> Reply:
        token = self._unguessable("access")
        self.grants[token] = _Grant(caller, self._clock() + self.lifetime_seconds)
        body: dict[str, Any] = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self.lifetime_seconds),
        }
        if refresh:
            body["refresh_token"] = refresh
        return Reply(body, headers={"cache-control": "no-store"})

    def _unguessable(self, kind: str) -> str:
        """Long enough to be found by a leak test, and the same in every run."""
        number = next(self._numbers)
        return f"{kind}-{number}-{hashlib.sha256(f'{kind}{number}'.encode()).hexdigest()[:32]}"


def _oauth_error(status: int, code: str) -> Refused:
    return Refused(status, body={"error": code})


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form or of a JSON object in the request's body."""
    body = await request.body()
    if "json" in request.headers.get("content-type", ""):
        try:
            fields = json.loads(body)
        except ValueError as error:
            raise Refused(400, "The body is not JSON") from error
        return {str(key): str(value) for key, value in fields.items()}
    return dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace")))
