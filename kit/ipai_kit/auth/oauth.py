# SPDX-License-Identifier: Apache-2.0
"""OAuth 2.0: authorization code with PKCE, refresh with rotation, client credentials."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import msgspec

from ipai_kit.auth.tokens import Token
from ipai_kit.exceptions import CredentialsError
from ipai_kit.rest.calls import Call, Reply
from ipai_kit.rest.client import Client
from ipai_kit.rest.retry import Action, Verdict, classify_rest

__all__ = ["ClientCredentials", "OAuthClient", "RefreshToken", "authorization_url", "exchange_code"]

_REAUTHORIZE = "The connection needs a new login (needs_reauth)."


class _Issued(msgspec.Struct):
    access_token: str
    expires_in: float | str | None = None
    refresh_token: str | None = None


@dataclass(frozen=True)
class OAuthClient:
    """Who we are at the token endpoint."""

    client: Client  # without authentication of its own; its transport must allow the address
    token_url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    secret_in_header: bool = False
    now: Callable[[], float] = time.time

    def ask(self, form: Mapping[str, str], last: Token | None = None) -> Token:
        """Ask for a token; the old refresh token stays good where none is sent back."""
        fields = {**form, "client_id": self.client_id}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if self.secret_in_header:
            pair = f"{quote(self.client_id, safe='')}:{quote(self.client_secret or '', safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
        elif self.client_secret:
            fields["client_secret"] = self.client_secret
        call = Call(self.token_url, "POST", headers=headers, data=urlencode(fields).encode())
        asked_at = self.now()
        issued = self.client.fetch(call, _read_issued, _classify)
        return Token(
            issued.access_token,
            None if issued.expires_in is None else asked_at + float(issued.expires_in),
            issued.refresh_token or (last.refresh_token if last else None),
        )


@dataclass(frozen=True)
class RefreshToken:
    """Grant: the refresh token of the last answer, which may be good only once."""

    client: OAuthClient

    def __call__(self, last: Token | None) -> Token:
        """Trade the refresh token for a new pair."""
        if last is None or not last.refresh_token:
            message = "There is no refresh token."
            raise CredentialsError(message, next_step=_REAUTHORIZE)
        form = {"grant_type": "refresh_token", "refresh_token": last.refresh_token}
        return self.client.ask(form, last)


@dataclass(frozen=True)
class ClientCredentials:
    """Grant: the client signs in for itself."""

    client: OAuthClient
    scopes: Sequence[str] = ()

    def __call__(self, last: Token | None) -> Token:
        """Ask for a token."""
        del last
        scope = {"scope": " ".join(self.scopes)} if self.scopes else {}
        return self.client.ask({"grant_type": "client_credentials", **scope})


def authorization_url(
    address: str, client_id: str, redirect_uri: str, scopes: Sequence[str] = ()
) -> tuple[str, str, str]:
    """Return the page where the user consents, the state to expect back, and the PKCE verifier."""
    verifier, state = secrets.token_urlsafe(64), secrets.token_urlsafe(24)
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"),
        "code_challenge_method": "S256",
    }
    return f"{address}?{urlencode(query)}", state, verifier


def exchange_code(client: OAuthClient, code: str, redirect_uri: str, verifier: str) -> Token:
    """Trade the code that the user brought back for the first pair of tokens."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    return client.ask(form)


def _classify(reply: Reply) -> Verdict:
    """A refused grant is final: asking again would only lock the account."""
    if reply.status in (400, 401, 403):
        return Verdict(
            Action.CREDENTIALS, f"The grant is refused: {_reason(reply)}.", next_step=_REAUTHORIZE
        )
    return classify_rest(reply)


def _reason(reply: Reply) -> str:
    try:
        return str(msgspec.json.decode(reply.body)["error"])[:80]
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"status {reply.status}"


def _read_issued(reply: Reply, verdict: Verdict) -> _Issued:
    del verdict
    return msgspec.json.decode(reply.body, type=_Issued)
