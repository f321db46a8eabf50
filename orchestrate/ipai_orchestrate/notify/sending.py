# SPDX-License-Identifier: Apache-2.0
"""One try of one delivery: guard, signature, post. Its outcome is data, never an exception."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.notify.address_guard import AddressGuard, AddressRefusedError
from ipai_orchestrate.notify.posting import PostError, Reply, post
from ipai_orchestrate.notify.records import ClaimedDelivery
from ipai_orchestrate.notify.signature import signed_headers
from ipai_orchestrate.notify.signing_secrets import resolve_key

USER_AGENT = "ipai-connectors"


@dataclass(frozen=True)
class Outcome:
    """How a try went; `error` is null when the endpoint took the event."""

    http_status: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Sender:
    """Sends deliveries; safe to share between threads."""

    guard: AddressGuard = field(default_factory=AddressGuard)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def send(self, delivery: ClaimedDelivery) -> Outcome:
        """Try once."""
        started = time.monotonic()
        try:
            reply = self._post(delivery)
        except (AddressRefusedError, ConfigurationError, PostError) as error:
            return Outcome(error=str(error), seconds=time.monotonic() - started)
        error_text = None if reply.accepted else _explained(reply)
        return Outcome(
            reply.http_status, error_text, reply.retry_after_seconds, time.monotonic() - started
        )

    def _post(self, delivery: ClaimedDelivery) -> Reply:
        keys = [resolve_key(reference, self.environment) for reference in delivery.secret_refs]
        destination = self.guard.check(delivery.url)
        body = delivery.body.encode()
        signed = signed_headers(str(delivery.event_id), int(time.time()), body, keys)
        headers = {
            "Host": destination.host_header,
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "Connection": "close",
            **signed,
        }
        return post(destination, body, headers, delivery.timeout_seconds)


def _explained(reply: Reply) -> str:
    if 300 <= reply.http_status <= 399:
        return f"Answered {reply.http_status}: redirects are not followed. Give the final address."
    return f"Answered {reply.http_status}."
