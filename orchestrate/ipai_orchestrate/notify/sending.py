# SPDX-License-Identifier: Apache-2.0
"""One try of one delivery: guard, signature, post, or words to a chat. Never an exception."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.notify import chat
from ipai_orchestrate.notify.address_guard import AddressGuard, AddressRefusedError
from ipai_orchestrate.notify.posting import PostError, Reply, post
from ipai_orchestrate.notify.records import ClaimedDelivery
from ipai_orchestrate.notify.signature import signed_headers

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

    def send(self, delivery: ClaimedDelivery, keys: Sequence[bytes]) -> Outcome:
        """Try once, signed with all of the keys."""
        started = time.monotonic()
        try:
            reply = self._post(delivery, keys)
        except (AddressRefusedError, PostError) as error:
            return Outcome(error=str(error), seconds=time.monotonic() - started)
        error_text = None if reply.accepted else _explained(reply)
        return Outcome(
            reply.http_status, error_text, reply.retry_after_seconds, time.monotonic() - started
        )

    @staticmethod
    def tell(delivery: ClaimedDelivery, addresses: Sequence[str]) -> Outcome:
        """Tell a chat; it counts as answered with 200 when the chat took it."""
        started = time.monotonic()
        try:
            error = chat.tell(delivery, addresses)
        except ConfigurationError as wrong:
            error = str(wrong)
        seconds = time.monotonic() - started
        return Outcome(None if error else 200, error, seconds=seconds)

    def _post(self, delivery: ClaimedDelivery, keys: Sequence[bytes]) -> Reply:
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
