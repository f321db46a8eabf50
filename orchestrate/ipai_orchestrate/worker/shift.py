# SPDX-License-Identifier: Apache-2.0
"""The shift of one worker: claim what is due, perform it, and at the end leave nothing behind.

Each run has a thread of its own, which starts and reaps its processes; the work is done in these.
Told to end, a worker claims nothing more and lets its runs finish; what lasts longer than its
patience is stopped, keeps what is committed, and goes back to the queue.
"""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    ControlPlaneError,
    DatabaseUnavailableError,
    OrchestrateError,
)
from ipai_orchestrate.journal import Journal, RunJournal
from ipai_orchestrate.pipeline.database import Connection, Database
from ipai_orchestrate.pipeline.runner import RunOptions, RunResult, perform
from ipai_orchestrate.pipeline.start import close_abandoned
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipelines import PipelineRegister
from ipai_orchestrate.services import LifeSign
from ipai_orchestrate.worker.doorbell import Doorbell
from ipai_orchestrate.worker.login import check_login

POLL_SECONDS = 5.0
SWEEP_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 30.0
DRAIN_SECONDS = 60.0


def worker_name() -> str:
    """Which machine and which process: what a person needs to find it."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works, whatever it runs."""

    run: RunOptions
    name: str = field(default_factory=worker_name)
    concurrency: int = 1
    sources: Sequence[str] | None = None
    once: bool = False
    drain_seconds: float = DRAIN_SECONDS
    poll_seconds: float = POLL_SECONDS


