# SPDX-License-Identifier: Apache-2.0
"""What the control plane answers, as frozen values named like their columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Heartbeat = Literal["ok", "cancel", "lost"]
Mode = Literal["incremental", "full_table", "cdc"]
ErrorClass = Literal[
    "configuration",
    "credentials",
    "try_again_later",
    "tap",
    "target",
    "transform",
    "database",
    "dead_letters",
    "state",
    "timeout",
    "worker_lost",
    "internal",
    "cancelled",
]


@dataclass(frozen=True, kw_only=True)
class ClaimedRun:
    """A run this worker holds; `lease_token` is what lets it write.

    `quota` is its share of what may be asked of the source: requests_per_second, concurrency,
    requests_total and reset_at, each null where nothing is limited.
    """

    id: UUID
    instance_id: str
    lease_token: UUID
    lease_until: datetime
    job_name: str
    mode: Mode
    streams: list[str] | None
    attempt: int
    max_attempts: int
    triggered_by: str
    env: str
    config: dict[str, Any]
    definition_id: str
    definition_version: int
    source_type: str
    spec: dict[str, Any]
    state: dict[str, Any]
    state_version: int
    quota: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """How a failed run goes on: `retry_id` is the next attempt, if there is one."""

    status: str
    retry_id: UUID | None
    retry_after: datetime | None


@dataclass(frozen=True, kw_only=True)
class DeadRun:
    """A run that failed for good; `superseded` when a later run has done its work."""

    id: UUID
    instance_id: str
    job_name: str
    mode: Mode
    streams: list[str] | None
    attempt: int
    max_attempts: int
    started_at: datetime
    ended_at: datetime
    error_class: ErrorClass
    error_summary: str
    exit_code: int | None
    superseded: bool


@dataclass(frozen=True, kw_only=True)
class RegisteredDefinition:
    """A version of a connector's spec; `created` is false when it was there."""

    id: str
    version: int
    created: bool


@dataclass(frozen=True, kw_only=True)
class EnsuredInstance:
    """An instance; `version` is that of its definition."""

    id: str
    version: int
    instance_status: str
    created: bool


@dataclass(frozen=True, kw_only=True)
class InstanceSummary:
    """An instance with its last run."""

    id: str
    definition_id: str
    definition_version: int
    source_type: str
    env: str
    schedule: str | None
    status: str
    last_run_id: UUID | None
    last_status: str | None
    last_started_at: datetime | None
    last_ended_at: datetime | None
    last_rows_processed: int | None
    last_error_summary: str | None
    last_succeeded_at: datetime | None
    state_version: int | None


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """What a run took of sources and machine; `parts` are tap and target, `streams` tables."""

    run_id: UUID
    instance_id: str
    source: str
    owner: str | None
    status: str
    started_at: datetime
    seconds: float | None
    rows_processed: int
    requests: int
    bytes: int
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    parts: dict[str, Any]
    streams: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One line in a list of runs."""

    id: UUID
    instance_id: str
    job_name: str
    mode: Mode
    streams: list[str] | None
    triggered_by: str
    attempt: int
    max_attempts: int
    retry_of: UUID | None
    status: str
    queued_at: datetime
    run_after: datetime
    started_at: datetime | None
    ended_at: datetime | None
    rows_processed: int
    worker: str | None
    error_class: ErrorClass | None
    error_summary: str | None
    exit_code: int | None
    retry_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Everything about one run; `streams` holds the figures per stream."""

    id: UUID
    instance_id: str
    job_name: str
    mode: Mode
    triggered_by: str
    attempt: int
    max_attempts: int
    status: str
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    rows_processed: int
    worker: str | None
    lease_until: datetime | None
    cancel_requested_at: datetime | None
    state_version: int | None
    log_seq: int
    error_class: ErrorClass | None
    error_summary: str | None
    exit_code: int | None
    retry_at: datetime | None
    retry_of: UUID | None
    retried_as: UUID | None
    streams: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One log line of a run; `seq` is where to read on."""

    seq: int
    at: datetime
    level: str
    stream: str | None
    source: str
    message: str
    fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class StoredState:
    """The current state of an instance."""

    state_json: dict[str, Any]
    partial_json: dict[str, Any] | None
    version: int
    run_id: UUID | None
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class StateVersion:
    """A past state of an instance."""

    version: int
    state_json: dict[str, Any]
    partial_json: dict[str, Any] | None
    run_id: UUID | None
    reason: str
    actor: str
    saved_at: datetime


@dataclass(frozen=True, kw_only=True)
class ReapedRun:
    """A run that was given up because its lease expired."""

    run_id: UUID
    instance_id: str
    retry_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class MeltanoParts:
    """A state as Meltano keeps it: completed, and what an unfinished run has on top."""

    completed: dict[str, Any]
    partial: dict[str, Any] | None
