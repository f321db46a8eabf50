# SPDX-License-Identifier: Apache-2.0
"""The loop of one notifier: claim what is due, post it from a few threads, record how it went.

Any number may run on one database. The database is spoken to by one thread only. What was posted
while the database was away is recorded when it is back; after the lease another notifier posts it
again under the same id, so that receivers can drop what they have seen.
"""

import os
import random
import socket
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg

from ipai_orchestrate.exceptions import (
    ConfigurationError,
    ControlPlaneError,
    LeaseLostError,
    OrchestrateError,
)
from ipai_orchestrate.notify.chat import CHAT_URL
from ipai_orchestrate.notify.outbox import Outbox
from ipai_orchestrate.notify.records import ClaimedDelivery
from ipai_orchestrate.notify.sending import Outcome, Sender
from ipai_orchestrate.notify.signing_secrets import SigningSecrets
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop

POLL_SECONDS = 5.0
SLICE_SECONDS = 0.25
PURGE_SECONDS = 3600.0
PURGE_ROWS = 10_000
LONGEST_PAUSE_SECONDS = 30.0
LEASE_SECONDS = 120


def notifier_name() -> str:
    """Which machine and which process: what a person needs to find it."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Journal(Protocol):
    """Where a notifier tells what it does."""

    def say(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Write one event with its facts."""


@dataclass(frozen=True)
class NotifierOptions:
    """How a notifier works."""

    sender: Sender = field(default_factory=Sender)
    secrets: SigningSecrets = field(default_factory=SigningSecrets)
    name: str = field(default_factory=notifier_name)
    concurrency: int = 8
    per_endpoint: int = 4
    once: bool = False
    keep_days: int = 30
    lease_seconds: int = LEASE_SECONDS
    poll_seconds: float = POLL_SECONDS


