# SPDX-License-Identifier: Apache-2.0
"""Everything a run writes into the control plane, in one thread and over one connection.

The thread renews the lease, stores the newest STATE, and appends logs and figures in batches. When
the connection breaks it keeps what it has and connects again, for as long as the lease can live.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import psycopg

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import (
    ControlPlaneError,
    LeaseLostError,
    OrchestrateError,
)
from ipai_orchestrate.pipeline.database import Connection, Database
from ipai_orchestrate.pipeline.lease import hand_back
from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.outcome import TERMINATED, TRY_AGAIN_LATER, Failure
from ipai_orchestrate.pipeline.tally import Tally
from ipai_orchestrate.pipeline.transfer import Wish
from ipai_orchestrate.pipeline.usage import Usage

LEASE_SECONDS = 60
TICK_SECONDS = 0.5
STATE_SECONDS = 1.0
LOGS_PER_CALL = 500
MOST_WAITING_LOGS = 20_000


class Ledger:
    """The pen of one run; entering the block starts its thread, `end` closes the run."""

    def __init__(
        self, database: Database, run: ClaimedRun, *, lease_seconds: int = LEASE_SECONDS
    ) -> None:
        self._database = database
        self._run = run
        self._lease_seconds = lease_seconds
        self._connection: Connection | None = None
        self._logs: deque[LogLine] = deque()
        self._lost_logs = 0
        self._state: Mapping[str, Any] | None = None
        self._figures: list[dict[str, Any]] = []
        self._written_figures = self._figures
        self._quota: Mapping[str, float] = {}
        self._usage: Mapping[str, Usage] = {}
        self._state_due = self._heartbeat_due = 0.0
        self._renewed = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_until_closed, name="ledger", daemon=True)
        self.has_state = False
        self.wish: Wish = "go_on"
        self.failure: Failure | None = None

    def __enter__(self) -> Self:
        """Start writing."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop writing; a run not ended by now is ended by its lease."""
        self._closing.set()
        self._thread.join()
        self._disconnect()

    def log(self, line: LogLine) -> None:
        """Keep a line for the next batch; a flood is cut, not waited for."""
        if len(self._logs) < MOST_WAITING_LOGS:
            self._logs.append(line)
        else:
            self._lost_logs += 1

    def count(self, tally: Tally) -> None:
        """Keep the newest figures."""
        self._figures, self._quota = tally.figures(), tally.quota

    def use(self, usage: Mapping[str, Usage]) -> None:
        """Keep what the run's processes took of the machine."""
        self._usage = usage

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the newest STATE; an older one that was not stored yet is not needed any more."""
        self._state = state
        self.has_state = True

    def end(self, failure: Failure | None) -> Failure | None:
        """Write what is left and close the run; return why it has failed, if it has."""
        self._closing.set()
        self._thread.join()
        while self.wish != "kill":
            try:
                self._write_all(at_end=True)
                return self._close(self.failure or failure)
            except LeaseLostError as error:
                self._lose(str(error))
            except (psycopg.OperationalError, OrchestrateError) as error:
                self._wait_for_database(error)
                time.sleep(TICK_SECONDS)
        return self.failure or failure

    def _write_until_closed(self) -> None:
        while not self._closing.wait(TICK_SECONDS) and self.wish != "kill":
            try:
                self._write_all()
            except LeaseLostError as error:
                self._lose(str(error))
            except (psycopg.OperationalError, OrchestrateError) as error:
                self._wait_for_database(error)

    def _write_all(self, *, at_end: bool = False) -> None:
        now = time.monotonic()
        plane = self._plane()
        if now >= self._heartbeat_due:
            self._renew(plane)
        if self._state is not None and (at_end or now >= self._state_due):
            self._save(plane)
        while self._logs:
            self._append(plane)
        if self._figures is not self._written_figures:
            figures = self._figures
            plane.record_streams(self._run, figures)
            if self._quota:
                plane.record_quota(self._run, self._quota)
            self._written_figures = figures
        if self._usage:
            plane.record_usage(self._run, {part: vars(one) for part, one in self._usage.items()})
            self._usage = {}

    def _renew(self, plane: ControlPlane) -> None:
        answer = plane.heartbeat(self._run, self._lease_seconds)
        self._renewed = time.monotonic()
        self._heartbeat_due = self._renewed + min(self._lease_seconds / 6, 5.0)
        if answer == "lost":
            self._lose("The lease has expired and the run belongs to nobody, or to another worker.")
        elif answer == "cancel":
            self._give_up(Failure("cancelled", "Cancelled on request.", TERMINATED))

    def _save(self, plane: ControlPlane) -> None:
        state = self._state
        if state is None:
            return
        try:
            plane.save_state(self._run, state)
        except ControlPlaneError as error:
            if _may_pass(error):
                raise
            self._give_up(Failure("state", f"The state could not be stored. {error}", 1))
        if self._state is state:  # else a newer one has come meanwhile
            self._state = None
        self._state_due = time.monotonic() + STATE_SECONDS

    def _append(self, plane: ControlPlane) -> None:
        batch = [self._logs[i] for i in range(min(len(self._logs), LOGS_PER_CALL))]
        rows = [_row(line) for line in batch]
        if self._lost_logs:
            rows.append(_row(LogLine("runner", f"{self._lost_logs} log lines dropped", "warning")))
            self._lost_logs = 0
        try:
            plane.append_logs(self._run, rows)
        except ControlPlaneError as error:
            if _may_pass(error):
                raise
            self._lost_logs += len(batch)  # a line that cannot be stored must not end the run
        for _ in batch:
            self._logs.popleft()

    def _close(self, failure: Failure | None) -> Failure | None:
        plane = self._plane()
        if failure is None:
            plane.complete(self._run, stateless=not self.has_state)
        elif failure.handed_back:
            hand_back(plane.connection, self._run, failure.summary)
        else:
            plane.fail(
                self._run,
                failure.error_class,
                failure.summary,
                failure.exit_code,
                failure.retry_at,
            )
        return failure

    def _plane(self) -> ControlPlane:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        return ControlPlane(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _wait_for_database(self, error: Exception) -> None:
        """Nothing is lost while the lease lives; after that nobody may write for the run."""
        self._disconnect()
        if time.monotonic() - self._renewed > self._lease_seconds:
            text = f"The database did not answer for {self._lease_seconds} s: {error}"
            self.failure = Failure("database", text, TRY_AGAIN_LATER)
            self.wish = "kill"

    def _lose(self, why: str) -> None:
        self.failure = Failure("worker_lost", why, TRY_AGAIN_LATER)
        self.wish = "kill"

    def _give_up(self, failure: Failure) -> None:
        self.failure = self.failure or failure
        if self.wish == "go_on":
            self.wish = "stop"


def _may_pass(error: ControlPlaneError) -> bool:
    """Deadlocks, full connection lists, locks and lost leases are not the value's fault."""
    return isinstance(error, LeaseLostError) or error.sqlstate[:2] in {"40", "53", "55"}


def _row(line: LogLine) -> dict[str, Any]:
    return {
        "at": line.at.isoformat(),
        "level": line.level,
        "stream": line.stream,
        "source": line.source,
        "message": _storable(line.message),
        "fields": _storable(line.fields),
    }


def _storable(value: Any) -> Any:
    """The value without what jsonb refuses: NUL characters and lone surrogates."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return value
