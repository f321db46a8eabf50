# SPDX-License-Identifier: Apache-2.0
"""A lake of the test's own, and runs of the target inside or beside the test."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ipai_kit.landing.command import land
from target_bronze_lake.command import PROGRAM


@dataclass
class Outcome:
    """What a run left behind on its two outputs."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def states(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]

    def total(self, count: str) -> int:
        return sum(line.get(count, 0) for line in self.of("flushed"))

    @property
    def error(self) -> str:
        last = self.of("failed")[-1]
        return f"{last['message']} {last['next_step']}"


Line = dict[str, Any] | bytes | str


def encode(lines: list[Line]) -> bytes:
    """Messages as a tap writes them; bytes and texts are taken as they are."""
    parts = []
    for line in lines:
        if isinstance(line, dict):
            parts.append(json.dumps(line).encode())
        else:
            parts.append(line if isinstance(line, bytes) else line.encode())
    return b"".join(part + b"\n" for part in parts)


@dataclass
class LakeFolder:
    """A lake in a folder, and what landed in it."""

    folder: Path

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def path(self, stream: str = "things") -> Path:
        return self.folder / "ipai_bronze_core" / f"raw_singer_{stream}"

    def table(self, stream: str = "things") -> DeltaTable:
        return DeltaTable(self.path(stream))

    def files(self, path: Path) -> list[Path]:
        """The files that readers of a table see."""
        manifests = sorted((path / "_manifests").glob("*.json"))
        if manifests:
            listed = json.loads(manifests[-1].read_bytes())["files"]
            return [path / file["path"] for file in listed]
        return [Path(unquote(urlsplit(uri).path)) for uri in DeltaTable(path).file_uris()]

    def read(self, path: Path) -> list[dict[str, Any]]:
        return [
            {**row, "day": file.parent.name.partition("=")[2]}
            for file in self.files(path)
            for row in pq.ParquetFile(file).read().to_pylist()
        ]

    def rows(self, stream: str = "things") -> list[dict[str, Any]]:
        """Every row in the order of delivery."""
        found = self.read(self.path(stream))
        return sorted(found, key=lambda row: (row["loaded_at"], row["position"]))

    def records(self, stream: str = "things") -> list[str]:
        """Every version in the order of delivery, without tombstones."""
        return [row["record"] for row in self.rows(stream) if row["deleted_at"] is None]

    def newest(self, stream: str = "things", instance: str | None = None) -> dict[str, str]:
        """Record by key as the newest-wins view has it."""
        newest: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.rows(stream):
            place = (row["instance_id"], row["record_key"])
            old = newest.get(place)
            if old is None or _rank(row) >= _rank(old):
                newest[place] = row
        return {
            key: row["record"]
            for (owner, key), row in sorted(newest.items())
            if row["deleted_at"] is None and instance in {None, owner}
        }

    def letters(self) -> list[tuple[str, str, bytes]]:
        path = self.folder / "ipai_bronze_core" / "dead_letters"
        if not path.exists():
            return []
        return [(row["stream"], row["reason"], row["raw"]) for row in self.read(path)]


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["cursor"] or "", row["emitted_at"], row["loaded_at"], row["position"])


@pytest.fixture
def lake(tmp_path: Path) -> LakeFolder:
    return LakeFolder(tmp_path / "lake")


@pytest.fixture
def form() -> str:
    """The form of the lake; tests of what both forms promise are parametrised with it."""
    return "delta"


@pytest.fixture
def run_target(
    lake: LakeFolder, form: str, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Land messages within this process."""

    def run(lines: list[Line] | bytes, **config: Any) -> Outcome:
        data = lines if isinstance(lines, bytes) else encode(lines)
        handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
        capfd.readouterr()
        try:
            settings = {"lake_url": lake.url, "format": form, **config}
            code = land(PROGRAM, settings, io.BytesIO(data))
        finally:
            for name, handler in handlers.items():
                signal.signal(name, handler)
        printed = capfd.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@dataclass
class TargetProcess:
    """The command, fed step by step."""

    process: subprocess.Popen[bytes]

    def send(self, lines: list[Line]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encode(lines))
        self.process.stdin.flush()

    def read_state(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def finish(self, timeout: float = 60) -> Outcome:
        out, err = self.process.communicate(timeout=timeout)
        return Outcome(self.process.returncode, out.decode(), err.decode())


@pytest.fixture
def start_target(
    lake: LakeFolder, form: str, tmp_path: Path
) -> Iterator[Callable[..., TargetProcess]]:
    """Start the command as a process."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**config: Any) -> TargetProcess:
        path = tmp_path / f"config-{len(started)}.json"
        path.write_text(json.dumps({"lake_url": lake.url, "format": form, **config}))
        command = [sys.executable, "-m", "target_bronze_lake", "--config", str(path)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        started.append(process)
        return TargetProcess(process)

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


@pytest.fixture
def schema() -> Callable[..., dict[str, Any]]:
    """Make SCHEMA messages."""

    def make(
        stream: str = "things",
        keys: list[str] | None = None,
        cursor: str | None = None,
        **properties: Any,
    ) -> dict[str, Any]:
        message: dict[str, Any] = {
            "type": "SCHEMA",
            "stream": stream,
            "schema": {"type": "object", "properties": {"id": {}, "v": {}, **properties}},
            "key_properties": ["id"] if keys is None else keys,
        }
        if cursor:
            message["bookmark_properties"] = [cursor]
        return message

    return make


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Make RECORD messages; `at` and `version` belong to the message."""

    def make(
        stream: str = "things", at: str | None = None, version: int | None = None, **fields: Any
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"type": "RECORD", "stream": stream, "record": fields}
        if at is not None:
            message["time_extracted"] = at
        if version is not None:
            message["version"] = version
        return message

    return make


@pytest.fixture
def state() -> Callable[[Any], dict[str, Any]]:
    """Make STATE messages."""
    return lambda value: {"type": "STATE", "value": value}
