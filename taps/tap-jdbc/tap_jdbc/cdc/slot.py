# SPDX-License-Identifier: Apache-2.0
"""The replication slot: what keeps the log from where STATE is, and nothing longer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    TryAgainLaterError,
)
from ipai_kit.waiting import Waiting
from tap_jdbc.cdc.session import LogSession

__all__ = ["Server", "Slot", "SlotKeeper", "check_server"]

_OLDEST: Final = 130000
_OLDEST_REPLICA: Final = 160000
_LOCK_SECONDS: Final = 30
_CREATE_SECONDS: Final = 600
_TICK: Final = 0.05
_NAME_BYTES: Final = 63


@dataclass(frozen=True)
class Server:
    """What the server says of itself."""

    version: int
    is_replica: bool
    system: str
    """Its identity, if it tells; a restored copy has the same, another server never."""


@dataclass(frozen=True)
class Slot:
    """A slot as the server shows it."""

    confirmed: int
    """Everything before this position may be gone."""
    members: dict[str, Any]

    @property
    def loss(self) -> str:
        """Why it is of no use any more; empty for a slot in order."""
        reason = self.members.get("invalidation_reason")
        if reason:
            return str(reason)
        if self.members.get("conflicting"):
            return "conflict with recovery"
        return "wal_removed" if self.members.get("wal_status") == "lost" else ""


def check_server(session: LogSession) -> Server:
    """Raise, with what to do, where the log cannot be read."""
    wal_level, version, is_replica, may_replicate, tells_system = session.rows("server")[0]
    if version < _OLDEST:
        message = f"The server is too old for change data capture: version {version // 10000}."
        raise ConfigurationError(message, next_step="Use PostgreSQL 13 or newer.")
    if wal_level != "logical":
        message = f"The server's log does not hold changes of rows: wal_level is {wal_level!r}."
        raise ConfigurationError(
            message,
            next_step="Run: alter system set wal_level = logical; and restart the server"
            + (" and its primary." if is_replica else "."),
        )
    if is_replica and version < _OLDEST_REPLICA:
        message = f"This server is a replica of version {version // 10000}, which decodes no log."
        raise ConfigurationError(
            message, next_step="Read from the primary, or from a replica of version 16 or newer."
        )
    if not may_replicate:
        message = "The role may not read the log."
        raise CredentialsError(message, next_step="Run: alter role … replication;")
    system = session.value("system") if tells_system else ""
    return Server(version, is_replica, system)


class SlotKeeper:
    """Creates, finds, advances and drops one slot."""

    def __init__(self, session: LogSession, name: str) -> None:
        self._session = session
        self.name = name

    def lock(self, waiting: Waiting) -> None:
        """Keep other runs away; one that was killed may need a moment to let go."""
        until = waiting.monotonic() + _LOCK_SECONDS
        while not self._session.value("lock", lock=f"ipai cdc {self.name}"):
            if waiting.monotonic() > until:
                message = f"Another run reads through the replication slot {self.name!r}."
                raise TryAgainLaterError(
                    message, next_step="Wait for it, or give this source a slot of its own."
                )
            waiting.sleep(0.5)

    def find(self) -> Slot | None:
        """Return the slot; None when there is none."""
        rows = self._session.rows("slot", slot=self.name)
        if not rows:
            return None
        members = msgspec.json.decode(rows[0][0])
        if members["plugin"] != "pgoutput" or not members["is_here"]:
            message = (
                f"The replication slot {self.name!r} belongs to something else: "
                f"plugin {members['plugin']!r}, database {members['database']!r}."
            )
            raise ConfigurationError(message, next_step="Choose another name: 'cdc_slot'.")
        return Slot(members["confirmed"] or 0, members)

    def create(self, waiting: Waiting) -> None:
        """Create the slot; the server waits until all transactions under way are over."""
        until = waiting.monotonic() + _CREATE_SECONDS
        with ThreadPoolExecutor(1) as worker:
            made = worker.submit(self._session.value, "create_slot", slot=self.name)
            try:
                while not made.done():
                    if waiting.monotonic() > until:
                        message = "Transactions that began before us do not end."
                        raise TryAgainLaterError(
                            message,
                            next_step="See pg_stat_activity and pg_prepared_xacts; end them.",
                        )
                    waiting.sleep(_TICK)
            except ConnectorError:
                self._session.connection.cancel()  # the server then leaves no slot behind
                raise
        made.result()

    def drop(self) -> None:
        """Let go of the log."""
        self._session.rows("drop_slot", slot=self.name)

    def advance(self, name: str, position: int) -> None:
        """Let go of the log before a position."""
        self._session.rows("advance_slot", slot=name, position=position)

    def release(self) -> None:
        """Let go of the copy and the lock now, not when the server notices that we have left."""
        self.drop_copy()
        self._session.rows("unlock")

    def drop_copy(self) -> None:
        """Let go of the copy, if there is one."""
        self._session.rows("drop_copies")

    def copy(self) -> str:
        """Make the copy that is read; it moves on while this slot stays, and ends with us."""
        number = self._session.connection.info.backend_pid
        name = f"{self.name[: _NAME_BYTES - 12]}_{number}"
        self._session.rows("copy_slot", slot=self.name, copy=name)
        return name
