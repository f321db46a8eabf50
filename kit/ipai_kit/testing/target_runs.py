# SPDX-License-Identifier: Apache-2.0
"""Runs a target in a test, within its process or beside it, and makes the messages it is fed."""

import contextlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pytest

from ipai_kit.landing.command import land
from ipai_kit.landing.program import TargetProgram

__all__ = [
    "Line",
    "Outcome",
    "TargetProcess",
    "land_here",
    "peak_memory",
    "record_message",
    "schema_message",
    "starting",
    "state_message",
]

Line = dict[str, Any] | bytes | str

_MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A process starts with the peak of the one that it was forked from: here a small one."""


@dataclass(frozen=True)
class Outcome:
    """What a run left behind on its two outputs."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def states(self) -> list[Any]:
        """The STATE values that left the target."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines of stderr; other lines are left out."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [line for line in self.events if line["event"] == event]

    def total(self, count: str) -> int:
        """A count over all flushes."""
        return sum(line.get(count, 0) for line in self.of("flushed"))

    @property
    def error(self) -> str:
        """What the run said when it failed, and what to do."""
        last = self.of("failed")[-1]
        return f"{last['message']} {last['next_step']}"


def encode(lines: Sequence[Line]) -> bytes:
    """Messages as a tap writes them; bytes and texts are taken as they are."""
    parts = []
    for line in lines:
        if isinstance(line, dict):
            parts.append(json.dumps(line).encode())
        else:
            parts.append(line if isinstance(line, bytes) else line.encode())
    return b"".join(part + b"\n" for part in parts)


def land_here(
    program: TargetProgram,
    config: Mapping[str, Any],
    lines: Sequence[Line] | bytes,
    capfd: pytest.CaptureFixture[str],
) -> Outcome:
    """Land messages within this process; its signal handlers are as they were afterwards."""
    data = lines if isinstance(lines, bytes) else encode(lines)
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    capfd.readouterr()
    try:
        code = land(program, dict(config), io.BytesIO(data))
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
    printed = capfd.readouterr()
    return Outcome(code, printed.out, printed.err)


@dataclass(frozen=True)
class TargetProcess:
    """The command, fed step by step."""

    process: subprocess.Popen[bytes]

    def send(self, lines: Sequence[Line]) -> None:
        """Feed it messages."""
        stdin = cast("IO[bytes]", self.process.stdin)
        stdin.write(encode(lines))
        stdin.flush()

    def read_state(self) -> Any:
        """Wait for the next STATE."""
        return json.loads(cast("IO[bytes]", self.process.stdout).readline())

    def finish(self, timeout: float = 60) -> Outcome:
        """End its input and wait for its end."""
        out, err = self.process.communicate(timeout=timeout)
        return Outcome(self.process.returncode, out.decode(), err.decode())


@contextlib.contextmanager
def starting(module: str, folder: Path) -> Iterator[Callable[[Mapping[str, Any]], TargetProcess]]:
    """Start the command of a module with a configuration; what still runs is killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(config: Mapping[str, Any]) -> TargetProcess:
        path = folder / f"config-{len(started)}.json"
        path.write_text(json.dumps(config))
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", module, "--config", str(path)]
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe))
        return TargetProcess(started[-1])

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


def peak_memory(module: str, config: Mapping[str, Any], lines: Sequence[Line], folder: Path) -> int:
    """Land messages in a process of their own; the most kilobytes that it held at once."""
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "messages.jsonl").write_bytes(encode(lines))
    command = [sys.executable, "-c", _MEASURE, module, "--config", str(folder / "config.json")]
    with (folder / "messages.jsonl").open("rb") as messages:
        measured = subprocess.run(command, stdin=messages, capture_output=True, check=True)
    return int(measured.stdout)


def schema_message(
    stream: str = "things",
    keys: list[str] | None = None,
    cursor: str | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """A SCHEMA message of `id`, `v` and more."""
    message: dict[str, Any] = {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"type": "object", "properties": {"id": {}, "v": {}, **properties}},
        "key_properties": ["id"] if keys is None else keys,
    }
    if cursor:
        message["bookmark_properties"] = [cursor]
    return message


def record_message(
    stream: str = "things", at: str | None = None, version: int | None = None, **fields: Any
) -> dict[str, Any]:
    """A RECORD message; `at` and `version` belong to the message, the rest to the record."""
    message: dict[str, Any] = {"type": "RECORD", "stream": stream, "record": fields}
    if at is not None:
        message["time_extracted"] = at
    if version is not None:
        message["version"] = version
    return message


def state_message(value: Any) -> dict[str, Any]:
    """A STATE message."""
    return {"type": "STATE", "value": value}
