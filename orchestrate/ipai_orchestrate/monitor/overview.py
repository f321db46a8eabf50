# SPDX-License-Identifier: Apache-2.0
"""The platform at a glance: what runs, waits and failed, what it took, who read which secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import psycopg

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.control_plane.queries import fetch_records, load_queries
from ipai_orchestrate.control_plane.records import DeadRun
from ipai_orchestrate.monitor.alerts import Alert, AlertBook
from ipai_orchestrate.services import ServiceStatus, list_services

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class RunningRun:
    """A run that a worker holds."""

    run_id: UUID
    instance_id: str
    started_at: datetime
    rows_processed: int
    attempt: int
    worker: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How many runs wait for one thing."""

    waits_for: str
    runs: int
    oldest_seconds: float


@dataclass(frozen=True, kw_only=True)
class SourceCost:
    """What the runs of a source took."""

    source: str
    runs: int
    failed: int
    seconds: float
    rows: int
    requests: int
    bytes: int
    cpu_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class SecretUse:
    """Who read, or was refused, which secret; for a run of which instance."""

    actor: str
    action: str
    secret_name: str
    instance_id: str | None
    times: int
    last_at: datetime


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Everything at one glance; costs and secrets of the last `hours`."""

    hours: int
    services: list[ServiceStatus]
    running: list[RunningRun]
    waiting: list[Waiting]
    failed: list[DeadRun]
    alerts: list[Alert]
    costs: list[SourceCost]
    secrets: list[SecretUse]


def look(connection: psycopg.Connection[Any], hours: int = 24, limit: int = 10) -> Overview:
    """The state of the connected control plane; at most `limit` lines of what may be long."""
    within: Mapping[str, object] = {"hours": hours, "limit": limit}
    return Overview(
        hours=hours,
        services=list_services(connection),
        running=fetch_records(connection, RunningRun, _QUERIES["overview_running"], {}),
        waiting=fetch_records(connection, Waiting, _QUERIES["overview_waiting"], {}),
        failed=ControlPlane(connection).dead_runs(limit),
        alerts=AlertBook(connection).all(limit),
        costs=fetch_records(connection, SourceCost, _QUERIES["overview_costs"], within),
        secrets=fetch_records(connection, SecretUse, _QUERIES["overview_secrets"], within),
    )
