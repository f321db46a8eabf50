# SPDX-License-Identifier: Apache-2.0
"""Logs are JSON lines without secrets, whoever writes them."""

import json
import logging
import os
import subprocess
import sys
import threading
import warnings

import pytest

from ipai_kit import logs

SECRET = "hunter2-hunter2"
FORMATTER = "singer_sdk.logging.StructuredFormatter"


@pytest.fixture(autouse=True)
def own_logging(monkeypatch):
    """Each test sets up the logs of the process; give everything back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook
    monkeypatch.setattr(logs, "_redactor", logs.Redactor([SECRET]))
    monkeypatch.delenv("IPAI_LOG_LEVEL", raising=False)
    monkeypatch.delenv("IPAI_RUN_ID", raising=False)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(capture=False)


@pytest.fixture
def lines(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_carries_time_level_event_logger_run_and_source(lines, monkeypatch):
    monkeypatch.setenv("IPAI_RUN_ID", "run-1")
    logs.configure_logs(source="github")

    logging.getLogger("tap-github").warning("stream %s is slow", "issues")
    (line,) = lines()

    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "stream issues is slow",
        "logger": "tap-github",
        "run_id": "run-1",
        "source": "github",
    }


def test_an_event_keeps_its_fields_at_the_top(lines):
    logs.configure_logs(source="github")

    logs.event("progress", stream="issues", records=3, quota_remaining=None)
    (line,) = lines()

    assert (line["event"], line["stream"], line["records"]) == ("progress", "issues", 3)
    assert line["quota_remaining"] is None


def test_an_event_is_written_even_before_logs_are_configured(lines):
    logs.event("flushed", stream="issues", inserted=2)
    (line,) = lines()

    assert (line["event"], line["inserted"], line["level"]) == ("flushed", 2, "info")


@pytest.mark.parametrize("level", ["ERROR", logging.ERROR])
def test_no_log_level_hides_events(lines, level):
    logs.configure_logs(level=level)

    logging.getLogger("x").warning("hidden")
    logs.event("progress", records=1)

    assert [line["event"] for line in lines()] == ["progress"]


def test_the_level_may_come_from_the_environment(lines, monkeypatch):
    monkeypatch.setenv("IPAI_LOG_LEVEL", "debug")
    logs.configure_logs()

    logging.getLogger("x").debug("seen")

    assert [line["event"] for line in lines()] == ["seen"]


def test_a_level_that_is_none_is_told_and_ends_nothing(lines, monkeypatch):
    monkeypatch.setenv("IPAI_LOG_LEVEL", "chatty")
    logs.configure_logs()

    logging.getLogger("x").debug("not seen")

    assert ["IPAI_LOG_LEVEL is no level: 'CHATTY'. Use DEBUG, INFO, WARNING or ERROR."] == [
        line["event"] for line in lines()
    ]


def test_a_field_cannot_replace_what_every_line_has(lines):
    logs.configure_logs(source="github")

    logging.getLogger("x").error("real", extra={"event": "false", "source": "shop"})
    (line,) = lines()

    assert (line["event"], line["event_"], line["source"]) == ("real", "false", "shop")


@pytest.mark.parametrize(
    ("message", "arguments", "extra"),
    [
        (SECRET, (), {}),
        ("token %s", (SECRET,), {}),
        ("token %s", (SECRET.encode().hex(),), {}),
        ("a\nb %r", ([SECRET],), {}),
        ("fields", (), {"nested": {"list": [SECRET], SECRET: 1}}),
        ("objects", (), {"error": ValueError(SECRET), "raw": SECRET.encode()}),
    ],
)
def test_no_secret_reaches_a_line(capsys, message, arguments, extra):
    logs.configure_logs()

    logging.getLogger("x").error(message, *arguments, extra=extra)
    text = capsys.readouterr().err

    assert text.count("\n") == 1
    assert "hunter2" not in text
    assert SECRET.encode().hex() not in text


def test_a_secret_number_is_masked_and_the_line_stays_json(lines):
    logs.configure_logs()
    logs.protect(123456)

    logs.event("progress", account=123456, records=1234567, rate=1.5, done=True)
    (line,) = lines()

    assert (line["account"], line["records"], line["rate"]) == ("***", 1234567, 1.5)


def _fail_twice():
    try:
        json.loads(SECRET)
    except ValueError as cause:
        message = f"outer {SECRET}"
        raise RuntimeError(message) from cause


def test_a_traceback_is_one_line_with_causes_and_without_secrets(capsys):
    logs.configure_logs()
    try:
        _fail_twice()
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    text = capsys.readouterr().err
    exception = json.loads(text)["exception"]

    assert text.count("\n") == 1
    assert "hunter2" not in text
    assert (exception["type"], exception["message"]) == ("builtins.RuntimeError", "outer ***")
    assert "Expecting value" in exception["cause"]["message"]
    assert "test_logs.py" in exception["frames"][0]


def test_what_nobody_catches_is_logged(lines):
    logs.configure_logs()
    error = ValueError(SECRET)
    sys.excepthook(type(error), error, error.__traceback__)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    (line,) = lines()

    assert (line["level"], line["event"]) == ("critical", "uncaught ValueError")
    assert line["exception"]["message"] == "***"


@pytest.mark.parametrize(("error", "count"), [(ValueError(SECRET), 1), (SystemExit(0), 0)])
def test_what_ends_a_thread_is_logged(lines, error, count):
    logs.configure_logs()

    def fail():
        raise error

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

    assert len(lines()) == count


def test_warnings_are_logged_too(lines):
    logs.configure_logs()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"old {SECRET}", UserWarning, stacklevel=1)
    (line,) = lines()

    assert line["logger"] == "py.warnings"
    assert "old ***" in line["event"]


def test_configuring_twice_writes_each_line_once(lines):
    logs.configure_logs(source="a")
    logs.configure_logs(source="b")

    logging.getLogger("x").error("once")

    assert [line["source"] for line in lines()] == ["b"]


def test_a_given_stream_is_used(tmp_path):
    with (tmp_path / "log").open("w+") as stream:
        logs.configure_logs(stream=stream)
        logging.getLogger("x").error("there")
        stream.seek(0)

        assert json.loads(stream.read())["event"] == "there"


def test_values_that_cannot_be_written_do_not_stop_the_program(lines):
    logs.configure_logs()
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if isinstance(one, logs._JsonHandler)]
    deep = nested = {}
    for _ in range(30):
        nested["in"] = nested = {}

    logs.event("odd", surrogate="\ud800", long="x" * 20_000, deep=deep, raw=b"123", many={1})
    logging.getLogger("x").error("%d", "not a number")
    odd, broken = lines()

    assert odd["surrogate"] == "?"
    assert odd["long"].endswith("(20000 characters)")
    assert odd["raw"] == "(3 bytes)"
    assert odd["many"] == [1]
    assert broken["event"] == "%d"


def test_a_line_that_fails_says_so_without_the_values(lines):
    logs.configure_logs()

    class Bad:
        def __str__(self):
            raise RuntimeError(SECRET)

    logging.getLogger("x").error("bad", extra={"value": Bad()})
    (line,) = lines()

    assert line == {
        "level": "error",
        "event": "log line lost",
        "logger": "x",
        "error": "RuntimeError",
    }


def test_stack_and_prepared_exception_texts_are_kept(lines):
    logs.configure_logs()
    logging.getLogger("x").error("with stack", stack_info=True)
    record = logging.makeLogRecord({"levelno": 30, "msg": "from elsewhere", "exc_text": SECRET})
    logging.getLogger("x").handle(record)
    first, second = lines()

    assert "Stack (most recent call last)" in first["stack"]
    assert second["exception"] == "***"


@pytest.mark.parametrize(
    "form", ["%(message)s", '{"message": "%(message)s", "n": 1}', "{%(message)s"]
)
def test_foreign_handlers_lose_the_secrets(tmp_path, form):
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(logging.Formatter(form))
    logger = logging.getLogger("with.own.handler")
    logger.addHandler(handler)
    logs.configure_logs()
    logs.configure_logs()
    logger.error("say %s", SECRET)
    logger.removeHandler(handler)
    handler.close()

    text = (tmp_path / "log").read_text()

    assert "say ***" in text
    assert "hunter2" not in text


TAP = f"""
import sys
from ipai_kit.logs import configure_logs, event, protect
from singer_sdk import Stream, Tap

