# SPDX-License-Identifier: Apache-2.0
"""Runs a tap in a test and sorts what it said."""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from singer_sdk import Tap

from ipai_kit.logs import configure_logs

_TIMEOUT_SECONDS = 300
_DISCOVERABLE = "discoverable"


@dataclass(frozen=True)
class TapRun:
    """Everything a tap wrote: Singer messages on stdout, events on stderr."""

    lines: list[bytes]
    stderr: str = ""
    exit_code: int = 0
    messages: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", [json.loads(line) for line in self.lines])

    @cached_property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """The last SCHEMA message of each stream."""
        return {one["stream"]: one for one in self.messages if one["type"] == "SCHEMA"}

    @cached_property
    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The records of each stream in the order of their arrival."""
        found: dict[str, list[dict[str, Any]]] = {stream: [] for stream in self.schemas}
        for message in self.messages:
            if message["type"] == "RECORD":
                found.setdefault(message["stream"], []).append(message["record"])
        return found

    @cached_property
    def states(self) -> list[dict[str, Any]]:
        """The values of the STATE messages."""
        return [message["value"] for message in self.messages if message["type"] == "STATE"]

    @property
    def state(self) -> dict[str, Any]:
        """The last STATE; empty when there was none."""
        return self.states[-1] if self.states else {}

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines of stderr; other lines are left out."""
        found = []
        for line in self.stderr.splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    found.append(event)
        return found


def run_tap(
    tap: type[Tap] | str | Sequence[str],
    config: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
    select: Collection[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> TapRun:
    """Run a tap class in this process, or a command in its own; ``select`` names the streams.

    A class raises what stops it; a command reports it by exit code and stderr.
    """
    if isinstance(tap, type):
        if select is not None and catalog is None:
            catalog = selecting(tap(config=dict(config)).catalog_dict, select)
        return _run_class(tap, config, state, catalog)
    command = [tap] if isinstance(tap, str) else list(tap)
    if select is not None and catalog is None:
        found = _run_command(command, config, {_DISCOVERABLE: None}, environment)
        catalog = selecting(json.loads(b"\n".join(found.lines)), select)
    return _run_command(command, config, {"state": state, "catalog": catalog}, environment)


def selecting(catalog: Mapping[str, Any], streams: Collection[str] | None) -> dict[str, Any]:
    """A catalog in which exactly these streams are selected; None selects all."""
    chosen = json.loads(json.dumps(catalog))
    for stream in chosen["streams"]:
        wanted = streams is None or stream["tap_stream_id"] in streams
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"]["selected"] = wanted
    return dict(chosen)


def _run_class(
    tap: type[Tap],
    config: Mapping[str, Any],
    state: Mapping[str, Any] | None,
    catalog: Mapping[str, Any] | None,
) -> TapRun:
    output, errors = io.BytesIO(), io.StringIO()
    stdout = io.TextIOWrapper(output, encoding="utf-8", write_through=True)
    with (
        _kept_signal_handlers(),
        _own_logs(),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(errors),
    ):
        tap(
            config=dict(config),
            state=None if state is None else dict(state),
            catalog=None if catalog is None else dict(catalog),
        ).sync_all()
    stdout.flush()
    return TapRun(output.getvalue().splitlines(), errors.getvalue())


@contextlib.contextmanager
def _kept_signal_handlers() -> Iterator[None]:
    """singer-sdk sets handlers for the whole process: give them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread: nothing was changed
            for number, handler in kept.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _own_logs() -> Iterator[None]:
    """Log as on the command line, and give the logs of this process back afterwards."""
    root = logging.getLogger()
    kept = list(root.handlers), root.level, sys.excepthook, threading.excepthook
    try:
        configure_logs()
        yield
    finally:
        root.handlers[:], level, sys.excepthook, threading.excepthook = kept
        root.setLevel(level)
        logging.captureWarnings(capture=False)


def _run_command(
    command: Sequence[str],
    config: Mapping[str, Any],
    files: Mapping[str, Any],
    environment: Mapping[str, str] | None,
) -> TapRun:
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--config", _write(folder, "config", config)]
        if _DISCOVERABLE in files:
            arguments.append("--discover")
        for name, content in files.items():
            if content is not None:
                arguments += [f"--{name}", _write(folder, name, content)]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, **(environment or {})},
            timeout=_TIMEOUT_SECONDS,
        )
    stderr = done.stderr.decode("utf-8", "replace")
    if _DISCOVERABLE in files:
        return TapRun([_one_line(done.stdout)], stderr, done.returncode)
    return TapRun(done.stdout.splitlines(), stderr, done.returncode)


def _one_line(document: bytes) -> bytes:
    return json.dumps(json.loads(document)).encode()


def _write(folder: str, name: str, content: Mapping[str, Any]) -> str:
    path = Path(folder) / f"{name}.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content), "utf-8")
    return str(path)
