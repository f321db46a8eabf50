# SPDX-License-Identifier: Apache-2.0
"""JSON lines on stderr, one per event, without a secret in them.

``configure_logs`` takes over what singer-sdk's command line set up. Where ``SINGER_SDK_LOG_CONFIG``
describes the logs (Meltano does that), its handlers stay and only lose the secrets.

    {"ts": "2026-01-31T12:00:00.000Z", "level": "info", "event": "progress", "logger": "ipai.event",
     "run_id": "…", "source": "github", "stream": "issues", "records": 1200, "requests": 12}
"""

import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

import msgspec

from ipai_kit.spec.redaction import MASK, Redactor

EVENT_LOGGER: Final = "ipai.event"
LONGEST_TEXT: Final = 8_192
_DEEPEST: Final = 8
_RESERVED: Final = frozenset({"ts", "level", "event", "logger"})
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_METRIC: Final = "METRIC: %s"

_redactor = Redactor()
_encode = msgspec.json.Encoder(enc_hook=str).encode
_events = logging.getLogger(EVENT_LOGGER)
_logger = logging.getLogger(__name__)


def configure_logs(
    *, source: str = "", level: str | int | None = None, stream: TextIO | None = None
) -> Redactor:
    """Write every log line of this process as JSON; gives back the redactor that guards them.

    Call it again when more is known: it replaces its own handler, never adds a second one.
    """
    root = logging.getLogger()
    if "SINGER_SDK_LOG_CONFIG" not in os.environ:
        for handler in list(root.handlers):
            if _writes_to_terminal(handler):
                root.removeHandler(handler)
        root.addHandler(_JsonHandler(source, stream))
    root.setLevel(_level(level) or (root.level if root.level != logging.NOTSET else logging.INFO))
    _events.setLevel(logging.INFO)  # the runner counts rows by these: no log level hides them
    _events.disabled = False
    _guard_handlers()
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread_failure
    return _redactor


def protect(*secrets: object) -> None:
    """Never log these values, nor their encodings, from now on."""
    _redactor.add(*secrets)


def event(name: str, /, **fields: Any) -> None:
    """Write one event with its fields, e.g. ``event("progress", stream="issues", records=10)``."""
    if _is_configured():
        _events.info(name, extra={"fields": fields})
    else:
        about = {"name": EVENT_LOGGER, "msg": name, "levelname": "INFO", "fields": fields}
        record = logging.makeLogRecord(about)
        sys.stderr.write(JsonFormatter().format(record) + "\n")


def _is_configured() -> bool:
    """Whether a logged event reaches stderr; handlers of test tools keep it for themselves."""
    handlers = logging.getLogger().handlers
    return "SINGER_SDK_LOG_CONFIG" in os.environ or any(
        isinstance(handler, _JsonHandler) for handler in handlers
    )


class JsonFormatter(logging.Formatter):
    """One JSON object per record; every text in it is redacted before it is encoded."""

    def __init__(self, source: str = "") -> None:
        super().__init__()
        self._source = source

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        moment = datetime.fromtimestamp(record.created, UTC)
        name, fields = _event_of(record)
        line: dict[str, Any] = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": name,
            "logger": record.name,
        }
        known = {"run_id": os.environ.get("IPAI_RUN_ID"), "source": self._source}
        line |= {key: value for key, value in known.items() if value}
        for key, value in fields.items():
            line[f"{key}_" if key in _RESERVED else key] = value
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return _encode(_clean(line)).decode("utf-8", "replace")


class _JsonHandler(logging.StreamHandler[TextIO]):
    """Writes to the given stream, or to whatever stderr is at that moment."""

    def __init__(self, source: str, stream: TextIO | None) -> None:
        logging.Handler.__init__(self)
        self._stream = stream
        self.setFormatter(JsonFormatter(source))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # a property, so that stderr may change
        """Where the lines go now."""
        return self._stream or sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Say that a line was lost, without the values that the standard handler would print."""
        error = sys.exc_info()[0]
        reason = error.__name__ if error else "unknown"
        with contextlib.suppress(OSError, ValueError):
            lost = {"level": "error", "event": "log line lost", "logger": record.name}
            self.stream.write(_encode({**lost, "error": reason}).decode() + "\n")


class _GuardedFormatter(logging.Formatter):
    """Another formatter's line, without the secrets; a JSON line stays JSON."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The guarded line."""
        line = self.inner.format(record)
        if line.startswith("{"):
            with contextlib.suppress(msgspec.DecodeError, RecursionError):
                return _encode(_clean(msgspec.json.decode(line))).decode()
        return _redactor.text(line)


def _guard_handlers() -> None:
    """Put the redactor in front of every handler that exists."""
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            formatter = handler.formatter or logging.Formatter()
            if not isinstance(formatter, JsonFormatter | _GuardedFormatter):
                handler.setFormatter(_GuardedFormatter(formatter))


def _writes_to_terminal(handler: logging.Handler) -> bool:
    """Stream handlers only: files and the collectors of test tools stay."""
    if isinstance(handler, _JsonHandler):
        return True
    return type(handler) is logging.StreamHandler and handler.stream in {
        sys.stderr,
        sys.__stderr__,
        sys.stdout,
        sys.__stdout__,
    }


def _level(level: str | int | None) -> str | int | None:
    if level:
        return level.upper() if isinstance(level, str) else level
    named = os.environ.get("IPAI_LOG_LEVEL", "").strip().upper()
    if named and named not in logging.getLevelNamesMapping():
        # No reason to lose a sync: the lines only are more, or fewer, than somebody wanted.
        known = "Use DEBUG, INFO, WARNING or ERROR."
        _logger.warning("IPAI_LOG_LEVEL is no level: %r. %s", named, known)
        return None
    return named or None


def _event_of(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Name and fields of a record: ours, singer-sdk's metrics, or any ``extra``."""
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    fields = extra.pop("fields", None)
    if isinstance(fields, Mapping):
        extra |= fields
    if record.msg == _METRIC and isinstance(record.args, tuple) and record.args:
        point: dict[str, Any] = getattr(record.args[0], "to_dict", dict)()
        tags = {getattr(key, "value", key): tag for key, tag in point.pop("tags", {}).items()}
        return "metric", {**extra, **tags, **point}
    try:
        return record.getMessage(), extra
    except (TypeError, ValueError, KeyError):
        return str(record.msg), extra


def _exception(error: BaseException, depth: int = 0) -> dict[str, Any]:
    """What was raised, where, and what caused it; names and lines only, never a local value."""
    frames = traceback.extract_tb(error.__traceback__)
    described: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": str(error),
        "frames": [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames],
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth < _DEEPEST:
        described["cause"] = _exception(cause, depth + 1)
    return described


def _clean(value: Any, depth: int = 0) -> Any:
    """The value with every text in it redacted and none of them endless."""
    if isinstance(value, str):
        text = _redactor.text(value)
        if len(text) > LONGEST_TEXT:
            text = f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"
        return text.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return MASK if _redactor.text(str(value)) == MASK else value
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {_clean(str(key)): _clean(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner, depth + 1) for inner in value]
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return _clean(str(value))


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    message = "uncaught %s"
    logging.getLogger("ipai").critical(message, kind.__name__, exc_info=(kind, error, trace))


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is None or issubclass(failure.exc_type, SystemExit):
        return
    _log_uncaught(failure.exc_type, failure.exc_value, failure.exc_traceback)
