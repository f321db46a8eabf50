# SPDX-License-Identifier: Apache-2.0
"""Asks a source whether it answers and lets us in, stream by stream, without storing anything."""

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ipai_kit.spec import InstalledConnector, Redactor, secret_values
from ipai_orchestrate.catalog import executable
from ipai_orchestrate.pipeline.connectors import (
    Connector,
    child_environment,
    discover,
    launchable,
)
from ipai_orchestrate.pipeline.lone_tap import Hearing, watch_tap
from ipai_orchestrate.pipeline.outcome import Failure
from ipai_orchestrate.pipeline.selection import only, stream_names
from ipai_orchestrate.pipeline.settings import no_secrets, resolve
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipeline.workdir import work_directory
from ipai_orchestrate.secrets import SecretReader

Outcome = Literal["ok", "empty", "skipped", "failed", "not reached"]


@dataclass(frozen=True)
class StreamCheck:
    """How one stream answered."""

    stream: str
    outcome: Outcome
    detail: str | None = None


@dataclass(frozen=True)
class SourceCheck:
    """How the source answered."""

    streams: tuple[StreamCheck, ...]
    failure: Failure | None

    @property
    def exit_code(self) -> int:
        """The tap's own code."""
        return self.failure.exit_code if self.failure else 0


@dataclass
class _Seen:
    records: Counter[str] = field(default_factory=Counter)

    def hear(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict) and message.get("type") == "RECORD":
            self.records[str(message.get("stream"))] += 1


@contextmanager
def prepared(
    connector: InstalledConnector,
    config: Mapping[str, Any],
    work_root: Path,
    secrets: SecretReader | None,
) -> Iterator[tuple[Connector, Path, Redactor]]:
    """A connector with its resolved settings, a folder to work in, and what hides its secrets."""
    spec = connector.spec()
    settings = resolve(spec, config, os.environ, secrets or no_secrets)
    redactor = Redactor(secret_values(spec, settings))
    redactor.add(*(secrets.to_mask if secrets else ()))
    with work_directory(work_root, f"check-{uuid.uuid4()}", "") as directory:
        tap = Connector(executable(connector.command), settings)
        yield tap, directory, redactor


def list_streams(
    connector: InstalledConnector,
    config: Mapping[str, Any],
    work_root: Path,
    secrets: SecretReader | None = None,
) -> dict[str, Any]:
    """The catalog of a source."""
    with prepared(connector, config, work_root, secrets) as (tap, directory, redactor):
        return discover(tap, directory, redactor)


def check_source(
    connector: InstalledConnector,
    config: Mapping[str, Any],
    streams: Sequence[str],
    work_root: Path,
    stop: Stop | None = None,
    secrets: SecretReader | None = None,
) -> SourceCheck:
    """Read one record of each stream, or of the named ones."""
    with prepared(connector, config, work_root, secrets) as (tap, directory, redactor):
        catalog = discover(tap, directory, redactor)
        names = list(streams) or stream_names(catalog)
        chosen = only(catalog, names)
        chosen["streams"] = [entry for entry in chosen["streams"] if entry["selected"]]
        asking = Connector(tap.program, tap.config, ("--test",), {"catalog": chosen})
        seen = _Seen()
        with launchable(asking, directory, child_environment(directory)) as launch:
            hearing = watch_tap(launch, seen.hear, redactor, stop or Stop())
    results = [_judge(name, seen, hearing) for name in names]
    return SourceCheck(tuple(results), hearing.failure)


def _judge(name: str, seen: _Seen, hearing: Hearing) -> StreamCheck:
    tallied = hearing.tally.streams.get(name)
    failed = hearing.last_errors.get("tap")
    if seen.records[name]:
        return StreamCheck(name, "ok")
    if tallied and tallied.skipped_reason:
        return StreamCheck(name, "skipped", tallied.skipped_reason)
    if hearing.failure and failed and failed.stream == name:
        return StreamCheck(name, "failed", failed.message)
    return StreamCheck(name, "not reached" if hearing.failure else "empty")
