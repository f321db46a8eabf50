# SPDX-License-Identifier: Apache-2.0
"""What the outbox answers, as frozen values named like their columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class ClaimedDelivery:
    """One event this notifier is to post to one endpoint; `claim_token` lets it say how it went."""

    delivery_id: int
    claim_token: UUID
    attempt: int
    max_attempts: int
    endpoint_id: str
    url: str
    secret_refs: list[str]
    timeout_seconds: int
    event_id: UUID
    event_type: str
    body: str


@dataclass(frozen=True, kw_only=True)
class FinishedDelivery:
    """How a delivery goes on after a try."""

    status: str
    next_attempt_at: datetime


@dataclass(frozen=True, kw_only=True)
class SecretGrant:
    """The leave to read a secret once; without `grant_id` it was refused."""

    grant_id: UUID | None
    outcome: str
    message: str | None


@dataclass(frozen=True, kw_only=True)
class CreatedEndpoint:
    """An endpoint; `created` is false when it was there."""

    id: str
    endpoint_status: str
    created: bool


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where events are posted, and how its deliveries stand."""

    id: str
    url: str
    secret_ref: str
    previous_secret_until: datetime | None
    envs: list[str] | None
    sources: list[str] | None
    instances: list[str] | None
    statuses: list[str] | None
    description: str
    timeout_seconds: int
    retry_seconds: list[int]
    status: str
    disabled_reason: str | None
    pending: int
    dead: int
    last_delivered_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event to one endpoint, as lists show it."""

    id: int
    event_id: UUID
    event_type: str
    run_id: UUID | None
    instance_id: str | None
    endpoint_id: str
    status: str
    attempts: int
    max_attempts: int
    next_attempt_at: datetime | None
    attempted_at: datetime | None
    http_status: int | None
    error: str | None
    ended_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a run."""

    id: UUID
    type: str
    at: datetime
    run_id: UUID | None
    instance_id: str | None
    payload: dict[str, Any]
