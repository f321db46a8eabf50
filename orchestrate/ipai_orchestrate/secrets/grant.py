# SPDX-License-Identifier: Apache-2.0
"""An OAuth grant as it lies in the vault: a secret that holds what renews it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

FORM = 1
_MARGIN = 300.0  # renew this long before the end, or after three quarters of a shorter life


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a user has granted, and the present access token; times in seconds since 1970."""

    token_url: str
    client_id: str
    refresh_token: str = field(repr=False)
    client_secret: str | None = field(default=None, repr=False)
    secret_in_header: bool = False
    access_token: str | None = field(default=None, repr=False)
    access_expires_at: float | None = None
    renew_at: float | None = None
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: str) -> "Grant | None":
        """Read a secret; None when it is an ordinary one."""
        if not value.startswith('{"ipai_grant":'):
            return None
        record: dict[str, Any] = json.loads(value)
        record.pop("ipai_grant")
        return cls(**{**record, "scopes": tuple(record.get("scopes", ()))})

    @property
    def value(self) -> str:
        """The form in which it is stored."""
        return json.dumps({"ipai_grant": FORM, **asdict(self)})

    @property
    def to_mask(self) -> list[str]:
        """What no log may show."""
        return [
            text for text in (self.refresh_token, self.client_secret, self.access_token) if text
        ]

    def usable(self, now: float, refused: str | None) -> bool:
        """Whether the access token may be handed out; a refused one may not."""
        if self.access_token is None or self.access_token == refused:
            return False
        return self.renew_at is None or now < self.renew_at


def renewal_time(asked_at: float, expires_at: float | None) -> float | None:
    """When to renew a token: well before its end, but not at once when its life is short."""
    return None if expires_at is None else expires_at - min(_MARGIN, (expires_at - asked_at) / 4)
