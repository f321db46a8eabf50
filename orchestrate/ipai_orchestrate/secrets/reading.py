# SPDX-License-Identifier: Apache-2.0
"""Reads the secrets that settings refer to: asks, commits, and only then reads.

Each call is a transaction of its own, so what was asked is in the log before a value is given.
"""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
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
from ipai_orchestrate.secrets.key_ring import KeyRing, RingFile, ring_file

# Deadlocks, full connection lists and locks: not the secret's fault.
_PASSING = {"40", "53", "55"}


class Connectable(Protocol):
    """What gives autocommit connections."""

    def connect(self) -> AbstractContextManager[calls.Connection]:
        """Open one."""


@dataclass(frozen=True, kw_only=True)
class _Grant:
    grant_id: UUID | None
    outcome: str
    message: str | None


@dataclass
class SecretReader:
    """Reads secrets by name for one run or one instance, and remembers what must be masked."""

    database: Connectable
    query: str
    request: Mapping[str, Any]
    holding: Mapping[str, Any]
    ring_file: RingFile
    to_mask: list[str] = field(default_factory=list, repr=False)
    _ring: KeyRing | None = field(default=None, repr=False)

    def __call__(self, names: Collection[str]) -> dict[str, str]:
        """The values of the named secrets."""
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

    def _ask(self, connection: calls.Connection, name: str) -> UUID:
        grant = calls.rows(connection, _Grant, self.query, {**self.request, "name": name})[0]
        if grant.grant_id is not None:
            return grant.grant_id
        if grant.outcome == "no_lease":
            raise LeaseLostError(str(grant.message), hint="Write nothing more for this run.")
        message = f"{grant.message} Store it with `ipai secret set {name}`, or change the setting."
        raise SecretError(message)

    def _read(self, connection: calls.Connection, grant: UUID) -> str:
        answer = calls.value(connection, "read", {**self.holding, "grant_id": grant})
        value = self._opened(answer)
        # Also the parts of a key file or an address.
        self.to_mask += secret_values(None, {"secret": value})
        return value

    def _opened(self, answer: Mapping[str, Any]) -> str:
        if "value" in answer:
            return str(answer["value"])
        self._ring = self._ring or self.ring_file.read()
        return unseal(self._ring, Sealed.of(answer["sealed"]))


def run_secrets(database: Connectable, run: ClaimedRun) -> SecretReader:
    """The secrets of a claimed run, for as long as its lease is held."""
    lease = {"run_id": run.id, "lease_token": run.lease_token}
    return SecretReader(database, "request", lease, lease, ring_file())


def instance_secrets(database: Connectable, instance_id: str) -> SecretReader:
    """The secrets of an instance that an administrator checks or reads dry, without a run."""
    holding = {"run_id": None, "lease_token": None}
    request = {"instance_id": instance_id}
    return SecretReader(database, "request_for_instance", request, holding, ring_file())
