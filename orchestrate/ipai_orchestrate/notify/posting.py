# SPDX-License-Identifier: Apache-2.0
"""Posts to a checked address: no redirects, no proxy, one deadline for the whole exchange."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ipai_orchestrate.notify.address_guard import Destination

_RETRY_AFTER_STATUSES = frozenset({429, 503})


@dataclass(frozen=True)
class Reply:
    """What the endpoint answered; nothing of its body is kept."""

    http_status: int
    retry_after_seconds: float | None = None

    @property
    def accepted(self) -> bool:
        """Whether the endpoint took the event."""
        return 200 <= self.http_status <= 299


class PostError(Exception):
    """There was no answer; the text says why."""


def post(
    destination: Destination, body: bytes, headers: Mapping[str, str], timeout_seconds: float
) -> Reply:
    """Post once and return the status, or raise `PostError`."""
    deadline = time.monotonic() + timeout_seconds
    connection = _Pinned(destination, deadline)
    try:
        with _cut_off_at(deadline, connection):
            connection.request("POST", destination.target, body, dict(headers))
            with connection.getresponse() as answer:
                return Reply(answer.status, _retry_after(answer))
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = connection.is_cut or isinstance(error, TimeoutError)
        text = f"No answer within {timeout_seconds:g} s." if late else _reason(error)
        raise PostError(text) from error
    finally:
        connection.close()


class _Pinned(http.client.HTTPConnection):
    """Connects to addresses that were checked, and speaks to the host by its name."""

    def __init__(self, destination: Destination, deadline: float) -> None:
        super().__init__(destination.host, destination.port)
        self._destination = destination
        self._deadline = deadline
        self.plain: socket.socket | None = None
        self.is_cut = False

    def connect(self) -> None:
        """Try the addresses in order until the deadline; then TLS for the host's name."""
        self.plain = self.sock = self._open()
        if self._destination.scheme == "https":
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.plain, server_hostname=self._destination.host)
            self.plain = self.sock

    def _open(self) -> socket.socket:
        failure: OSError = TimeoutError()
        for address in self._destination.addresses:
            left = self._deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return socket.create_connection((address, self._destination.port), left)
            except OSError as error:
                failure = error
        raise failure


@contextmanager
def _cut_off_at(deadline: float, connection: _Pinned) -> Iterator[None]:
    """End the exchange at the deadline: a socket's own timeout starts anew with every byte."""

    def cut() -> None:
        connection.is_cut = True
        plain = connection.plain
        if plain is not None:
            try:
                # Not SSLSocket.shutdown, which takes the TLS object away from the reader.
                socket.socket.shutdown(plain, socket.SHUT_RDWR)
            except OSError:
                return  # closed just now

    timer = threading.Timer(max(deadline - time.monotonic(), 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate is not valid: {error.verify_message}."
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return "The answer is not HTTP."  # nothing of it is repeated: it is the other side's text
    text = str(error) or type(error).__name__
    return f"The connection failed: {text.rstrip('.')}."


def _retry_after(answer: http.client.HTTPResponse) -> float | None:
    text = answer.getheader("retry-after")
    if text is None or answer.status not in _RETRY_AFTER_STATUSES:
        return None
    if text.strip().isascii() and text.strip().isdecimal():
        return float(min(int(text.strip()[:9]), 86400))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
