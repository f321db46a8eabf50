# SPDX-License-Identifier: Apache-2.0
"""Which workers and schedulers are at work, as they say themselves every few seconds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.control_plane.queries import load_queries

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
REPORT_SECONDS = 15.0

Kind = Literal["worker", "scheduler"]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One process and its last sign of life."""

    name: str
    kind: str
    login: str
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None
    capacity: int
    busy: int
    sources: list[str] | None
    is_alive: bool


class LifeSign:
    """The signs of life of one process."""

    def __init__(
        self, name: str, kind: Kind, capacity: int = 0, sources: Sequence[str] | None = None
    ) -> None:
        self._about = {
            "name": name,
            "kind": kind,
            "capacity": capacity,
            "sources": None if sources is None else list(sources),
        }
        self._due = 0.0
        self._busy = 0

    def give(self, connection: Connection, busy: int = 0, *, is_ending: bool = False) -> None:
        """Say that it lives if that is due or if there is news."""
        if time.monotonic() < self._due and busy == self._busy and not is_ending:
            return
        arguments = {**self._about, "busy": busy, "is_ending": is_ending}
        try:
            connection.execute(_QUERIES["report"], arguments)
        except psycopg.Error as error:
            raise translate(error) from error
        self._busy, self._due = busy, time.monotonic() + REPORT_SECONDS


def list_services(connection: Connection, *, at_work: bool = True) -> list[ServiceStatus]:
    """Those at work, or all of the last week."""
    try:
        with connection.cursor(row_factory=class_row(ServiceStatus)) as cursor:
            return cursor.execute(_QUERIES["services"], {"at_work": at_work}).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error
