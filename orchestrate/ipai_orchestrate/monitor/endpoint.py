# SPDX-License-Identifier: Apache-2.0
"""An HTTP endpoint that a Prometheus server scrapes: GET /metrics."""

import hmac
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import psycopg

from ipai_orchestrate.exceptions import ConfigurationError, OrchestrateError
from ipai_orchestrate.monitor.metrics import exposition, read_metrics
from ipai_orchestrate.pipeline.database import Database

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEPT_SECONDS = 1.0
SLOWEST_CLIENT_SECONDS = 10.0
SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Whether a name or address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class EndpointOptions:
    """Where it listens and who may ask."""

    host: str = "127.0.0.1"
    port: int = 9464
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse to be open to the network without a token."""
        if self.token and len(self.token) < SHORTEST_TOKEN:
            message = f"The token is too short. Use {SHORTEST_TOKEN} characters or more."
            raise ConfigurationError(message)
        if not self.token and not is_loopback(self.host):
            message = (
                f"Address {self.host!r} is open to others and there is no token. Set "
                "IPAI_METRICS_TOKEN, or listen at 127.0.0.1."
            )
            raise ConfigurationError(message)


class Scrapes:
    """Answers from the database, once a second however many ask."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._until = 0.0
        self._text = ""

    def text(self) -> str:
        """The metrics; raises when the database cannot tell."""
        with self._lock:
            if self._clock() >= self._until:
                with self._database.connect() as connection:
                    self._text = exposition(read_metrics(connection))
                self._until = self._clock() + KEPT_SECONDS
            return self._text


@contextmanager
def metrics_endpoint(options: EndpointOptions, scrapes: Scrapes) -> Iterator[str]:
    """Serve for as long as the block runs; yields the address."""
    try:
        server = _Server((options.host.strip("[]"), options.port), _handler(options, scrapes))
    except OSError as error:
        message = (
            f"Cannot listen at {options.host}:{options.port}: {error.strerror or error}. "
            "Choose another --port, or another --host of this machine."
        )
        raise ConfigurationError(message) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics")
    thread.start()
    try:
        yield f"http://{options.host}:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _handler(options: EndpointOptions, scrapes: Scrapes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SLOWEST_CLIENT_SECONDS
        server_version, sys_version = "ipai", ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self._answer(404, "Nothing is here. Ask for /metrics.\n")
            elif not self._may_ask():
                self._answer(401, "Send the token: Authorization: Bearer …\n")
            else:
                self._answer(*_scraped(scrapes))

        do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

        def _may_ask(self) -> bool:
            if options.token:
                given = self.headers.get("authorization", "").encode()
                return hmac.compare_digest(given, f"Bearer {options.token}".encode())
            # A page in a browser may reach this address under a name of its own.
            host = self.headers.get("host", "").rpartition(":")[0] or self.headers.get("host", "")
            return is_loopback(host)

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("content-type", CONTENT_TYPE)
            self.send_header("content-length", str(len(body)))
            self.send_header("cache-control", "no-store")
            if status == 401:
                self.send_header("www-authenticate", "Bearer")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: a line for each scrape helps nobody."""

    return Handler


def _scraped(scrapes: Scrapes) -> tuple[int, str]:
    try:
        return 200, scrapes.text()
    except (psycopg.Error, OrchestrateError):
        return 503, "The database does not answer, or not to this login.\n"
