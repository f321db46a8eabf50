# SPDX-License-Identifier: Apache-2.0
"""ControlPlane: one method per SQL function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from ipai_kit.spec import ConnectorSpec
from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.control_plane.queries import fetch_records, fetch_values, load_queries
from ipai_orchestrate.control_plane.records import (
    ClaimedRun,
    DeadRun,
    EnsuredInstance,
    ErrorClass,
    FailedRun,
    Heartbeat,
    InstanceSummary,
    LogLine,
    MeltanoParts,
    ReapedRun,
    RegisteredDefinition,
    RunCost,
    RunStatus,
    RunSummary,
    StateVersion,
    StoredState,
)
from ipai_orchestrate.control_plane.storable import storable_json, storable_text
from ipai_orchestrate.server_version import require_supported

_QUERIES = load_queries()
_Record = TypeVar("_Record")
Rows = Sequence[Mapping[str, Any]]


class ControlPlane:
    """Calls the control plane on a connection the caller owns.

    On an autocommit connection each call is a transaction of its own; inside a transaction the
    calls join it. Not for use by several threads at once.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    @classmethod
    @contextmanager
    def connect(cls, dsn: str) -> Iterator[ControlPlane]:
        """Open an autocommit connection for the block; works through transaction poolers."""
        try:
            connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise translate(error) from error
        require_supported(connection)
        with connection:
            yield cls(connection)

    # Connectors and instances

    def register_definition(self, spec_text: str, spec: ConnectorSpec) -> RegisteredDefinition:
        """Register a spec; the same text again returns the version it has."""
        arguments = {
            "type": spec.source_type,
            "yaml_spec": spec_text,
            "spec": Jsonb(msgspec.to_builtins(spec)),
        }
        return self._one(RegisteredDefinition, "register_definition", arguments)

    def ensure_instance(
        self,
        instance_id: str,
        definition_id: str,
        config: Mapping[str, Any],
        env: str = "dev",
        schedule: str | None = None,
        definition_version: int | None = None,
    ) -> EnsuredInstance:
        """Create an active instance, or bring its settings up to date; no secrets in config."""
        arguments = {
            "instance_id": instance_id,
            "definition_id": definition_id,
            "config": Jsonb(dict(config)),
            "env": env,
            "schedule": schedule,
            "definition_version": definition_version,
        }
        return self._one(EnsuredInstance, "ensure_instance", arguments)

    def set_instance_status(self, instance_id: str, status: str) -> None:
        """Move an instance to draft, active, paused or archived."""
        self._value("set_instance_status", {"instance_id": instance_id, "status": status})

    def instances(
        self,
        env: str | None = None,
        status: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[InstanceSummary]:
        """List instances with their last run, by id."""
        arguments = {"env": env, "status": status, "after": after, "limit": limit}
        return self._all(InstanceSummary, "instances", arguments)

    # The life of a run

    def enqueue(
        self,
        instance_id: str,
        mode: str | None = None,
        streams: Sequence[str] | None = None,
        triggered_by: str = "manual",
        *,
        dedupe_key: str | None = None,
        priority: int | None = None,
        run_after: datetime | None = None,
        max_attempts: int | None = None,
    ) -> UUID:
        """Queue a run; the same dedupe key returns the same run, finished or not.

        Priority and attempts are those of the connector's SLA tier unless they are given.
        """
        arguments = {
            "instance_id": instance_id,
            "mode": mode,
            "streams": None if streams is None else list(streams),
            "triggered_by": triggered_by,
            "dedupe_key": dedupe_key,
            "priority": priority,
            "run_after": run_after,
            "max_attempts": max_attempts,
        }
        return UUID(str(self._value("enqueue", arguments)))

    def claim(
        self,
        run_id: UUID | None,
        worker: str,
        lease_seconds: int = 60,
        sources: Sequence[str] | None = None,
    ) -> ClaimedRun | None:
        """Take the named run, or the next that is due; None when nothing is due.

        A named run that cannot be claimed raises ConflictError, which names the active run.
        """
        arguments = {
            "run_id": run_id,
            "worker": worker,
            "lease_seconds": lease_seconds,
            "sources": None if sources is None else list(sources),
        }
        return self._first(ClaimedRun, "claim", arguments)

    def heartbeat(self, run: ClaimedRun, lease_seconds: int = 60) -> Heartbeat:
        """Renew the lease; `cancel` means end the run, `lost` means write nothing more."""
        answer: Heartbeat = self._value("heartbeat", _lease(run) | {"lease_seconds": lease_seconds})
        return answer

    def save_state(self, run: ClaimedRun, state: Mapping[str, Any], *, force: bool = False) -> int:
        """Store what the target has committed; return the version.

        Merged per stream. RefusedError when it would empty or set back a bookmark.
        """
        arguments = _lease(run) | {"state": Jsonb(dict(state)), "force": force}
        return int(self._value("save_state", arguments))

    def complete(
        self,
        run: ClaimedRun,
        rows: int | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        stateless: bool = False,
    ) -> None:
        """End a run well, storing a last state in the same transaction.

        A run that has stored no state is refused, unless its tap wrote none (`stateless`).
        """
        arguments = _lease(run) | {
            "rows_processed": rows,
            "state": None if state is None else Jsonb(dict(state)),
            "stateless": stateless,
        }
        self._value("complete", arguments)

    def fail(
        self,
        run: ClaimedRun,
        error_class: ErrorClass,
        summary: str,
        exit_code: int | None = None,
        retry_at: datetime | None = None,
        rows: int | None = None,
    ) -> FailedRun:
        """End a run badly, or as cancelled by class `cancelled`."""
        arguments = _lease(run) | {
            "error_class": error_class,
            "error_summary": storable_text(summary),
            "exit_code": exit_code,
            "retry_at": retry_at,
            "rows_processed": rows,
        }
        return self._one(FailedRun, "fail", arguments)

    def cancel(self, run_id: UUID, reason: str | None = None) -> str:
        """Return `cancelled`, `running` (its worker is told) or `finished` (too late)."""
        return str(self._value("cancel", {"run_id": run_id, "reason": reason}))

    def reap(self) -> list[ReapedRun]:
        """End runs whose worker is lost."""
        return self._all(ReapedRun, "reap", {})

    def dead_runs(
        self,
        limit: int = 100,
        instance: str | None = None,
        before: datetime | None = None,
        *,
        with_superseded: bool = False,
    ) -> list[DeadRun]:
        """List runs that failed for good, newest first."""
        arguments = {
            "instance_id": instance,
            "limit": limit,
            "before": before,
            "with_superseded": with_superseded,
        }
        return self._all(DeadRun, "dead_runs", arguments)

    def requeue(self, run_id: UUID, max_attempts: int | None = None) -> UUID:
        """Queue a failed run again; one that is retried already gives that retry."""
        arguments = {"run_id": run_id, "max_attempts": max_attempts}
        return UUID(str(self._value("requeue", arguments)))

    # What a run reports

    def append_logs(self, run: ClaimedRun, rows: Rows) -> int:
        """Add lines (at, level, stream, source, message, fields); return the last number."""
        return int(self._value("append_logs", _lease(run) | {"logs": storable_json(list(rows))}))

    def record_streams(self, run: ClaimedRun, rows: Rows) -> None:
        """Write totals so far: stream, received, inserted, updated, unchanged, dead and so on."""
        self._value("record_streams", _lease(run) | {"streams": storable_json(list(rows))})

    def record_usage(self, run: ClaimedRun, usage: Mapping[str, Mapping[str, Any]]) -> None:
        """Write what its processes took: by tap and target, user_seconds and so on."""
        self._value("record_usage", _lease(run) | {"usage": Jsonb(dict(usage))})

    def run_costs(
        self, limit: int = 20, instance_id: str | None = None, run_id: UUID | None = None
    ) -> list[RunCost]:
        """What runs took, newest first."""
        arguments = {"limit": limit, "instance_id": instance_id, "run_id": run_id}
        return self._all(RunCost, "run_costs", arguments)

    def record_quota(self, run: ClaimedRun, usage: Mapping[str, Any]) -> dict[str, Any] | None:
        """Write requests so far, and limit, remaining and reset_in (seconds) as the source says.

        Return the run's share, None when it is not limited.
        """
        arguments = _lease(run) | {"usage": Jsonb(dict(usage))}
        share: dict[str, Any] | None = self._value("record_quota", arguments)
        return share

    def record_schema(self, run: ClaimedRun, stream: str, schema: Mapping[str, Any]) -> int:
        """Keep a stream's schema; return its version."""
        arguments = _lease(run) | {"stream": stream, "schema": Jsonb(dict(schema))}
        return int(self._value("record_schema", arguments))

    # Reading

    def runs(
        self, limit: int = 20, instance: str | None = None, before: datetime | None = None
    ) -> list[RunSummary]:
        """List runs, newest first."""
        arguments = {"instance_id": instance, "limit": limit, "before": before}
        return self._all(RunSummary, "runs", arguments)

    def runs_that_begin(self, start: str, limit: int) -> list[UUID]:
        """Runs by the start of their id, newest first."""
        return self._values("runs_that_begin", {"start": start, "limit": limit})

    def run_status(self, run_id: UUID) -> RunStatus:
        """Return everything about one run."""
        return self._one(RunStatus, "run_status", {"run_id": run_id})

    def logs(
        self,
        run_id: UUID,
        after_seq: int = 0,
        limit: int = 200,
        level: str | None = None,
        stream: str | None = None,
    ) -> list[LogLine]:
        """Return log lines after a number, of a severity or above."""
        arguments = {
            "run_id": run_id,
            "after_seq": after_seq,
            "limit": limit,
            "level": level,
            "stream": stream,
        }
        return self._all(LogLine, "logs", arguments)

    # State by hand

    def state_get(self, instance_id: str) -> StoredState | None:
        """Return the stored state; None when there is none."""
        return self._first(StoredState, "state_get", {"instance_id": instance_id})

    def state_set(
        self, instance_id: str, state: Mapping[str, Any], expected_version: int | None = None
    ) -> int:
        """Replace the state; refused while a run is active. Return the new version."""
        arguments = {
            "instance_id": instance_id,
            "state": Jsonb(dict(state)),
            "expected_version": expected_version,
        }
        return int(self._value("state_set", arguments))

    def state_history(self, instance_id: str, limit: int = 50) -> list[StateVersion]:
        """Return past states, newest first."""
        return self._all(
            StateVersion, "state_history", {"instance_id": instance_id, "limit": limit}
        )

    def state_rollback(self, instance_id: str, version: int) -> int:
        """Make a past state the current one; return its new version."""
        arguments = {"instance_id": instance_id, "version": version}
        return int(self._value("state_rollback", arguments))

    # Meltano's states, in the same rows

    def meltano_state_get(self, state_id: str) -> MeltanoParts | None:
        """Return what is stored for one of Meltano's state ids."""
        return self._first(MeltanoParts, "meltano_state_get", {"state_id": state_id})

    def meltano_state_set(
        self, state_id: str, completed: Mapping[str, Any], partial: Mapping[str, Any] | None
    ) -> int:
        """Store a state for Meltano; refused while our own run holds the instance."""
        arguments = {
            "state_id": state_id,
            "completed": Jsonb(dict(completed)),
            "partial": None if partial is None else Jsonb(dict(partial)),
        }
        return int(self._value("meltano_state_set", arguments))

    def meltano_state_delete(self, state_id: str) -> bool:
        """Forget a state; tell whether there was one."""
        return bool(self._value("meltano_state_delete", {"state_id": state_id}))

    def meltano_state_ids(self) -> list[str]:
        """Return all states by Meltano's state id."""
        return [str(state_id) for state_id in self._values("meltano_state_ids", {})]

    # Plumbing

    def _all(
        self, record: type[_Record], query: str, arguments: Mapping[str, Any]
    ) -> list[_Record]:
        return fetch_records(self.connection, record, _QUERIES[query], arguments)

    def _first(
        self, record: type[_Record], query: str, arguments: Mapping[str, Any]
    ) -> _Record | None:
        rows = self._all(record, query, arguments)
        return rows[0] if rows else None

    def _one(self, record: type[_Record], query: str, arguments: Mapping[str, Any]) -> _Record:
        return self._all(record, query, arguments)[0]

    def _values(self, query: str, arguments: Mapping[str, Any]) -> list[Any]:
        return fetch_values(self.connection, _QUERIES[query], arguments)

    def _value(self, query: str, arguments: Mapping[str, Any]) -> Any:
        return self._values(query, arguments)[0]


def _lease(run: ClaimedRun) -> dict[str, Any]:
    return {"run_id": run.id, "lease_token": run.lease_token}
