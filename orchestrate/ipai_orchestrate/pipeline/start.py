# SPDX-License-Identifier: Apache-2.0
"""Queues a run and performs it here and now, after closing what dead runners left open."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane, Mode
from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.exceptions import BusyError, ControlPlaneError
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.observer import Observer
from ipai_orchestrate.pipeline.runner import RunOptions, RunResult, perform
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipeline.workdir import abandoned_runs


@dataclass(frozen=True)
class RunRequest:
    """What to run: an instance, all of its streams unless some are named."""

    instance_id: str
    streams: Sequence[str] | None = None
    full_refresh: bool = False
    triggered_by: str = "manual"


@dataclass(frozen=True)
class _Lease:
    id: UUID
    lease_token: UUID


def default_work_root() -> Path:
    """Where the work directories of runs are."""
    return home_of().root / "runs"


def run_now(
    database: Database,
    request: RunRequest,
    options: RunOptions,
    *,
    stop: Stop | None = None,
    observer: Observer | None = None,
) -> RunResult:
    """Queue, claim and perform one run."""
    with database.connect() as connection:
        plane = ControlPlane(connection)
        close_abandoned(plane, options.work_root)
        run = _claim(plane, request, options.lease_seconds)
    return perform(database, run, options, stop=stop, observer=observer)


def close_abandoned(plane: ControlPlane, work_root: Path) -> None:
    """Close the runs whose runner died on this machine now, instead of when their leases end."""
    with abandoned_runs(work_root) as runs:
        for run in runs:
            lease = _Lease(UUID(run.run_id), UUID(run.lease_token))
            summary = "The runner died without closing the run. Run again to continue."
            with suppress(ControlPlaneError):  # closed already, or a run of another database
                plane.fail(cast("ClaimedRun", lease), "worker_lost", summary)


def queue_run(plane: ControlPlane, request: RunRequest) -> UUID:
    """Queue a run for whichever worker comes first, with the attempts of its SLA tier."""
    return plane.enqueue(request.instance_id, _mode(request), request.streams, request.triggered_by)


def _claim(plane: ControlPlane, request: RunRequest, lease_seconds: int) -> ClaimedRun:
    """Queue and claim in one transaction: no worker sees the run between the two."""
    with plane.connection.transaction():
        run_id = plane.enqueue(
            request.instance_id,
            _mode(request),
            request.streams,
            request.triggered_by,
            max_attempts=1,  # whoever waits for it tries again
        )
        run = plane.claim(run_id, f"{socket.gethostname()}:{os.getpid()}", lease_seconds)
    if run is None:
        message = f"Run {run_id} was taken by another worker."
        raise BusyError(message)
    return run


def _mode(request: RunRequest) -> Mode | None:
    return "full_table" if request.full_refresh else None
