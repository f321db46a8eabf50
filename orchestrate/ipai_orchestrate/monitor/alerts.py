# SPDX-License-Identifier: Apache-2.0
"""Alerts: what is wrong, until it is over. The rules live in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, TypeVar

import psycopg

from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.control_plane.queries import fetch_records, load_queries

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class AlertChange:
    """What a look found; `change` is opened, worsened, grown, repeated or resolved."""

    alert_id: int
    condition: str
    subject: str
    severity: str
    change: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One thing that is or was wrong; `instances` suffer from it."""

    id: int
    condition: str
    subject: str
    severity: str
    instances: list[str]
    summary: str
    details: dict[str, Any]
    opened_at: datetime
    last_seen_at: datetime
    notified_at: datetime
    notifications: int
    acked_at: datetime | None
    acked_by: str | None
    resolved_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """Whether and how often somebody is told of a condition."""

    condition: str
    enabled: bool
    repeat_every: timedelta | None
    resolve_after: timedelta
    group_within: timedelta | None
    updated_at: datetime
    actor: str


@dataclass(frozen=True, kw_only=True)
class AlertRoute:
    """Leads the alerts of an owner, `*` for all, to an endpoint."""

    owner: str
    endpoint_id: str
    conditions: list[str] | None
    min_severity: str
    created_at: datetime
    actor: str


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """An endpoint that would be told; `owners` are those who suffer."""

    endpoint_id: str
    owners: list[str]


class AlertBook:
    """The alerts of the connected control plane."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection it was opened on."""
        return self._connection

    def check(self) -> list[AlertChange]:
        """Look what is wrong now; return what changed. Nothing while another one looks."""
        return self._all(AlertChange, "check_alerts", {})

    def all(self, limit: int = 100, *, only_open: bool = True) -> list[Alert]:
        """Alerts, open and critical ones first."""
        return self._all(Alert, "alerts", {"limit": limit, "only_open": only_open})

    def ack(self, alert_id: int) -> None:
        """Say that somebody looks after it: it is not repeated."""
        self._call("ack_alert", {"alert_id": alert_id})

    def rules(self) -> list[AlertRule]:
        """What alerts are raised for."""
        return self._all(AlertRule, "alert_rules", {})

    def set_rule(
        self,
        condition: str,
        *,
        enabled: bool | None = None,
        repeat_every: timedelta | None = None,
    ) -> None:
        """Change a rule; None leaves things as they are, no time at all repeats never."""
        arguments = {"condition": condition, "enabled": enabled, "repeat_every": repeat_every}
        self._call("set_alert_rule", arguments)

    def set_grouping(self, condition: str, group_within: timedelta) -> None:
        """Say how close failures of one reason must be to be one alert; no time at all: never."""
        self._call("set_grouping", {"condition": condition, "group_within": group_within})

    def set_owner(self, instance_id: str, owner: str) -> None:
        """Say who is told what is wrong with an instance; empty: whom its spec names."""
        self._call("set_owner", {"instance_id": instance_id, "owner": owner})

    def routes(self) -> list[AlertRoute]:
        """Which owners' alerts go where."""
        return self._all(AlertRoute, "routes", {})

    def route(
        self,
        owner: str,
        endpoint_id: str,
        *,
        conditions: Sequence[str] | None = None,
        min_severity: str = "warning",
    ) -> None:
        """Lead the alerts of an owner to an endpoint, which then hears only what is led to it."""
        arguments = {"owner": owner, "endpoint_id": endpoint_id, "min_severity": min_severity}
        self._call("set_route", {**arguments, "conditions": list(conditions or ()) or None})

    def unroute(self, owner: str, endpoint_id: str) -> None:
        """Take a route away."""
        self._call("delete_route", {"owner": owner, "endpoint_id": endpoint_id})

    def recipients(
        self,
        *,
        condition: str = "sync_failed",
        severity: str = "warning",
        instance_id: str | None = None,
        owner: str | None = None,
    ) -> list[Recipient]:
        """Who would be told of an alert of an instance, or of an owner."""
        arguments = {"condition": condition, "severity": severity}
        about = {"instance_id": instance_id, "owner": owner}
        return self._all(Recipient, "recipients", arguments | about)

    def _all(
        self, record: type[_Record], query: str, arguments: Mapping[str, Any]
    ) -> list[_Record]:
        return fetch_records(self._connection, record, _QUERIES[query], arguments)

    def _call(self, query: str, arguments: Mapping[str, Any]) -> None:
        try:
            self._connection.execute(_QUERIES[query], arguments)
        except psycopg.Error as error:
            raise translate(error) from error
