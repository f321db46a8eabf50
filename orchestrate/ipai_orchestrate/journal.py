# SPDX-License-Identifier: Apache-2.0
"""What a long-running process says: JSON lines for machines, plain lines on a terminal."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import click

from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.observer import Nobody

Level = Literal["debug", "info", "warning", "error"]
_STYLES = {"warning": "yellow", "error": "red", "critical": "red"}
_SHOWN = {"error", "critical"}


class Journal:
    """Writes one line per event; any thread may write."""

    def __init__(self, stream: TextIO, *, as_json: bool, **about: str) -> None:
        self._stream = stream
        self._as_json = as_json
        self._about = about
        self._lock = threading.Lock()

    def say(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Write one event with its facts; None is left out."""
        known = {name: value for name, value in fields.items() if value is not None}
        line = self._json_line if self._as_json else self._plain_line
        text = line(event, level, known)
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()

    def _json_line(self, event: str, level: str, fields: Mapping[str, Any]) -> str:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": level, **fields, **self._about, "event": event}
        return json.dumps(line, default=str, ensure_ascii=False)

    def _plain_line(self, event: str, level: str, fields: Mapping[str, Any]) -> str:
        facts = " ".join(f"{name}={value}" for name, value in fields.items())
        text = click.style(event, fg=_STYLES.get(level)) if self._stream.isatty() else event
        return f"{datetime.now(UTC).astimezone():%H:%M:%S} {text} {facts}".rstrip()


class RunJournal(Nobody):
    """Tells of one run what went wrong in it; everything else is in the run's own log."""

    def __init__(self, journal: Journal, run_id: str, instance_id: str) -> None:
        self._journal = journal
        self._about = {"run_id": run_id, "instance_id": instance_id}

    def said(self, line: LogLine) -> None:
        """Pass on errors of the connectors and dbt; the runner's own is told with the end."""
        if line.level in _SHOWN and line.source != "runner":
            about = {**self._about, "source": line.source, "stream": line.stream}
            self._journal.say("run_said", line.level, message=line.message, **about)

    def transforming(self, streams: int) -> None:
        """Tell that Bronze is loaded."""
        self._journal.say("transform_started", streams=streams, **self._about)
