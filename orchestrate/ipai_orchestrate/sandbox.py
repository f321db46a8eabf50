# SPDX-License-Identifier: Apache-2.0
"""Starts the stand-in of a source's API in a process of its own and talks to its control side."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ipai_orchestrate.exceptions import ConfigurationError

REQUEST_SECONDS = 60


@dataclass(frozen=True)
class Sandbox:
    """A stand-in that serves."""

    source: str
    url: str

    def config(self) -> dict[str, Any]:
        """The settings with which a tap reads all of it."""
        config: dict[str, Any] = self._call("/_sandbox/config")
        return config

    def stats(self) -> dict[str, Any]:
        """What has been asked of it."""
        stats: dict[str, Any] = self._call("/_sandbox/stats")
        return stats

    def advance(self, steps: int = 1) -> Any:
        """Let its made-up world go on; returns what has happened."""
        return self._call("/_sandbox/advance", {"steps": steps})

    def streams(self) -> list[str]:
        """The streams whose truth it knows."""
        return list(self._call("/_sandbox/streams"))

    def records(self, stream: str) -> list[dict[str, Any]]:
        """What a stream holds now: `key` and `record` of each row."""
        records: list[dict[str, Any]] = self._call(f"/_sandbox/streams/{stream}")
        return records

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data)  # noqa: S310 - our own loopback
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as reply:  # noqa: S310
            return json.load(reply)


def sandbox_command(source: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command that serves a stand-in until it is told to stop."""
    return [sys.executable, "-m", "ipai_kit.sandbox", source, *arguments]


@contextmanager
def running_sandbox(source: str, arguments: Sequence[str] = ()) -> Iterator[Sandbox]:
    """Serve the stand-in of a source for as long as the block runs; it dies with this process."""
    command = sandbox_command(source, [*arguments, "--exit-with-parent"])
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if not ready:
                raise ConfigurationError(_refusal(source, process.communicate()[1]))
            yield Sandbox(source, json.loads(ready)["url"])
        finally:
            process.terminate()


def _refusal(source: str, said: str) -> str:
    lines = said.strip().splitlines()
    try:
        return str(json.loads(lines[-1])["event"])
    except (IndexError, ValueError, KeyError):
        return f"The sandbox of {source!r} did not start: {lines[-1] if lines else 'no reason'}."
