# SPDX-License-Identifier: Apache-2.0
"""The pipelines as the database keeps and runs them."""

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from ipai_orchestrate.control_plane.queries import fetch_records, fetch_value, load_queries
from ipai_orchestrate.pipelines.document import PipelineFile

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class AppliedPipeline:
    """What applying a file did."""

    pipeline: str
    version: int
    created: bool
    changed: bool


@dataclass(frozen=True, kw_only=True)
class PipelineSummary:
    """A pipeline with its last run."""

    name: str
    version: int
    status: str
    steps: int
    schedule: str | None
    timezone: str | None
    fresh: list[str]
    last_run_id: UUID | None
    last_status: str | None
    last_started_at: datetime | None
    last_ended_at: datetime | None
    last_error_summary: str | None


@dataclass(frozen=True, kw_only=True)
class LivePipeline:
    """A pipeline as it stands in the database."""

    name: str
    status: str
    spec: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PipelineRun:
    """A run of a pipeline; `steps` in the order of the file."""

    id: UUID
    pipeline: str
    version: int
    triggered_by: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    error_summary: str | None
    steps: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class EndedPipeline:
    """A run of a pipeline that has just ended."""

    pipeline: str
    run_id: UUID
    status: str


class PipelineRegister:
    """Calls the functions of the database about pipelines, on a connection the caller owns."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def apply(self, file: PipelineFile) -> AppliedPipeline:
        """Create the pipeline of a file, or bring it up to date."""
        spec = Jsonb(dict(file.spec))
        return self._rows(AppliedPipeline, "apply", name=file.name, yaml_spec=file.text, spec=spec)[
            0
        ]

    def set_status(self, name: str, status: str) -> None:
        """Pause its triggers, or make them active."""
        self._value("set_status", name=name, status=status)

    def run(self, name: str, triggered_by: str = "manual") -> UUID:
        """Start it; ConflictError when it is running."""
        return UUID(str(self._value("run", name=name, triggered_by=triggered_by)))

    def retry(self, run_id: UUID) -> UUID:
        """Start what has not succeeded in a run, and what comes after it; return the new run."""
        return UUID(str(self._value("retry", run_id=run_id)))

    def cancel(self, run_id: UUID, reason: str | None = None) -> str:
        """Return `cancelled` or `finished` (too late)."""
        return str(self._value("cancel", run_id=run_id, reason=reason))

    def advance(self) -> list[EndedPipeline]:
        """Start the steps whose turn has come, of all pipelines."""
        return self._rows(EndedPipeline, "advance")

    def all(self) -> list[PipelineSummary]:
        """All pipelines by name."""
        return self._rows(PipelineSummary, "list")

    def live(self) -> dict[str, LivePipeline]:
        """All pipelines with what they are made of."""
        return {one.name: one for one in self._rows(LivePipeline, "specs")}

    def status(self, run_id: UUID) -> PipelineRun:
        """One run with its steps."""
        return self._rows(PipelineRun, "status", run_id=run_id)[0]

    def _rows(self, record: type[_Record], query: str, **arguments: object) -> list[_Record]:
        return fetch_records(self._connection, record, _QUERIES[query], arguments)

    def _value(self, query: str, **arguments: object) -> object:
        return fetch_value(self._connection, _QUERIES[query], arguments)
