# SPDX-License-Identifier: Apache-2.0
"""Asks an issuer for new tokens (RFC 6749, section 6): no redirects, one try, a short timeout."""

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ipai_orchestrate.exceptions import (
    ConfigurationError,
    CredentialsRefusedError,
    TokenEndpointError,
)
from ipai_orchestrate.secrets.grant import Grant, renewal_time

TIMEOUT_SECONDS = 15
_LONGEST = 1_000_000
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_PASSING = {"temporarily_unavailable", "server_error", "slow_down"}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none: a refresh token is for the address that was reviewed."""
        del args, kwargs


def refreshed(grant: Grant, now: Callable[[], float] = time.time) -> Grant:
    """Trade the refresh token for a new pair; the old one stays where none is sent back."""
    asked_at = now()
    answer = _answer(grant)
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        message = f"{_host(grant)!r} answered without an access token. Try again later."
        raise TokenEndpointError(message)
    ends = _moment(asked_at, answer.get("expires_in"))
    return replace(
        grant,
        access_token=token,
        refresh_token=str(answer.get("refresh_token") or grant.refresh_token),
        access_expires_at=ends,
        renew_at=renewal_time(asked_at, ends),
        expires_at=_moment(asked_at, answer.get("refresh_token_expires_in")) or grant.expires_at,
        scopes=tuple(str(answer.get("scope") or "").split()) or grant.scopes,
    )


def _answer(grant: Grant) -> dict[str, Any]:
    try:
        with _opener().open(_request(grant), timeout=TIMEOUT_SECONDS) as reply:
            return _json(reply.read(_LONGEST))
    except urllib.error.HTTPError as error:
        with error:
            code = str(_json(error.read(_LONGEST)).get("error") or "")[:80]
        if error.code in {400, 401, 403} and code and code not in _PASSING:
            message = (
                f"{_host(grant)!r} refuses the grant ({code!r}). Sign in there again and store "
                "the new refresh token: ipai secret grant --help"
            )
            raise CredentialsRefusedError(message, code=code) from error
        message = f"{_host(grant)!r} issues no token now (status {error.code} {code})."
        raise TokenEndpointError(message) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            message = f"The certificate of {_host(grant)!r} is not trusted. Set SSL_CERT_FILE."
            raise ConfigurationError(message) from error
        message = f"{_host(grant)!r} does not answer: {reason}. Try again later."
        raise TokenEndpointError(message) from error


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects)


def _request(grant: Grant) -> urllib.request.Request:
    parts = urlsplit(grant.token_url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        message = f"The token address {grant.token_url!r} is not encrypted. Use https."
        raise ConfigurationError(message)
    form = {
        "grant_type": "refresh_token",
        "refresh_token": grant.refresh_token,
        "client_id": grant.client_id,
    }
    headers = {"Accept": "application/json", "User-Agent": "ipai-connectors"}
    if grant.secret_in_header:
        pair = f"{quote(grant.client_id, safe='')}:{quote(grant.client_secret or '', safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
    elif grant.client_secret:
        form["client_secret"] = grant.client_secret
    body = urlencode(form).encode()
    return urllib.request.Request(grant.token_url, body, headers)  # noqa: S310 - checked above


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _moment(asked_at: float, seconds: object) -> float | None:
    try:
        return None if seconds is None else asked_at + float(str(seconds))
    except ValueError:
        return None


def _host(grant: Grant) -> str:
    return urlsplit(grant.token_url).hostname or ""