class Numbers(Stream):
    name = "numbers"
    schema = {{"type": "object", "properties": {{"id": {{"type": "integer"}}}}}}
    def get_records(self, context):
        event("progress", stream="numbers", records=1)
        self.logger.info("with {SECRET}")
        yield {{"id": 1}}
        if self.config.get("fail"):
            raise ValueError("{SECRET}")

class TapNumbers(Tap):
    name = "tap-numbers"
    config_jsonschema = {{"type": "object", "properties": {{"fail": {{"type": "boolean"}}}}}}
    @classmethod
    def get_singer_command(cls):
        configure_logs(source="numbers")
        protect("{SECRET}")
        return super().get_singer_command()
    def discover_streams(self):
        return [Numbers(self)]

TapNumbers.cli()
"""


def _run(tmp_path, *arguments, **environment):
    (tmp_path / "numbers_tap.py").write_text(TAP)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SINGER_SDK")}
    return subprocess.run(
        [sys.executable, "numbers_tap.py", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "IPAI_RUN_ID": "run-1", **environment},
    )


def test_singer_sdk_logs_and_metrics_are_json_under_its_own_command_line(tmp_path):
    done = _run(tmp_path)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    metrics = {line["metric"]: line for line in found if line["event"] == "metric"}

    assert done.returncode == 0
    assert '"id":1' in done.stdout.replace(" ", "")
    assert all({"ts", "level", "event", "logger"} <= set(line) for line in found)
    assert {line["run_id"] for line in found} == {"run-1"}
    assert {line["source"] for line in found} == {"numbers"}
    assert metrics["record_count"]["value"] == 1
    assert metrics["sync_duration"]["stream"] == "numbers"
    assert "hunter2" not in done.stderr


def test_an_error_of_the_tap_is_one_json_line(tmp_path):
    (tmp_path / "config.json").write_text('{"fail": true}')

    done = _run(tmp_path, "--config", "config.json")
    found = [json.loads(line) for line in done.stderr.splitlines()]
    failures = [line for line in found if "exception" in line]

    assert done.returncode == 1
    assert failures[-1]["exception"]["message"] == "***"
    assert "hunter2" not in done.stderr


def test_the_log_configuration_of_singer_sdk_wins_but_loses_the_secrets(tmp_path):
    (tmp_path / "logging.yaml").write_text(f"""
version: 1
disable_existing_loggers: true
formatters: {{json: {{(): {FORMATTER}, defaults: {{run_id: from-meltano}}}}}}
handlers: {{out: {{class: logging.StreamHandler, formatter: json, stream: ext://sys.stderr}}}}
root: {{level: INFO, handlers: [out]}}
""")

    done = _run(tmp_path, SINGER_SDK_LOG_CONFIG=str(tmp_path / "logging.yaml"))
    found = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.returncode == 0
    assert {line["extra"]["run_id"] for line in found} == {"from-meltano"}
    assert any(line["message"] == "progress" for line in found)
    assert "hunter2" not in done.stderr
