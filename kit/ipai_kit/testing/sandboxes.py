# SPDX-License-Identifier: Apache-2.0
"""Starts a stand-in for a test and talks to its control endpoints."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests
from starlette.applications import Starlette

from ipai_kit.sandbox.command import find_factory
from ipai_kit.sandbox.faults import parse_fault
from ipai_kit.sandbox.server import served

_TIMEOUT_SECONDS = 60


class SandboxUrl(str):
    """The address of a running stand-in, and what a test may ask of it."""

    __slots__ = ()

    def config(self) -> dict[str, Any]:
        """Settings with which a tap reads it."""
        config: dict[str, Any] = self._get("config")
        return config

    def stats(self) -> dict[str, Any]:
        """What it was asked so far."""
        stats: dict[str, Any] = self._get("stats")
        return stats

    def streams(self) -> dict[str, tuple[str, ...]]:
        """The key properties of each stream that its oracle knows."""
        return {name: tuple(about["key"]) for name, about in self._get("streams").items()}

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Every record of a stream that is true now, as a tap should land it."""
        return [item["record"] for item in self._get(f"streams/{stream}")]

    def fault(self, kind: str, **details: Any) -> None:
        """Order a fault, e.g. ``fault("status", status=503, match="GET /repos/*", times=2)``."""
        self._post("faults", {"kind": kind, **details})

    def advance(self, steps: int = 1) -> dict[str, Any]:
        """Let the source change."""
        changed: dict[str, Any] = self._post("advance", {"steps": steps})
        return changed

    def expire_tokens(self) -> None:
        """End every access token."""
        self._post("expire", {})

    def reset(self) -> None:
        """Back to the first moment: data, counts, quota and faults."""
        self._post("reset", {})

    def _get(self, path: str) -> Any:
        return _body(requests.get(f"{self}/_sandbox/{path}", timeout=_TIMEOUT_SECONDS))

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        url = f"{self}/_sandbox/{path}"
        return _body(requests.post(url, json=body, timeout=_TIMEOUT_SECONDS))


def _body(response: requests.Response) -> Any:
    if not response.ok:
        message = f"The sandbox answers {response.status_code}: {response.text}"
        raise ValueError(message)
    return response.json()


@contextlib.contextmanager
def running_sandbox(
    source: str | Starlette,
    *,
    process: bool = False,
    latency_ms: float = 0.0,
    faults: Sequence[str] = (),
    **options: Any,
) -> Iterator[SandboxUrl]:
    """Serve a source's stand-in, or an app, in a thread or in a process of its own."""
    if process:
        if not isinstance(source, str):
            message = "Only an installed sandbox can run in a process of its own. Give its name."
            raise TypeError(message)
        with _own_process(source, latency_ms, faults, options) as url:
            yield url
        return
    app = find_factory(source)(**options) if isinstance(source, str) else source
    app.state.sandbox.latency_seconds = latency_ms / 1000
    app.state.sandbox.faults.add(*[parse_fault(fault) for fault in faults])
    with served(app) as address:
        yield SandboxUrl(address)


@contextlib.contextmanager
def _own_process(
    source: str, latency_ms: float, faults: Sequence[str], options: Mapping[str, Any]
) -> Iterator[SandboxUrl]:
    command = [sys.executable, "-m", "ipai_kit.sandbox", source, "--exit-with-parent"]
    command += ["--latency-ms", str(latency_ms)]
    for fault in faults:
        command += ["--fault", fault]
    for name, value in options.items():
        command += ["--option", f"{name}={_option_text(value)}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            ready = server.stdout.readline() if server.stdout else ""
            if not ready:
                message = f"The sandbox {source!r} did not start. Its log tells why."
                raise ValueError(message)
            yield SandboxUrl(json.loads(ready)["url"])
        finally:
            server.terminate()
            server.wait(_TIMEOUT_SECONDS)


def _option_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else "" if value is None else str(value)
