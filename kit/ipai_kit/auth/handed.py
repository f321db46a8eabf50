# SPDX-License-Identifier: Apache-2.0
"""An access token that whoever runs the tap hands over, and renews while the tap runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ipai_kit.auth.oauth import OAuthClient, RefreshToken
from ipai_kit.auth.renewing import RenewingAuth
from ipai_kit.auth.tokens import MemoryTokenStore, Token
from ipai_kit.logs import protect
from ipai_kit.rest.client import Client

__all__ = ["HandedTokenAuth"]

_MARGIN = 300.0


class HandedTokenAuth(RenewingAuth):
    """Signs with the token of a setting; asks the runner's door, if it has one, for the next.

    Without a door (`tap | target` by hand) the token is used as long as the source takes it.
    """

    def __init__(
        self,
        client: Client,
        config: Mapping[str, Any],
        setting: str,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        door = config.get("oauth_door") or {}
        key = door.get("keys", {}).get(setting)
        ends = door.get("expires_at", {}).get(setting)
        self._has_door = key is not None
        if key is not None:
            client.transport.allow(door["url"])
            protect(key)
        renew_at = None if ends is None else ends - min(_MARGIN, (ends - now()) / 4)
        token = Token(str(config.get(setting) or ""), ends, key, renew_at if key else None)
        protect(token.access_token)
        grant = RefreshToken(OAuthClient(client, str(door.get("url")), "run", now=now))
        super().__init__(grant, MemoryTokenStore(token), now=now)

    def renew(self, request: Any) -> bool:
        """Replace the token that this request carried; without a door there is no other."""
        return self._has_door and super().renew(request)
