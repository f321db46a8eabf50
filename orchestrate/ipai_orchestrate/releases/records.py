# SPDX-License-Identifier: Apache-2.0
"""What the database answers about releases, as frozen values named like their columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class LiveDefinition:
    """The newest registered version of a connector's spec."""

    id: str
    version: int
    yaml_spec: str
    spec: dict[str, Any]
    spec_hash: str


@dataclass(frozen=True, kw_only=True)
class LiveInstance:
    """An instance as it is now; `declared_in` is null when no applied file declares it."""

    id: str
    definition_id: str
    definition_version: int
    env: str
    schedule: str | None
    status: str
    config: dict[str, Any]
    declared_in: str | None


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What a promotion has done; equal versions: it was there already."""

    id: str
    env: str
    version: int
    previous_version: int | None
    created: bool
    proof_run_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """What a rollback has done; `state_version` is null when the state stayed as it was."""

    release: int
    version: int
    previous_version: int
    restored_release: int
    state_version: int | None


@dataclass(frozen=True, kw_only=True)
class Release:
    """What an instance ran with from a time on."""

    release: int
    definition_id: str
    definition_version: int
    config: dict[str, Any]
    state_version: int | None
    reason: str
    proof_run_id: UUID | None
    actor: str
    released_at: datetime
