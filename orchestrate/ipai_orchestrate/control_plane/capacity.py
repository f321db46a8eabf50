# SPDX-License-Identifier: Apache-2.0
"""What waits in the queue, and how much of each source the runs may use together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from ipai_orchestrate.control_plane.plane import ControlPlane


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """A queued run; `waits_for` is worker, time, parked, run, limit or instance."""

    run_id: UUID
    instance_id: str
    source_type: str
    job_name: str
    priority: int
    attempt: int
    max_attempts: int
    queued_at: datetime
    run_after: datetime
    waiting_for: timedelta
    waits_for: str
    park_reason: str | None


@dataclass(frozen=True, kw_only=True)
class QuotaForecast:
    """What is left to one credential at one source, and when it will be used up."""

    source_type: str
    credential_key: str
    requests_per_second: Decimal | None
    concurrency: int | None
    budget: int | None
    used: int | None
    remaining: int | None
    reset_at: datetime | None
    running_runs: int
    granted_per_second: Decimal
    pace_per_second: Decimal
    exhausted_at: datetime | None
    exceeded_before_reset: bool


@dataclass(frozen=True, kw_only=True)
class QuotaLimit:
    """What all runs with one credential may ask for together; None: not limited here."""

    source_type: str
    credential_key: str = "default"
    requests_per_second: float | None = None
    concurrency: int | None = None
    window_requests: int | None = None
    window_seconds: int | None = None


class Capacity(ControlPlane):
    """The control plane for those who look after queue and quotas."""

    def waiting(self, limit: int = 100, instance: str | None = None) -> list[WaitingRun]:
        """List queued runs in the order in which workers take them."""
        return self._all(WaitingRun, "waiting", {"limit": limit, "instance_id": instance})

    def quotas(self) -> list[QuotaForecast]:
        """List the budgets that runs draw on."""
        return self._all(QuotaForecast, "quotas", {})

    def limit_source(self, source_type: str, most: int | None) -> None:
        """Let no more than so many runs of a source be running; None takes the limit away."""
        self._value("limit_source", {"source_type": source_type, "max_running": most})

    def limit_quota(self, limit: QuotaLimit) -> None:
        """Set the budget of a credential; what is None comes from settings and specs again."""
        self._values("limit_quota", vars(limit))
