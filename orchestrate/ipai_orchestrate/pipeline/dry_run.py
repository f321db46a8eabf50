# SPDX-License-Identifier: Apache-2.0
"""Reads a source as a run would, checks every record against its schema, and stores nothing."""

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from ipai_kit.spec import InstalledConnector, Redactor, secret_values
from ipai_orchestrate.catalog import executable
from ipai_orchestrate.pipeline.connectors import (
    Connector,
    child_environment,
    discover,
    launchable,
)
from ipai_orchestrate.pipeline.lone_tap import watch_tap
from ipai_orchestrate.pipeline.outcome import DEAD_LETTERS, Failure
from ipai_orchestrate.pipeline.selection import only
from ipai_orchestrate.pipeline.settings import no_secrets, resolve
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipeline.workdir import work_directory
from ipai_orchestrate.secrets import SecretReader


@dataclass
class CheckedStream:
    """What was read of one stream, and the first thing that was wrong with it."""

    stream: str
    records: int = 0
    invalid: int = 0
    problem: str | None = None
    skipped_reason: str | None = None


@dataclass(frozen=True)
class DryRunResult:
    """What a run would have read."""

    seconds: float
    streams: tuple[CheckedStream, ...]
    failure: Failure | None = None

    @property
    def exit_code(self) -> int:
        """The tap's own code, or that for records that are not as announced."""
        if self.failure:
            return self.failure.exit_code
        return DEAD_LETTERS if any(one.problem for one in self.streams) else 0


@dataclass
class RecordCheck:
    """Hears a tap's standard output."""

    streams: dict[str, CheckedStream] = field(default_factory=dict)
    _validators: dict[str, Draft202012Validator] = field(default_factory=dict)
    _keys: dict[str, Sequence[str]] = field(default_factory=dict)

    def hear(self, line: bytes) -> None:
        """Check one Singer message."""
        try:
            message = json.loads(line)
            kind = message["type"]
        except (ValueError, KeyError, TypeError):
            self._blame("(output)", f"Not a Singer message: {line[:80]!r}")
            return
        if kind == "SCHEMA":
            self._announce(message)
        elif kind == "RECORD":
            self._check(message)

    def _announce(self, message: Mapping[str, Any]) -> None:
        stream = message["stream"]
        self.streams.setdefault(stream, CheckedStream(stream))
        self._validators[stream] = Draft202012Validator(message["schema"])
        self._keys[stream] = message.get("key_properties") or ()

    def _check(self, message: Mapping[str, Any]) -> None:
        stream, record = message["stream"], message["record"]
        if stream not in self._validators:
            self._blame(stream, "A RECORD came before its SCHEMA.")
            return
        self.streams[stream].records += 1
        missing = [key for key in self._keys[stream] if record.get(key) is None]
        if missing:
            self._blame(stream, f"Key {missing[0]!r} is missing in a record.")
        elif (error := best_match(self._validators[stream].iter_errors(record))) is not None:
            self._blame(stream, _described(error))

    def _blame(self, stream: str, problem: str) -> None:
        checked = self.streams.setdefault(stream, CheckedStream(stream))
        checked.invalid += 1
        checked.problem = checked.problem or problem


def _described(error: ValidationError) -> str:
    """Where and what, without the value: it may be personal."""
    return (
        f"Field {error.json_path!r} breaks the rule {error.validator!r}: {error.validator_value!r}."
    )


@dataclass(frozen=True)
class DryRun:
    """What to read: an installed connector with its settings, from a state on."""

    connector: InstalledConnector
    config: Mapping[str, Any]
    state: Mapping[str, Any]
    streams: Sequence[str] | None = None
    secrets: SecretReader | None = None


def dry_run(wanted: DryRun, work_root: Path, stop: Stop) -> DryRunResult:
    """Run the tap alone; what it would send to the target is checked and forgotten."""
    started = time.monotonic()
    spec = wanted.connector.spec()
    settings = resolve(spec, wanted.config, os.environ, wanted.secrets or no_secrets)
    redactor = Redactor(secret_values(spec, settings))
    redactor.add(*(wanted.secrets.to_mask if wanted.secrets else ()))
    check = RecordCheck()
    with work_directory(work_root, f"dry-{uuid.uuid4()}", "") as directory:
        program = executable(wanted.connector.command)
        files: dict[str, Mapping[str, Any]] = {"state": wanted.state}
        if wanted.streams:
            catalog = discover(Connector(program, settings), directory, redactor)
            files["catalog"] = only(catalog, wanted.streams)
        tap = Connector(program, settings, files=files)
        with launchable(tap, directory, child_environment(directory)) as launch:
            hearing = watch_tap(launch, check.hear, redactor, stop)
    for tallied in hearing.tally.streams.values():
        checked = check.streams.setdefault(tallied.stream, CheckedStream(tallied.stream))
        checked.skipped_reason = tallied.skipped_reason
    seconds = time.monotonic() - started
    return DryRunResult(seconds, tuple(check.streams.values()), hearing.failure)
