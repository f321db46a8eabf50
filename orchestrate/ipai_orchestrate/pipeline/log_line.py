# SPDX-License-Identifier: Apache-2.0
"""Reads what connectors write to standard error: JSON lines as they are, plain text wrapped."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Speaker = Literal["tap", "target", "dbt", "runner"]

LEVELS = {
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warning": "warning",
    "warn": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
    "fatal": "critical",
}
# Events that are counted: as log lines they interest only who looks for the details.
FIGURES = {"progress", "flushed"}
_LEVEL_WORD = re.compile(r"\b(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
_TRACEBACK = "Traceback (most recent call last):"
_CONTINUES = re.compile(r"\s|During handling|The above exception")
_MESSAGE_KEYS = ("event", "message", "msg")
_TIME_KEYS = ("timestamp", "time", "ts", "at")


@dataclass(frozen=True)
class LogLine:
    """One thing that was said during a run, without secrets."""

    source: Speaker
    message: str
    level: str = "info"
    stream: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    fields: dict[str, Any] = field(default_factory=dict)


class LogParser:
    """Turns the lines of one process into log lines; a traceback becomes one of them."""

    def __init__(self, source: Speaker, say: Callable[[LogLine], None]) -> None:
        self._source = source
        self._say = say
        self._traceback: list[str] = []

    def feed(self, line: bytes) -> None:
        """Take one line, already redacted."""
        text = line.decode("utf-8", "replace").replace("\0", "").rstrip()
        if self._traceback:
            self._traceback.append(text)
            if not _CONTINUES.match(text) and text != _TRACEBACK:
                self.finish()
        elif text.startswith(_TRACEBACK):
            self._traceback.append(text)
        else:
            self._say(parse_line(self._source, text))

    def finish(self) -> None:
        """Hand on a traceback that has reached its end."""
        if self._traceback:
            last, text = self._traceback[-1], "\n".join(self._traceback)
            self._traceback = []
            self._say(LogLine(self._source, last, "error", fields={"traceback": text}))


def parse_line(source: Speaker, text: str) -> LogLine:
    """Read one line, structured or not."""
    if text.startswith("{"):
        try:
            return _structured(source, json.loads(text))
        except ValueError:
            pass
    word = _LEVEL_WORD.search(text, 0, 60)
    return LogLine(source, text, LEVELS[word[1].lower()] if word else "info")


def _structured(source: Speaker, record: dict[str, Any]) -> LogLine:
    level = LEVELS.get(str(record.pop("level", "info")).lower(), "info")
    if "exit_code" in record:  # the last words of a connector that failed
        level = "error"
        message = _last_words(record)
    else:
        message = next((record.pop(key) for key in _MESSAGE_KEYS if key in record), "")
        if isinstance(record.get("message"), str):
            message = f"{message}: {record.pop('message')}"
    if message in FIGURES:
        level = "debug"
    stream = record.pop("stream", None)
    at = _time(next((record.pop(key) for key in _TIME_KEYS if key in record), None))
    stream = stream if isinstance(stream, str) else None
    return LogLine(source, str(message), level, stream, at, record)


def _last_words(record: Mapping[str, Any]) -> str:
    """What happened and what to do, from the event that our connectors end with."""
    text = str(record.get("message") or record.get("event", ""))
    step = str(record.get("next_step") or "")
    return text if step in text else f"{text} {step}"


def _time(value: object) -> datetime:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
