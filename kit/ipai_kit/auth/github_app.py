# SPDX-License-Identifier: Apache-2.0
"""GitHub App: a signed statement of who we are, traded for an installation's token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jwt
import msgspec

from ipai_kit.auth.renewing import RenewingAuth
from ipai_kit.auth.tokens import Token
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.rest.calls import Call, Reply
from ipai_kit.rest.client import Client
from ipai_kit.rest.retry import Verdict

__all__ = ["GitHubAppAuth", "InstallationToken"]

_CLOCK_SKEW = 60
_STATEMENT_LIFE = 540  # GitHub takes at most ten minutes


@dataclass(frozen=True)
class InstallationToken:
    """Grant: a token of an installation, good for an hour."""

    client: Client  # without authentication of its own
    api_url: str
    app_id: str
    private_key: str = field(repr=False)
    installation_id: str | None = None
    now: Callable[[], float] = time.time

    def __call__(self, last: Token | None) -> Token:
        """Ask for a token of the installation."""
        del last
        installation = self.installation_id or self._only_installation()
        issued = self._ask("POST", f"/app/installations/{installation}/access_tokens")
        ends = datetime.fromisoformat(issued["expires_at"]).timestamp()
        return Token(issued["token"], ends)

    def _only_installation(self) -> str:
        found = self._ask("GET", "/app/installations")
        if len(found) != 1:
            known = [str(one["id"]) for one in found]
            message = f"The app has {len(found)} installations: {known!r}."
            raise ConfigurationError(message, next_step="Name one in 'installation_id'.")
        return str(found[0]["id"])

    def _ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._statement()}"}
        call = Call(self.api_url.rstrip("/") + path, method, headers=headers)
        return self.client.fetch(call, _read)

    def _statement(self) -> str:
        now = int(self.now())
        claims = {"iat": now - _CLOCK_SKEW, "exp": now + _STATEMENT_LIFE, "iss": str(self.app_id)}
        key = self.private_key.replace("\\n", "\n")  # keys in the environment are often one line
        try:
            return jwt.encode(claims, key, algorithm="RS256")
        except (jwt.InvalidKeyError, ValueError, TypeError) as error:
            message = "The app's private key is not a PEM key."
            raise ConfigurationError(
                message, next_step="Paste the file that GitHub gave, with its BEGIN and END lines."
            ) from error


class GitHubAppAuth(RenewingAuth):
    """Signs with an installation's token, renewed five minutes before it ends."""

    def __init__(
        self,
        client: Client,
        api_url: str,
        app_id: str,
        private_key: str,
        installation_id: str | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        grant = InstallationToken(client, api_url, app_id, private_key, installation_id, now)
        super().__init__(grant, now=now)


def _read(reply: Reply, verdict: Verdict) -> Any:
    del verdict
    return msgspec.json.decode(reply.body)
