# SPDX-License-Identifier: Apache-2.0
"""The database a run reports to; when it is the embedded one and dies, it is started again."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from ipai_orchestrate.embedded import open_database, revive

Connection = psycopg.Connection[tuple[Any, ...]]


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
        return psycopg.connect(
            self.dsn,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=10,
            application_name="ipai-runner",
        )


@contextmanager
def opened_database() -> Iterator[Database]:
    """The configured database, else the embedded one for as long as the block runs."""
    with open_database() as dsn:
        own = not os.environ.get("IPAI_DATABASE_URL")
        yield Database(dsn, revive if own else None)
