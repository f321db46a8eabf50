# SPDX-License-Identifier: Apache-2.0
"""Renews the grants of a run: one worker at a time, and stored before it is used.

The lock is the database's and ends with its holder. What the issuer has sent replaces the only
refresh token that still works, so it is stored at once, and again until that has succeeded.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from ipai_orchestrate.control_plane import ClaimedRun
from ipai_orchestrate.exceptions import (
    ConflictError,
    CredentialsRefusedError,
    DatabaseUnavailableError,
    TokenEndpointError,
)
from ipai_orchestrate.secrets import calls
from ipai_orchestrate.secrets.envelope import seal
from ipai_orchestrate.secrets.grant import Grant
from ipai_orchestrate.secrets.key_ring import RingFile
from ipai_orchestrate.secrets.places import Connectable
from ipai_orchestrate.secrets.token_endpoint import refreshed

_ROUNDS = 5
_SAVE_AGAIN_AFTER = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class StoredGrant:
    """A grant as it was read; `sealed` when clients seal in this database."""

    grant: Grant
    version: int
    sealed: bool


@dataclass(frozen=True, kw_only=True)
class _Locked:
    version: int
    status: str
    failure: str | None


@dataclass(frozen=True)
class Renewal:
    """Keeps the access tokens of a claimed run good."""

    database: Connectable
    run: ClaimedRun
    ring_file: RingFile
    read: Callable[[str], StoredGrant]
    trade: Callable[[Grant], Grant] = refreshed
    now: Callable[[], float] = time.time

    def usable(self, name: str, stored: StoredGrant, refused: str | None = None) -> Grant:
        """The grant with an access token that is good; `refused` is one that is not any more."""
        for _ in range(_ROUNDS):
            if stored.grant.usable(self.now(), refused):
                return stored.grant
            renewed = self._renewed(name, stored)
            if renewed is not None:
                return renewed
            stored = self.read(name)  # another worker was first
        message = f"Grant {name!r} is renewed by others all the time. Try again later."
        raise TokenEndpointError(message)

    def _renewed(self, name: str, stored: StoredGrant) -> Grant | None:
        """Trade under the lock; None when what was read is not the newest."""
        arguments = {"run_id": self.run.id, "lease_token": self.run.lease_token, "name": name}
        with self._alone(arguments) as found:
            if found.version != stored.version:
                return None
            if found.status == "needs_reauth":
                message = (
                    f"Grant {name!r} needs a new login: its issuer answered {found.failure!r}. "
                    f"Sign in there again, then: ipai secret grant {name} --help"
                )
                raise CredentialsRefusedError(message, code=found.failure or "")
            return self._traded(name, stored)

    @contextmanager
    def _alone(self, arguments: Mapping[str, Any]) -> Iterator[_Locked]:
        """Hold the lock of a grant; nothing else happens in its transaction."""
        with self.database.connect() as lock:
            try:
                lock.execute("begin")
                yield calls.rows(lock, _Locked, "lock_grant", arguments)[0]
            finally:
                lock.close()  # which ends it; a commit could fail after all is done

    def _traded(self, name: str, stored: StoredGrant) -> Grant:
        with self.database.connect() as writer:  # before the issuer is asked: what if it were gone
            held = {"run_id": self.run.id, "name": name, "version": stored.version}
            try:
                fresh = self.trade(stored.grant)
            except CredentialsRefusedError as error:
                calls.value(writer, "fail_grant", {**held, "failure": error.code})
                raise
            return self._saved(writer, held, fresh, stored)

    def _saved(
        self, writer: calls.Connection, held: dict[str, Any], fresh: Grant, stored: StoredGrant
    ) -> Grant:
        arguments = held | self._closed(fresh, sealed=stored.sealed)
        for wait in (*_SAVE_AGAIN_AFTER, None):
            try:
                if writer.closed:
                    with self.database.connect() as again:
                        calls.value(again, "save_grant", arguments)
                else:
                    calls.value(writer, "save_grant", arguments)
            except ConflictError:
                break  # stored by the try whose answer was lost, or by who came after us
            except (psycopg.OperationalError, DatabaseUnavailableError):
                if wait is None:
                    raise
                time.sleep(wait)
            else:
                return fresh
        return self.read(str(held["name"])).grant

    def _closed(self, fresh: Grant, *, sealed: bool) -> dict[str, Any]:
        closed = seal(self.ring_file.read(), uuid4(), fresh.value).as_record() if sealed else None
        return {
            "value": None if sealed else fresh.value,
            "sealed": Jsonb(closed) if closed else None,
            "access_expires_at": moment(fresh.access_expires_at),
            "expires_at": moment(fresh.expires_at),
        }


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as the database takes them."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