@dataclass
class WorkerReport:
    """What came of a shift."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    handed_back: int = 0

    def count(self, result: RunResult) -> str:
        """Add one run; return how it ended."""
        failure = result.failure
        if failure is None:
            status = "succeeded"
        elif failure.handed_back:
            status = "handed_back"
        else:
            status = "cancelled" if failure.error_class == "cancelled" else "failed"
        setattr(self, status, getattr(self, status) + 1)
        return status


@dataclass
class _Slot:
    """One run in progress; `ended` is set before the thread rings for the last time."""

    stop: Stop = field(default_factory=Stop)
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Worker:
    """One worker; `work` returns when the shift is over."""

    def __init__(
        self, database: Database, options: WorkerOptions, stop: Stop, journal: Journal
    ) -> None:
        self._database = database
        self._options = options
        self._stop = stop
        self._journal = journal
        self._slots: list[_Slot] = []
        self._connection: Connection | None = None
        self._failures = 0
        self._sweep_due = 0.0
        self._life = LifeSign(options.name, "worker", options.concurrency, options.sources)
        self.report = WorkerReport()

    def work(self) -> WorkerReport:
        """Claim and perform until told to end, or, with `once`, until nothing is due."""
        try:
            login = check_login(self._reach())
            self._journal.say("worker_started", login=login, concurrency=self._options.concurrency)
            with Doorbell(self._database, self._options.sources) as bell:
                self._work(bell)
            self._give_life(is_ending=True)
        finally:
            self._disconnect()
        self._journal.say("worker_ended", **vars(self.report))
        return self.report

    def _work(self, bell: Doorbell) -> None:
        try:
            while not self._stop.signum and not self._is_done(self._fill(bell)):
                bell.wait(self._pause(), lambda: bool(self._stop.signum))
        finally:
            self._drain(bell)

    # -- claiming ----------------------------------------------------------------------------

    def _fill(self, bell: Doorbell) -> bool:
        """Claim for every free slot; True when the queue had nothing more for us."""
        try:
            plane = ControlPlane(self._reach())
            self._sweep(plane)
            self._advance(plane)
            self._life.give(plane.connection, len(self._clear()))
            while self._has_room() and not self._stop.signum:
                run = self._claim(plane)
                if run is None:
                    self._failures = 0
                    return True
                self._start(run, bell)
        except ConfigurationError:
            raise
        except (psycopg.OperationalError, OrchestrateError) as error:
            self._wait_for_database(error)
        return False

    def _claim(self, plane: ControlPlane) -> ClaimedRun | None:
        options = self._options
        return plane.claim(None, options.name, options.run.lease_seconds, options.sources)

    def _has_room(self) -> bool:
        return len(self._clear()) < self._options.concurrency

    def _is_done(self, queue_is_empty: bool) -> bool:
        return self._options.once and queue_is_empty and not self._clear()

    def _pause(self) -> float:
        """Somewhat random, so that many workers do not ask at the same moments."""
        longest = self._options.poll_seconds * float(1 << min(self._failures, 10))
        return min(longest, LONGEST_PAUSE_SECONDS) * random.uniform(0.75, 1.0)  # noqa: S311

    def _sweep(self, plane: ControlPlane) -> None:
        """Close what workers killed on this machine left open, without waiting for its lease."""
        if time.monotonic() >= self._sweep_due:
            close_abandoned(plane, self._options.run.work_root)
            self._sweep_due = time.monotonic() + SWEEP_SECONDS

    def _advance(self, plane: ControlPlane) -> None:
        """Start the steps of pipelines whose turn has come: a run of ours may have been last."""
        try:
            for ended in PipelineRegister(plane.connection).advance():
                self._journal.say("pipeline_ended", **vars(ended))
        except ControlPlaneError as error:  # the queue goes on; the next look may help
            self._journal.say("pipelines_stuck", "error", error=str(error))

    # -- performing --------------------------------------------------------------------------

    def _start(self, run: ClaimedRun, bell: Doorbell) -> None:
        slot = _Slot()
        slot.thread = threading.Thread(target=self._perform, args=(run, slot, bell))
        self._slots.append(slot)
        slot.thread.start()

    def _clear(self) -> list[_Slot]:
        """Forget the runs that have ended; return the others."""
        for slot in [one for one in self._slots if one.ended.is_set()]:
            if slot.thread is not None:
                slot.thread.join()
            self._slots.remove(slot)
        return self._slots

    def _perform(self, run: ClaimedRun, slot: _Slot, bell: Doorbell) -> None:
        about = {"run_id": str(run.id), "instance_id": run.instance_id}
        attempt = f"{run.attempt} of {run.max_attempts}"
        self._journal.say("run_started", **about, mode=run.mode, attempt=attempt)
        try:
            observer = RunJournal(self._journal, str(run.id), run.instance_id)
            options = self._options.run
            self._tell(perform(self._database, run, options, stop=slot.stop, observer=observer))
        except Exception as error:  # noqa: BLE001 - the worker's edge: its other runs go on
            self._journal.say("run_lost", "error", **about, error=repr(error))
        finally:
            slot.ended.set()
            bell.ring()

    def _tell(self, result: RunResult) -> None:
        failure = result.failure
        self._journal.say(
            "run_ended",
            "info" if failure is None or failure.error_class == "cancelled" else "error",
            run_id=result.run_id,
            instance_id=result.instance_id,
            status=self.report.count(result),
            rows=result.tally.rows,
            seconds=round(result.seconds, 1),
            error_class=failure and failure.error_class,
            error=failure and failure.summary,
        )

    # -- ending ------------------------------------------------------------------------------

    def _drain(self, bell: Doorbell) -> None:
        """Let the runs finish; after the time for that, or at a second signal, hand them back."""
        if running := self._clear():
            self._journal.say("worker_draining", runs=len(running))
        deadline = time.monotonic() + self._options.drain_seconds
        signals = 1
        while slots := self._clear():
            if signals < max(self._stop.times, 1 + (time.monotonic() >= deadline)):
                signals += 1
                for slot in slots:
                    slot.stop.hand_back = True
                    slot.stop.request(signal.SIGTERM)
            self._give_life(len(slots))
            bell.wait(0.2)

    def _give_life(self, busy: int = 0, *, is_ending: bool = False) -> None:
        """Say that we live; a database that is away must not stop the end of the runs."""
        if self._connection is None:
            return
        try:
            self._life.give(self._connection, busy, is_ending=is_ending)
        except (psycopg.OperationalError, OrchestrateError):
            self._disconnect()

    # -- the database ------------------------------------------------------------------------

    def _reach(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _wait_for_database(self, error: Exception) -> None:
        """Try again later: the runs in progress have connections and leases of their own."""
        self._failures += 1
        self._disconnect()
        known = isinstance(error, psycopg.Error | DatabaseUnavailableError | ControlPlaneError)
        self._journal.say("claim_failed", "warning" if known else "error", error=str(error))
