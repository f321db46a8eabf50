# SPDX-License-Identifier: Apache-2.0
"""The schedules as the database keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal, TypeVar
from uuid import UUID

import psycopg

from ipai_orchestrate.control_plane.queries import fetch_records, fetch_value, load_queries

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_Record = TypeVar("_Record")
Misfire = Literal["skip", "once", "catch_up"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When something runs by itself; `decided_for` is what `decided_until` was decided for."""

    subject: str
    expression: str
    timezone: str
    active: bool
    misfire: Misfire
    catch_up_max: int
    grace_seconds: int
    jitter_seconds: int
    paused: bool
    decided_for: str | None
    decided_until: datetime | None
    last_due: datetime | None
    next_due: datetime | None
    problem: str | None
    seen_at: datetime

    @property
    def identity(self) -> str:
        """The expression with its time zone: when this changes, the past counts no more."""
        return f"{self.expression} {self.timezone}"

    @property
    def runs(self) -> bool:
        """Whether its due times become runs now."""
        return self.active and not self.paused


@dataclass(frozen=True, kw_only=True)
class Started:
    """A due time that became a run."""

    due_at: datetime
    run_id: UUID


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Records that were older than they must be kept."""

    kind: str
    dropped: int


class ScheduleBook:
    """Calls the functions of the database about schedules, on a connection the caller owns."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def all(self) -> list[Schedule]:
        """All schedules by subject, with the time at which they were read."""
        return self._rows(Schedule, "schedules")

    def decide(
        self, schedule: Schedule, due: Sequence[datetime], next_due: datetime
    ) -> list[Started]:
        """Queue a run for each due time, and note that all up to now are decided."""
        return self._rows(
            Started,
            "decide",
            subject=schedule.subject,
            expression=schedule.identity,
            decided_until=schedule.decided_until,
            until=schedule.seen_at,
            due=list(due),
            next_due=next_due,
        )

    def report_problem(self, schedule: Schedule, problem: str) -> bool:
        """Note why it cannot be followed; tell whether that is news."""
        return bool(self._value("report_problem", subject=schedule.subject, problem=problem))

    def raise_waiting(self) -> int:
        """Let runs that have waited too long go with the first; how many there were."""
        return int(str(self._value("raise_waiting")))

    def drop_old_records(self) -> list[Dropped]:
        """Drop what is older than it must be kept; what that was."""
        return [one for one in self._rows(Dropped, "drop_old_records") if one.dropped]

    def change(
        self,
        subject: str,
        *,
        misfire: Misfire | None = None,
        catch_up_max: int | None = None,
        grace_seconds: int | None = None,
        jitter_seconds: int | None = None,
        paused: bool | None = None,
    ) -> None:
        """Change how it is followed; what is None stays."""
        self._value(
            "set_schedule",
            subject=subject,
            misfire=misfire,
            catch_up_max=catch_up_max,
            grace_seconds=grace_seconds,
            jitter_seconds=jitter_seconds,
            paused=paused,
        )

    def _rows(self, record: type[_Record], query: str, **arguments: object) -> list[_Record]:
        return fetch_records(self._connection, record, _QUERIES[query], arguments)

    def _value(self, query: str, **arguments: object) -> object:
        return fetch_value(self._connection, _QUERIES[query], arguments)
