# SPDX-License-Identifier: Apache-2.0
"""A database that commits batches: reconnects, tries again, and finds out what a lost commit did.

Nothing is kept on the connection between transactions, so it works through a transaction pooler.
"""

import contextlib
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from ipai_kit.bronze import StreamPlan
from ipai_kit.exceptions import ConnectorError, TryAgainLaterError
from ipai_kit.landing.batch import FlushBatch, StreamReport
from target_bronze_postgres.binary import (
    BigintArray,
    BigintArrayDumper,
    TextArray,
    TextArrayDumper,
    TimestampArray,
    TimestampArrayDumper,
)
from target_bronze_postgres.faults import Fate, explain, fate_of
from target_bronze_postgres.landing_transaction import Landing
from target_bronze_postgres.quarantine import move_unstorable
from target_bronze_postgres.settings import TARGET_NAME, Settings
from target_bronze_postgres.state_keeping import check_right, save_state
from target_bronze_postgres.statements import statement
from target_bronze_postgres.tables import (
    BronzeTable,
    Connection,
    ServerFacts,
    TableName,
    open_table,
    server_facts,
    table_name,
)

Result = TypeVar("Result")

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_CONNECT_TIMEOUT: Final = 15
_LAST_SECONDS: Final = 10.0


@dataclass
class Database:
    """The connection of a run and what is known about its tables."""

    settings: Settings
    notify: Callable[..., None]
    stopping: threading.Event = field(default_factory=threading.Event)
    tables: dict[TableName, BronzeTable] = field(default_factory=dict)
    _first_loads: set[TableName] = field(default_factory=set)
    _may_copy: bool = True
    _connection: Connection | None = None
    _facts: ServerFacts | None = None
    _in_doubt: tuple[str, list[StreamReport]] | None = None
    _held: list[StreamReport] | None = None
    """What open batches did within a transaction that goes on; None when there is none."""

    def open(self) -> None:
        """Connect, so that wrong settings show before anything is read."""
        try:
            connection = self._persist(self._connected)
            if self.settings.lease is not None:
                check_right(connection)
        except ConnectorError:
            self.close()
            raise

    def commit(self, batch: FlushBatch) -> list[StreamReport]:
        """Commit a batch, again while the database is away, and without unstorable records."""
        return self._persist(lambda: self._attempt(batch), batch)

    def finish(self) -> None:
        """Give the planner statistics of the tables that this run filled first."""
        with contextlib.suppress(psycopg.Error):  # everything is committed: this is a courtesy
            for name in self._first_loads:
                connection = self._connected()
                with connection.transaction():
                    connection.execute(statement("coarse_statistics"))
                    connection.execute(statement("analyze_table", table=name.identifier))

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _persist(self, work: Callable[[], Result], batch: FlushBatch | None = None) -> Result:
        """Do some work until it succeeds, its error is final, or the time for retries is over."""
        given_up_at = time.monotonic() + self.settings.retry_seconds
        wait = _FIRST_WAIT
        refusal: psycopg.Error | None = None
        while True:
            try:
                if refusal is not None and batch is not None:
                    self._leave_out(batch, refusal)
                    refusal = None
                return work()
            except psycopg.Error as error:
                self._forget_attempt()
                fate = fate_of(error)
                if fate is not Fate.STOP:
                    self._check_held(error)
                if fate is Fate.EXAMINE_DATA and refusal is None and batch is not None:
                    refusal = error
                    continue
                if fate is Fate.INSERT and self._may_copy:
                    self._may_copy = False
                    continue
                given_up_at = min(given_up_at, self._last_moment(batch))
                if fate is not Fate.RETRY or time.monotonic() + wait > given_up_at:
                    raise explain(error) from error
                # A first load learns by it that keys come twice: that is no trouble.
                level = "info" if isinstance(error, psycopg.errors.UniqueViolation) else "warning"
                self.notify(
                    "retry", level=level, error=type(error).__name__, sqlstate=error.sqlstate
                )
            time.sleep(wait * (0.5 + random.random() / 2))  # noqa: S311 - jitter, no secret
            wait = min(wait * 2, _LONGEST_WAIT)

    def _last_moment(self, batch: FlushBatch | None) -> float:
        """A stopped run tries a little longer to commit what it holds, but not for long."""
        if not self.stopping.is_set():
            return math.inf
        return time.monotonic() + (_LAST_SECONDS if batch else 0)

    def _attempt(self, batch: FlushBatch) -> list[StreamReport]:
        connection = self._connected()
        if (settled := self._settle(connection)) is not None:
            return settled
        if batch.drops_open:
            connection.rollback()
            self._held = None
        if batch.is_open and self._held is None:
            connection.execute(statement("begin"))
            self._held = []
        for stream in batch.streams.values():
            name = table_name(stream.plan)
            if name not in self.tables:
                self.tables[name] = self._open_table(connection, stream.plan)
        with connection.transaction():  # a savepoint while open batches are held
            reports = Landing(connection, self.settings, self.tables, self._may_copy).write(batch)
            if batch.is_open:
                self._held = [*(self._held or []), *reports]
                return []
            reports = [*(self._held or []), *reports]
            if batch.state is not None and self.settings.lease is not None:
                save_state(connection, self.settings.lease, batch.state)
            row = connection.execute(statement("assigned_transaction")).fetchone()
            if row and row[0]:
                self._in_doubt = (row[0], reports)
        if self._held is not None:
            connection.execute(statement("commit"))
        self._in_doubt = self._held = None
        self._first_loads |= {table.name for table in self.tables.values() if table.is_first_load}
        return reports

    def _open_table(self, connection: Connection, plan: StreamPlan) -> BronzeTable:
        facts = self._facts or server_facts(connection)
        self._facts = facts
        return open_table(
            connection,
            plan,
            facts,
            instance_id=self.settings.instance_id,
            keeps_every_version=self.settings.keeps_every_version,
        )

    def _settle(self, connection: Connection) -> list[StreamReport] | None:
        """Reports of an attempt whose commit got through though its answer was lost."""
        if self._in_doubt is None:
            return None
        transaction, reports = self._in_doubt
        values = {"transaction": transaction}
        try:
            row = connection.execute(statement("transaction_status"), values).fetchone()
        except psycopg.DataError:  # the server does not know it: restored, or failed over
            row = None
        status = row[0] if row else None
        if status == "in progress":
            message = "the previous attempt is still being committed"
            raise psycopg.errors.LockNotAvailable(message)
        self._in_doubt = None
        if status == "committed":
            self._held = None
            return reports
        if self._held is not None:
            raise _lost_rows(reason="the commit did not get through.")
        return None

    def _leave_out(self, batch: FlushBatch, refusal: psycopg.Error) -> None:
        """Move the records that the server cannot store to the dead letters."""
        if not move_unstorable(self._connected(), batch):
            raise explain(refusal) from refusal

    def _forget_attempt(self) -> None:
        """The tables may be gone or filled by now, and a broken connection is of no more use."""
        self.tables.clear()
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            self.close()

    def _check_held(self, error: psycopg.Error) -> None:
        """Stop when open batches went with their transaction: their records must come again."""
        is_whole = (
            self._connection is not None
            and self._connection.info.transaction_status == TransactionStatus.INTRANS
        )
        if self._held is None or is_whole or self._in_doubt is not None:
            return
        raise _lost_rows(explain(error).message) from error

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = _connect(self.settings.database_url)
            self._facts = server_facts(self._connection)
        return self._connection


def _lost_rows(reason: str) -> TryAgainLaterError:
    message = f"Rows that waited for their STATE are lost: {reason}"
    return TryAgainLaterError(message, next_step="Run again: they were not committed.")


def _connect(database_url: str) -> Connection:
    connection = psycopg.connect(
        database_url,
        autocommit=True,
        prepare_threshold=None,
        client_encoding="utf8",
        **_defaults(database_url),
    )
    connection.adapters.register_dumper(TextArray, TextArrayDumper)
    connection.adapters.register_dumper(BigintArray, BigintArrayDumper)
    connection.adapters.register_dumper(TimestampArray, TimestampArrayDumper)
    return connection


def _defaults(database_url: str) -> dict[str, Any]:
    given = psycopg.conninfo.conninfo_to_dict(database_url)
    wanted = {
        "application_name": TARGET_NAME,
        "connect_timeout": _CONNECT_TIMEOUT,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    return {name: value for name, value in wanted.items() if name not in given}
