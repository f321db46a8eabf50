# SPDX-License-Identifier: Apache-2.0
"""A token endpoint on loopback for one tap: it gets good access tokens for as long as it runs.

The tap speaks OAuth to it as to any issuer, with a key of this run in the place of the refresh
token, which never leaves the runner.
"""

import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from ipai_orchestrate.exceptions import CredentialsRefusedError, OrchestrateError
from ipai_orchestrate.secrets.grant import Grant

SETTING = "oauth_door"
_LONGEST = 10_000


class _Desk:
    """What the door hands out: per setting a key, and the token it gave last."""

    def __init__(
        self,
        grants: Mapping[str, tuple[str, Grant]],
        renew: Callable[[str, str | None], Grant],
        mask: Callable[..., None],
    ) -> None:
        self.keys = {setting: secrets.token_urlsafe(32) for setting in grants}
        self._names = {setting: name for setting, (name, _) in grants.items()}
        self._given = {setting: grant.access_token for setting, (_, grant) in grants.items()}
        self._renew, self._mask = renew, mask
        self._lock = threading.Lock()

    def answer(self, form: Mapping[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """A status and what to say; the key decides which grant is meant."""
        if form.get("grant_type") != ["refresh_token"]:
            return 400, {"error": "unsupported_grant_type"}
        offered = "".join(form.get("refresh_token", [])).encode()
        for setting, key in self.keys.items():
            if hmac.compare_digest(key.encode(), offered):
                return self._token(setting)
        return 400, {"error": "invalid_grant"}

    def _token(self, setting: str) -> tuple[int, dict[str, Any]]:
        with self._lock:
            # Whoever asks again has a token that is due, or that the source refuses.
            try:
                grant = self._renew(self._names[setting], self._given[setting])
            except CredentialsRefusedError:
                return 400, {"error": "invalid_grant"}
            except OrchestrateError:
                return 503, {"error": "temporarily_unavailable"}
            self._mask(*grant.to_mask)
            self._given[setting] = grant.access_token
        answer: dict[str, Any] = {"access_token": grant.access_token, "token_type": "Bearer"}
        if grant.access_expires_at is not None:
            answer["expires_in"] = max(int(grant.access_expires_at - time.time()), 0)
        return 200, answer


@contextmanager
def token_door(
    grants: Mapping[str, tuple[str, Grant]],
    renew: Callable[[str, str | None], Grant],
    mask: Callable[..., None],
) -> Iterator[dict[str, Any]]:
    """Open the door for these settings; yield what the tap's configuration needs to find it."""
    if not grants:
        yield {}
        return
    desk = _Desk(grants, renew, mask)
    mask(*desk.keys.values())
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(desk))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        ends = {setting: grant.access_expires_at for setting, (_, grant) in grants.items()}
        url = f"http://127.0.0.1:{server.server_port}/token"
        yield {SETTING: {"url": url, "keys": desk.keys, "expires_at": ends}}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(desk: _Desk) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            """Answer one request for a token."""
            length = self.headers.get("content-length", "")
            size = int(length) if length.isdecimal() else 0
            body = self.rfile.read(min(size, _LONGEST)).decode("utf-8", "replace")
            status, said = desk.answer(parse_qs(body))
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("cache-control", "no-store")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: the run has its own log."""

    return Handler
