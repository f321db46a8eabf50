# SPDX-License-Identifier: Apache-2.0
"""SecretStore: storing, replacing and forgetting secrets, for those who administer them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from ipai_orchestrate.secrets import calls
from ipai_orchestrate.secrets.envelope import Sealed, rewrap, seal
from ipai_orchestrate.secrets.grant import Grant
from ipai_orchestrate.secrets.key_ring import RingFile
from ipai_orchestrate.secrets.renewal import moment


@dataclass(frozen=True, kw_only=True)
class StoredSecret:
    """What is known of a secret; never its value."""

    name: str
    version: int
    description: str
    created_at: datetime
    created_by: str | None
    rotated_at: datetime | None
    rotated_by: str | None
    expires_at: datetime | None
    previous_until: datetime | None
    last_read_at: datetime | None
    key_id: UUID | None
    used_by: list[str]


@dataclass(frozen=True, kw_only=True)
class RotatedSecret:
    """A new version; `cancelled` are the runs that held a revoked one."""

    id: UUID
    version: int
    cancelled: list[UUID]


@dataclass(frozen=True, kw_only=True)
class KeyUse:
    """How many values a key seals."""

    key_id: UUID | None
    sealed_by: str
    secrets: int


@dataclass(frozen=True, kw_only=True)
class _Created:
    id: UUID
    version: int


class SecretStore:
    """Calls the control plane on an autocommit connection that the caller owns.

    Where the server cannot seal, values are sealed here: neither value nor key leaves the client.
    """

    def __init__(self, connection: calls.Connection, ring: RingFile) -> None:
        self._connection = connection
        self._ring = ring

    def create(
        self,
        name: str,
        value: str,
        *,
        description: str = "",
        expires_at: datetime | None = None,
    ) -> None:
        """Store a new secret."""
        arguments = self._closed(value) | {
            "name": name,
            "description": description,
            "expires_at": expires_at,
        }
        calls.rows(self._connection, _Created, "create", arguments)

    def rotate(
        self,
        name: str,
        value: str,
        *,
        overlap: str | None = None,
        revoke: bool = False,
        expires_at: datetime | None = None,
    ) -> RotatedSecret:
        """Replace a value; `overlap` (e.g. 24h) keeps the one before valid for as long."""
        arguments = self._closed(value) | {
            "name": name,
            "overlap": overlap,
            "revoke": revoke,
            "expires_at": expires_at,
        }
        return calls.rows(self._connection, RotatedSecret, "rotate", arguments)[0]

    def store_grant(self, name: str, grant: Grant, description: str = "") -> None:
        """Store what a user has granted, or replace it after a new login."""
        arguments = self._closed(grant.value) | {
            "name": name,
            "token_url": grant.token_url,
            "client_id": grant.client_id,
            "scopes": list(grant.scopes),
            "description": description,
            "expires_at": moment(grant.expires_at),
            "access_expires_at": moment(grant.access_expires_at),
        }
        calls.value(self._connection, "store_grant", arguments)

    def delete(self, name: str, *, force: bool = False) -> None:
        """Forget a secret; refused while an instance refers to it, unless forced."""
        calls.value(self._connection, "delete", {"name": name, "force": force})

    def all(self) -> list[StoredSecret]:
        """The secrets by name."""
        return calls.rows(self._connection, StoredSecret, "list", {})

    def key_uses(self) -> list[KeyUse]:
        """What seals what."""
        return calls.rows(self._connection, KeyUse, "keys", {})

    def rewrap(self) -> int:
        """Seal all data keys under the newest key; return how many were under another."""
        changed = int(calls.value(self._connection, "rewrap", {}))
        ring = None
        for sealed in calls.rows(self._connection, Sealed, "client_sealed", {}):
            ring = ring or self._ring.read()
            if sealed.key_id != ring.newest:
                changed += self._store(sealed, rewrap(ring, sealed))
        return changed

    def seals_itself(self) -> bool:
        """Whether the server does the sealing."""
        return bool(calls.value(self._connection, "sealing", {}) == "server")

    def _closed(self, value: str) -> dict[str, Any]:
        """The value for a server that seals, else the value sealed; it refuses an empty one."""
        if value and not self.seals_itself():
            # A new ring is for a vault without secrets: in another one, the file is lost.
            ring = self._ring.read() if self.key_uses() else self._ring.create()
            # The embedded server reads the same file: with a key it seals like any other.
            if not self.seals_itself():
                sealed = seal(ring, uuid4(), value).as_record()
                return {"value": None, "sealed": Jsonb(sealed)}
        return {"value": value, "sealed": None}

    def _store(self, old: Sealed, new: Sealed) -> bool:
        arguments = {
            "id": old.id,
            "old_secret": old.secret,
            "new_secret": new.secret,
            "new_key_id": new.key_id,
        }
        return bool(calls.value(self._connection, "store_rewrapped", arguments))
