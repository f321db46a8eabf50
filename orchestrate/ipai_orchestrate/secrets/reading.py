# SPDX-License-Identifier: Apache-2.0
"""Reads the secrets that settings refer to: asks, commits, and only then reads.

Each call is a transaction of its own, so what was asked is in the log before a value is given.
"""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from ipai_kit.spec import secret_values
from ipai_orchestrate.control_plane import ClaimedRun
from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.exceptions import (
    ControlPlaneError,
    DatabaseUnavailableError,
    LeaseLostError,
    SecretError,
)
from ipai_orchestrate.secrets import calls
from ipai_orchestrate.secrets.envelope import Sealed, unseal
from ipai_orchestrate.secrets.grant import Grant
from ipai_orchestrate.secrets.key_ring import KeyRing, RingFile, ring_file
from ipai_orchestrate.secrets.places import Connectable
from ipai_orchestrate.secrets.renewal import Renewal, StoredGrant
from ipai_orchestrate.secrets.token_door import token_door

# Deadlocks, full connection lists and locks: not the secret's fault.
_PASSING = {"40", "53", "55"}


@dataclass(frozen=True, kw_only=True)
class _Permission:
    grant_id: UUID | None
    outcome: str
    message: str | None


@dataclass(frozen=True)
class _Opened:
    """A value, which version of it, and whether a client had sealed it."""

    value: str = field(repr=False)
    version: int
    sealed: bool


@dataclass
class SecretReader:
    """Reads secrets by name for one run or one instance, and remembers what must be masked.

    Of a grant, the value is its access token.
    """

    database: Connectable
    query: str
    request: Mapping[str, Any]
    holding: Mapping[str, Any]
    ring_file: RingFile
    to_mask: list[str] = field(default_factory=list, repr=False)
    renewal: Renewal | None = None
    grants: dict[str, Grant] = field(default_factory=dict, repr=False)
    _ring: KeyRing | None = field(default=None, repr=False)

    def __call__(self, names: Collection[str]) -> dict[str, str]:
        """The values of the named secrets."""
        return {name: self._value(name, one) for name, one in self._open(names).items()}

    def renewed(self, name: str, refused: str | None = None) -> Grant:
        """A grant with an access token that is good; `refused` is not any more."""
        return self._usable(name, self.stored(name), refused)

    def stored(self, name: str) -> StoredGrant:
        """A grant as it is now."""
        opened = self._open([name])[name]
        grant = Grant.of(opened.value)
        if grant is None:
            message = f"Secret {name!r} is no grant any more. Run again with what it is now."
            raise SecretError(message)
        return StoredGrant(grant=grant, version=opened.version, sealed=opened.sealed)

    def handed_over(
        self, config: Mapping[str, Any], mask: Callable[..., None]
    ) -> AbstractContextManager[dict[str, Any]]:
        """Settings by which the tap gets new access tokens for its grants while it runs."""
        named = {f"${{secret:{name}}}": name for name in self.grants}
        grants = {
            setting: (named[value], self.grants[named[value]])
            for setting, value in config.items()
            if isinstance(value, str) and value in named
        }
        return token_door(grants, self.renewed, mask)

    def _open(self, names: Collection[str]) -> dict[str, _Opened]:
        if not names:
            return {}
        try:
            with self.database.connect() as connection:
                granted = {name: self._ask(connection, name) for name in names}
                return {name: self._read(connection, grant) for name, grant in granted.items()}
        except psycopg.OperationalError as error:
            raise translate(error) from error
        except ControlPlaneError as error:
            if error.sqlstate[:2] not in _PASSING:
                raise
            message = f"The database is too busy to read a secret: {error}. Try again."
            raise DatabaseUnavailableError(message) from error

    def _value(self, name: str, opened: _Opened) -> str:
        grant = Grant.of(opened.value)
        if grant is None:
            return opened.value
        stored = StoredGrant(grant=grant, version=opened.version, sealed=opened.sealed)
        self.grants[name] = self._usable(name, stored, None)
        return str(self.grants[name].access_token)

    def _usable(self, name: str, stored: StoredGrant, refused: str | None) -> Grant:
        grant = stored.grant
        if self.renewal is not None:
            grant = self.renewal.usable(name, stored, refused)
        elif not grant.usable(time.time(), refused):
            message = f"The access token of grant {name!r} is due. A run renews it: start one."
            raise SecretError(message)
        self.to_mask += grant.to_mask
        return grant

    def _ask(self, connection: calls.Connection, name: str) -> UUID:
        grant = calls.rows(connection, _Permission, self.query, {**self.request, "name": name})[0]
        if grant.grant_id is not None:
            return grant.grant_id
        if grant.outcome == "no_lease":
            raise LeaseLostError(str(grant.message), hint="Write nothing more for this run.")
        message = f"{grant.message} Store it with `ipai secret set {name}`, or change the setting."
        raise SecretError(message)

    def _read(self, connection: calls.Connection, grant: UUID) -> _Opened:
        answer = calls.value(connection, "read", {**self.holding, "grant_id": grant})
        value = self._opened(answer)
        # Also the parts of a key file or an address.
        self.to_mask += secret_values(None, {"secret": value})
        return _Opened(value, int(answer["version"]), "value" not in answer)

    def _opened(self, answer: Mapping[str, Any]) -> str:
        if "value" in answer:
            return str(answer["value"])
        self._ring = self._ring or self.ring_file.read()
        return unseal(self._ring, Sealed.of(answer["sealed"]))


def run_secrets(database: Connectable, run: ClaimedRun) -> SecretReader:
    """The secrets of a claimed run, for as long as its lease is held."""
    lease = {"run_id": run.id, "lease_token": run.lease_token}
    reader = SecretReader(database, "request", lease, lease, ring_file())
    reader.renewal = Renewal(database, run, reader.ring_file, reader.stored)
    return reader


def instance_secrets(database: Connectable, instance_id: str) -> SecretReader:
    """The secrets of an instance that an administrator checks or reads dry, without a run."""
    holding = {"run_id": None, "lease_token": None}
    request = {"instance_id": instance_id}
    return SecretReader(database, "request_for_instance", request, holding, ring_file())
