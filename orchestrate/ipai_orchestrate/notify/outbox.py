# SPDX-License-Identifier: Apache-2.0
"""The outbox for Python: thin methods over its SQL functions. All rules live in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from ipai_orchestrate.control_plane.queries import fetch_records, fetch_value, load_queries
from ipai_orchestrate.notify.records import (
    ClaimedDelivery,
    CreatedEndpoint,
    Delivery,
    Endpoint,
    Event,
    FinishedDelivery,
    SecretGrant,
)

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_Record = TypeVar("_Record")


class Outbox:
    """Calls the outbox on a connection the caller owns; not for several threads at once."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    # Endpoints

    def create_endpoint(
        self,
        endpoint_id: str,
        url: str,
        secret_ref: str,
        *,
        envs: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        instances: Sequence[str] | None = None,
        statuses: Sequence[str] | None = None,
        description: str = "",
        timeout_seconds: int = 10,
        retry_seconds: Sequence[int] | None = None,
    ) -> CreatedEndpoint:
        """Create an endpoint, or bring it up to date; filters left out let everything pass."""
        arguments = {
            "endpoint_id": endpoint_id,
            "url": url,
            "secret_ref": secret_ref,
            "envs": _array(envs),
            "sources": _array(sources),
            "instances": _array(instances),
            "statuses": _array(statuses),
            "description": description,
            "timeout_seconds": timeout_seconds,
            "retry_seconds": None if retry_seconds is None else list(retry_seconds),
        }
        return self._all(CreatedEndpoint, "create_endpoint", arguments)[0]

    def set_status(self, endpoint_id: str, status: str) -> None:
        """Make an endpoint active, paused (deliveries wait) or disabled (nothing is recorded)."""
        self._value("set_status", {"endpoint_id": endpoint_id, "status": status})

    def rotate_secret(self, endpoint_id: str, secret_ref: str, overlap: timedelta) -> datetime:
        """Sign with a new secret too; return when the old one stops."""
        arguments = {"endpoint_id": endpoint_id, "secret_ref": secret_ref, "overlap": overlap}
        until: datetime = self._value("rotate_secret", arguments)
        return until

    def delete_endpoint(self, endpoint_id: str) -> bool:
        """Remove an endpoint with its deliveries; whether there was one."""
        return bool(self._value("delete_endpoint", {"endpoint_id": endpoint_id}))

    def send_test(self, endpoint_id: str) -> int:
        """Queue a test event; return the delivery's number."""
        return int(self._value("send_test", {"endpoint_id": endpoint_id}))

    # Delivering

    def claim(
        self,
        notifier: str,
        max_rows: int = 10,
        *,
        lease_seconds: int = 120,
        per_endpoint: int = 4,
        only_delivery: int | None = None,
    ) -> list[ClaimedDelivery]:
        """Take deliveries that are due; each is handed to one notifier only."""
        arguments = {
            "notifier": notifier,
            "max_rows": max_rows,
            "lease_seconds": lease_seconds,
            "per_endpoint": per_endpoint,
            "only_delivery": only_delivery,
        }
        return self._all(ClaimedDelivery, "claim", arguments)

    def finish(
        self,
        delivery: ClaimedDelivery,
        http_status: int | None = None,
        error: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> FinishedDelivery:
        """Record how a try went; LeaseLostError when another notifier has it by now."""
        arguments = {
            "delivery_id": delivery.delivery_id,
            "claim_token": delivery.claim_token,
            "http_status": http_status,
            "error": error,
            "retry_after_seconds": retry_after_seconds,
        }
        return self._all(FinishedDelivery, "finish", arguments)[0]

    def request_secret(self, delivery: ClaimedDelivery, name: str) -> SecretGrant:
        """Ask for the signing secret of a claimed delivery; to be committed before it is read."""
        arguments = {
            "delivery_id": delivery.delivery_id,
            "claim_token": delivery.claim_token,
            "name": name,
        }
        return self._all(SecretGrant, "request_secret", arguments)[0]

    def read_secret(self, grant_id: UUID) -> dict[str, Any]:
        """Read what was granted: a value, or what only the holder of the keys can open."""
        answer: dict[str, Any] = self._value("read_secret", {"grant_id": grant_id})
        return answer

    def retry(
        self, delivery_ids: Sequence[int] | None = None, of_endpoint: str | None = None
    ) -> int:
        """Send again what is named, or the dead letters of an endpoint; how many."""
        ids = None if delivery_ids is None else list(delivery_ids)
        return int(self._value("retry", {"delivery_ids": ids, "of_endpoint": of_endpoint}))

    def purge(self, keep_days: int = 30, max_rows: int = 10_000) -> int:
        """Drop old events, at most so many; how many."""
        return int(self._value("purge", {"keep_days": keep_days, "max_rows": max_rows}))

    def listen(self) -> None:
        """Have this connection notified when something is to be told."""
        self.connection.execute(_QUERIES["listen"])

    # Reading

    def endpoints(self) -> list[Endpoint]:
        """List the endpoints by id."""
        return self._all(Endpoint, "endpoints", {})

    def deliveries(
        self,
        of_endpoint: str | None = None,
        in_status: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[Delivery]:
        """List deliveries, newest first."""
        arguments = {
            "of_endpoint": of_endpoint,
            "in_status": in_status,
            "max_rows": limit,
            "before_id": before_id,
        }
        return self._all(Delivery, "deliveries", arguments)

    def events(
        self, for_run: UUID | None = None, for_instance: str | None = None, limit: int = 50
    ) -> list[Event]:
        """List events, newest first."""
        arguments = {
            "for_run": for_run,
            "for_instance": for_instance,
            "max_rows": limit,
            "before": None,
        }
        return self._all(Event, "events", arguments)

    # Plumbing

    def _all(
        self, record: type[_Record], query: str, arguments: Mapping[str, Any]
    ) -> list[_Record]:
        return fetch_records(self.connection, record, _QUERIES[query], arguments)

    def _value(self, query: str, arguments: Mapping[str, Any]) -> Any:
        return fetch_value(self.connection, _QUERIES[query], arguments)


def _array(values: Sequence[str] | None) -> list[str] | None:
    return list(values) if values else None
