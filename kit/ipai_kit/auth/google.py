# SPDX-License-Identifier: Apache-2.0
"""Google service account, by google-auth; its requests go through our own door."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport import Request, Response
from google.oauth2.service_account import Credentials
from requests import PreparedRequest

from ipai_kit.exceptions import ConfigurationError, CredentialsError, TryAgainLaterError
from ipai_kit.logs import protect
from ipai_kit.rest.calls import Call, Reply
from ipai_kit.rest.transport import Transport
from ipai_kit.rest.transport import TransportError as DoorError

__all__ = ["ServiceAccountAuth"]


class ServiceAccountAuth:
    """Signs with a service account's token, renewed before it ends, once for all threads."""

    def __init__(
        self,
        transport: Transport,
        key: str | Mapping[str, Any],
        scopes: Sequence[str],
        subject: str | None = None,
    ) -> None:
        info = _key_info(key)
        read_key: Any = Credentials.from_service_account_info  # untyped in google-auth
        transport.allow(str(info.get("token_uri", "")))
        try:
            self._credentials = read_key(info, scopes=list(scopes), subject=subject)
        except (ValueError, GoogleAuthError) as error:
            message = "The service account key is not usable."
            raise ConfigurationError(message, next_step="Paste the whole JSON key file.") from error
        self._request = _Door(transport)
        self._lock = threading.Lock()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add a token that is still good."""
        with self._lock:
            if not self._credentials.valid:
                self._refresh()
            request.headers["Authorization"] = f"Bearer {self._credentials.token}"
        return request

    def renew(self, request: PreparedRequest) -> bool:
        """Replace the token that this request carried, unless another thread has done so."""
        with self._lock:
            if request.headers.get("Authorization") == f"Bearer {self._credentials.token}":
                self._refresh()
        return True

    def _refresh(self) -> None:
        try:
            self._credentials.refresh(self._request)
        except GoogleAuthError as error:
            if isinstance(error, TransportError) or error.retryable:
                message = f"Google issues no token now: {str(error)[:200]}."
                raise TryAgainLaterError(message, next_step="Run again later.") from error
            message = f"Google refuses the service account: {str(error)[:200]}."
            raise CredentialsError(
                message, next_step="Check that the key was not revoked and the clock is right."
            ) from error
        protect(self._credentials.token)


class _Answer(Response):
    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    @property
    def status(self) -> int:
        return self._reply.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._reply.headers

    @property
    def data(self) -> bytes:
        return self._reply.body


class _Door(Request):
    """What google-auth calls to reach the network."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Response:
        """Send one request."""
        del timeout, kwargs
        data = body.encode() if isinstance(body, str) else body
        try:
            return _Answer(
                self._transport.send(Call(url, method, headers=headers or {}, data=data))
            )
        except DoorError as error:
            raise TransportError(str(error)) from error  # type: ignore[no-untyped-call]


def _key_info(key: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(key, str):
        return key
    try:
        info = json.loads(key)
    except ValueError as error:
        message = "The service account key is not JSON."
        raise ConfigurationError(message, next_step="Paste the whole JSON key file.") from error
    if not isinstance(info, dict):
        message = "The service account key is not a JSON object."
        raise ConfigurationError(message, next_step="Paste the whole JSON key file.")
    return info