@dataclass
class NotifierReport:
    """What came of it."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0


class Notifier:
    """One notifier; `work` returns when it is told to end, or nothing is due with `once`."""

    def __init__(
        self, database: Database, options: NotifierOptions, stop: Stop, journal: Journal
    ) -> None:
        self._database = database
        self._options = options
        self._stop = stop
        self._journal = journal
        self._outbox: Outbox | None = None
        self._sent: dict[Future[Outcome], ClaimedDelivery] = {}
        self._unrecorded: deque[tuple[ClaimedDelivery, Outcome]] = deque()
        self._failures = 0
        self._purge_due = 0.0
        self.report = NotifierReport()

    def work(self) -> NotifierReport:
        """Deliver until told to end; what is under way then is finished and recorded."""
        try:
            self._reach()
            self._journal.say("notifier_started", concurrency=self._options.concurrency)
            with ThreadPoolExecutor(self._options.concurrency, "webhook") as pool:
                while not self._stop.signum and not self._is_done(self._step(pool)):
                    self._pause()
                while self._sent:
                    self._collect(self._options.poll_seconds)
            with suppress(OrchestrateError, psycopg.Error):
                self._record(self._reach())
        finally:
            self._hang_up()
        self._journal.say("notifier_ended", **vars(self.report))
        return self.report

    def _is_done(self, claimed: int | None) -> bool:
        busy = claimed is None or claimed or self._sent or self._unrecorded
        return self._options.once and not busy

    def _step(self, pool: ThreadPoolExecutor) -> int | None:
        """Record what was sent and claim more; how many, or None without a database."""
        try:
            outbox = self._reach()
            self._record(outbox)
            self._purge(outbox)
            claimed = self._claim(outbox)
            for delivery in claimed:
                self._send(pool, outbox, delivery)
        except ConfigurationError:
            raise
        except (psycopg.Error, OrchestrateError) as error:
            self._lose_database(error)
            return None
        self._failures = 0
        return len(claimed)

    def _send(self, pool: ThreadPoolExecutor, outbox: Outbox, delivery: ClaimedDelivery) -> None:
        sender, secrets = self._options.sender, self._options.secrets
        try:
            if delivery.url == CHAT_URL:
                addresses = secrets.addresses_of(outbox, delivery)
                sent = pool.submit(sender.tell, delivery, addresses)
            else:
                sent = pool.submit(sender.send, delivery, secrets.keys_of(outbox, delivery))
        except (ConfigurationError, ControlPlaneError) as error:
            self._unrecorded.append((delivery, Outcome(error=str(error))))
        else:
            self._sent[sent] = delivery

    def _claim(self, outbox: Outbox) -> list[ClaimedDelivery]:
        room = self._options.concurrency - len(self._sent)
        if room <= 0:
            return []
        return outbox.claim(
            self._options.name,
            room,
            lease_seconds=self._options.lease_seconds,
            per_endpoint=self._options.per_endpoint,
        )

    def _record(self, outbox: Outbox) -> None:
        while self._unrecorded:
            delivery, outcome = self._unrecorded[0]
            try:
                finished = outbox.finish(
                    delivery, outcome.http_status, outcome.error, outcome.retry_after_seconds
                )
            except LeaseLostError:
                status = "taken_over"
            except ControlPlaneError as error:  # tried again when its lease ends
                self._journal.say("webhook_unrecorded", "error", error=str(error))
                status = "unrecorded"
            else:
                status = finished.status
            self._unrecorded.popleft()
            self._tell(delivery, outcome, status)

    def _tell(self, delivery: ClaimedDelivery, outcome: Outcome, status: str) -> None:
        self.report.delivered += status == "delivered"
        self.report.dead += status == "dead"
        self.report.failed += status == "pending"
        self._journal.say(
            f"webhook_{'failed' if status == 'pending' else status}",
            {"delivered": "info", "dead": "error"}.get(status, "warning"),
            delivery=delivery.delivery_id,
            endpoint=delivery.endpoint_id,
            type=delivery.event_type,
            attempt=delivery.attempt,
            http_status=outcome.http_status,
            error=outcome.error,
            seconds=round(outcome.seconds, 3),
        )

    def _purge(self, outbox: Outbox) -> None:
        if time.monotonic() >= self._purge_due:
            gone = outbox.purge(self._options.keep_days, PURGE_ROWS)
            if gone < PURGE_ROWS:  # else there may be more: again with the next step
                self._purge_due = time.monotonic() + PURGE_SECONDS
            if gone:
                self._journal.say("events_purged", events=gone)

    # -- waiting -----------------------------------------------------------------------------

    def _pause(self) -> None:
        """Wait for an answer, a hint of the database, or the next look."""
        if self._sent:
            self._collect(SLICE_SECONDS)
            return
        until = time.monotonic() + (0 if self._options.once else self._pause_seconds())
        while not self._stop.signum and (left := until - time.monotonic()) > 0:
            if self._outbox is None:
                time.sleep(min(left, SLICE_SECONDS))
            elif self._is_hinted(min(left, SLICE_SECONDS)):
                return

    def _pause_seconds(self) -> float:
        if not self._failures:
            return self._options.poll_seconds
        longest = min(2.0**self._failures, LONGEST_PAUSE_SECONDS)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing

    def _is_hinted(self, seconds: float) -> bool:
        assert self._outbox is not None  # noqa: S101 - for the type checker
        try:
            return any(True for _ in self._outbox.connection.notifies(timeout=seconds))
        except psycopg.Error as error:
            self._lose_database(error)
            return False

    def _collect(self, seconds: float) -> None:
        done, _ = wait(self._sent, seconds, FIRST_COMPLETED)
        for future in done:
            delivery = self._sent.pop(future)
            self._unrecorded.append((delivery, future.result()))

    # -- the database --------------------------------------------------------------------------

    def _reach(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox(self._database.connect())
            self._outbox.listen()
        return self._outbox

    def _lose_database(self, error: Exception) -> None:
        self._failures += 1
        self._hang_up()
        self._journal.say("database_lost", "warning", error=str(error).strip())

    def _hang_up(self) -> None:
        if self._outbox is not None:
            with suppress(psycopg.Error):
                self._outbox.connection.close()
            self._outbox = None
