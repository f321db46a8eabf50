# SPDX-License-Identifier: Apache-2.0
"""The class Meltano loads for `ipai://`."""

from __future__ import annotations

import atexit
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import psycopg
from meltano.core.state_store.base import (
    MeltanoState,
    StateIDLockedError,
    StateStoreManager,
)

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.database_tls import require_proof
from ipai_orchestrate.embedded import open_database

_SINGER = "singer_state"
# One per process: Meltano opens and closes a manager for every look at the state, but the embedded
# server must stay up for the target and dbt that the same `meltano run` starts.
_process_database = ExitStack()
_joined: dict[str, str] = {}


class IpaiStateStoreManager(StateStoreManager):
    """Keeps Meltano's states in the control plane, with their history."""

    def __init__(
        self,
        uri: str = "ipai://",
        dsn: str | None = None,
        lock_timeout_seconds: float = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._dsn = dsn or _dsn_in(uri)
        self._lock_timeout_seconds = lock_timeout_seconds
        self._opened = ExitStack()
        self._plane: ControlPlane | None = None

    @property
    def label(self) -> str:
        """What Meltano calls this backend in its log."""
        return "IPAI control plane"

    @property
    def plane(self) -> ControlPlane:
        """The control plane, connected when it is first asked."""
        if self._plane is None:
            dsn = self._dsn or _database_of_this_process()
            require_proof(dsn)
            self._plane = self._opened.enter_context(ControlPlane.connect(dsn))
        return self._plane

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        self._plane = None
        self._opened.close()

    def get(self, state_id: str) -> MeltanoState | None:
        """Return the stored state, if any."""
        stored = self.plane.meltano_state_get(state_id)
        if stored is None:
            return None
        return MeltanoState(
            state_id=state_id,
            completed_state={_SINGER: stored.completed} if stored.completed else {},
            partial_state=stored.partial or {},
        )

    def set(self, state: MeltanoState) -> None:
        """Store both parts of a state; Meltano has merged them before."""
        completed = (state.completed_state or {}).get(_SINGER, {})
        self.plane.meltano_state_set(state.state_id, completed, state.partial_state or None)

    def delete(self, state_id: str) -> None:
        """Forget a state; its past versions stay in the history."""
        self.plane.meltano_state_delete(state_id)

    def get_state_ids(self, pattern: str | None = None) -> Iterable[str]:
        """Return the ids that match a glob-style pattern."""
        known = self.plane.meltano_state_ids()
        return [one for one in known if pattern is None or fnmatchcase(one, pattern)]

    @contextmanager
    def acquire_lock(self, state_id: str, *, retry_seconds: float = 1) -> Generator[None]:
        """Hold a state for a read and a write; a crash frees the lock, as it ends the transaction.

        The database waits, so `retry_seconds` has no use here.
        """
        del retry_seconds
        connection = self.plane.connection
        try:
            with connection.transaction():
                timeout = f"{self._lock_timeout_seconds * 1000:.0f}"
                connection.execute("select set_config('lock_timeout', %s, true)", (timeout,))
                connection.execute(
                    "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (state_id,)
                )
                yield
        except psycopg.errors.LockNotAvailable as error:
            message = (
                f"State {state_id!r} was not free within {self._lock_timeout_seconds:g} seconds. "
                "Another Meltano run writes it; try again when that has ended."
            )
            raise StateIDLockedError(message) from error
        except psycopg.Error as error:
            raise translate(error) from error


def _dsn_in(uri: str) -> str | None:
    """Return the database address inside `ipai://…`, if there is one."""
    parts = urlsplit(uri)
    return parts._replace(scheme="postgresql").geturl() if parts.netloc else None


def _database_of_this_process() -> str:
    """Return IPAI_DATABASE_URL or join the embedded server until this process ends."""
    if "dsn" not in _joined:
        _joined["dsn"] = _process_database.enter_context(open_database())
        atexit.register(_process_database.close)
    return _joined["dsn"]
