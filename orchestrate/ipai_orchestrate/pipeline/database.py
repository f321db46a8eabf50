# SPDX-License-Identifier: Apache-2.0
"""The database a run reports to; when it is the embedded one and dies, it is started again."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from ipai_orchestrate.embedded import open_database, revive
from ipai_orchestrate.server_version import require_supported

Connection = psycopg.Connection[tuple[Any, ...]]

# A host that is cut off gets no error by itself: without these, whoever renews a lease would wait
# for a quarter of an hour, and the run it has lost would go on as long.
NOTICES_SILENCE: Mapping[str, Any] = {
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


@dataclass(frozen=True)
class Database:
    """An address, and how to bring the server behind it back if that is in our hands."""

    dsn: str
    revive: Callable[[], object] | None = None

    def connect(self) -> Connection:
        """Open a connection that works through a transaction pooler too."""
        try:
            return self._connect()
        except psycopg.OperationalError:
            if self.revive is None:
                raise
            self.revive()
            return self._connect()

    def _connect(self) -> Connection:
        connection = psycopg.connect(
            self.dsn,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=10,
            application_name="ipai-runner",
            **NOTICES_SILENCE,
        )
        require_supported(connection)
        return connection


@contextmanager
def opened_database() -> Iterator[Database]:
    """The configured database, else the embedded one for as long as the block runs."""
    with open_database() as dsn:
        own = not os.environ.get("IPAI_DATABASE_URL")
        yield Database(dsn, revive if own else None)
