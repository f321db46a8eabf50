# SPDX-License-Identifier: Apache-2.0
"""The parts of a run that need no process: log lines, figures, outcomes, settings, selection."""

import json
from datetime import UTC, datetime

import pytest

from ipai_kit.spec import ConnectorSpec, Setting
from ipai_kit.spec.model import Api, AuthMethod, TermsOfService
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    DatabaseUnavailableError,
    LeaseLostError,
    OrchestrateError,
    SecretError,
)
from ipai_orchestrate.pipeline.log_line import LogLine, LogParser, parse_line
from ipai_orchestrate.pipeline.outcome import class_of, judge
from ipai_orchestrate.pipeline.selection import only, stream_names
from ipai_orchestrate.pipeline.settings import refuse_literal_secrets, resolve, within_quota
from ipai_orchestrate.pipeline.tally import Tally
from ipai_orchestrate.pipeline.transfer import Ending
from ipai_orchestrate.pipeline.workdir import abandoned_runs, work_directory


@pytest.fixture
def spec():
    return ConnectorSpec(
        spec_version=1,
        name="ipai_connector_demo",
        source_type="demo",
        title="Demo",
        domain="devops",
        api=Api(version="1", docs_url="https://d", sunset=None, base_urls=("https://a",)),
        tos=TermsOfService(url="https://t", reviewed_at=datetime(2026, 1, 1, tzinfo=UTC).date()),
        auth_methods=(
            AuthMethod(type="bearer", settings=("auth_token",)),
            AuthMethod(type="github_app", settings=("app_id", "app_private_key")),
        ),
        sync_mode="incremental",
        schedule="0 * * * *",
        streams=(),
        settings={
            "auth_token": Setting(type="string", description="", secret=True, env="DEMO_TOKEN"),
            "tokens": Setting(type="array", description="", secret=True),
            "app_id": Setting(type="string", description=""),
            "app_private_key": Setting(
                type="string", description="", secret=True, env="DEMO_APP_KEY"
            ),
            "repositories": Setting(type="array", description=""),
        },
    )


@pytest.mark.parametrize(
    ("text", "level", "message", "stream", "fields"),
    [
        (
            '{"event": "flushed", "level": "debug", "stream": "issues", "rows": 3}',
            "debug",
            "flushed",
            "issues",
            {"rows": 3},
        ),
        ('{"message": "hello", "level": "WARN"}', "warning", "hello", None, {}),
        (
            '{"event": "failed", "message": "No access.", "next_step": "Ask.", "exit_code": 77}',
            "error",
            "No access. Ask.",
            None,
            {"event": "failed", "message": "No access.", "next_step": "Ask.", "exit_code": 77},
        ),
        ('{"msg": "odd level", "level": "loud"}', "info", "odd level", None, {}),
        ("{not json", "info", "{not json", None, {}),
        ("2026-01-01 10:00:00,1 | WARNING  | tap | slow", "warning", None, None, {}),
        ("just words about an ERROR", "error", "just words about an ERROR", None, {}),
    ],
)
def test_every_line_of_a_connector_becomes_a_structured_one(text, level, message, stream, fields):
    line = parse_line("tap", text)

    assert (level, message or text, stream, fields) == (
        line.level,
        line.message,
        line.stream,
        line.fields,
    )


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-01-01T10:00:00Z", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("2026-01-01T10:00:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
    ],
)
def test_a_line_keeps_the_time_it_was_written(timestamp, expected):
    assert expected == parse_line("tap", json.dumps({"event": "x", "timestamp": timestamp})).at


def test_a_traceback_becomes_one_line_named_for_its_error():
    said = []
    parser = LogParser("tap", said.append)
    for text in (
        "before",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "ValueError: bad",
        "after",
        "Traceback (most recent call last):",
        "  cut off",
    ):
        parser.feed(text.encode())
    parser.finish()
    parser.finish()

    assert [
        ("info", "before"),
        ("error", "ValueError: bad"),
        ("info", "after"),
        ("error", "  cut off"),
    ] == [(line.level, line.message) for line in said]
    assert 3 == len(said[1].fields["traceback"].splitlines())


def test_rows_are_counted_from_what_the_target_committed():
    tally = Tally()
    heard = [
        tally.hear(line)
        for line in (
            LogLine("tap", "progress", stream="issues", fields={"records": 10, "requests": 2}),
            LogLine(
                "target",
                "flushed",
                stream="issues",
                fields={"received": 5, "inserted": 4, "updated": 1},
            ),
            LogLine(
                "target",
                "flushed",
                stream="issues",
                fields={"received": 5, "inserted": 2, "unchanged": 3},
            ),
            LogLine(
                "target",
                "flushed",
                stream="labels",
                fields={"received": 4, "unchanged": 3, "dead": 1},
            ),
            LogLine("tap", "stream_skipped", stream="teams", fields={"reason": "no scope"}),
            LogLine("tap", "stream_skipped", stream="teams", fields={"reason": "later"}),
            LogLine("tap", "hello", stream="issues"),
            LogLine("tap", "progress"),
        )
    ]

    assert [True] * 6 + [False] * 2 == heard
    assert (13, ["issues"]) == (tally.rows, tally.changed_streams())
    assert (10, 2, 10) == (
        tally.streams["issues"].read,
        tally.streams["issues"].requests,
        tally.streams["issues"].rows,
    )
    assert ("no scope", 2) == (tally.streams["teams"].skipped_reason, tally.streams["teams"].skips)


@pytest.mark.parametrize(
    ("tap", "target", "error_class", "exit_code"),
    [
        (0, 0, None, None),
        (78, 0, "configuration", 78),
        (77, 0, "credentials", 77),
        (75, 0, "try_again_later", 75),
        (70, 0, "internal", 70),
        (1, 0, "tap", 1),
        (-9, 0, "tap", 1),
        (0, 65, "dead_letters", 65),
        (0, 70, "internal", 70),
        (0, 3, "target", 1),
        (1, -9, "target", 1),
        (-15, 1, "target", 1),
        (77, 1, "credentials", 77),
        (1, 65, "tap", 1),
    ],
)
def test_the_cause_of_a_failure_decides_class_and_exit_code(tap, target, error_class, exit_code):
    failure = judge(Ending(tap, target, stopped=False), {})

    assert (error_class, exit_code) == (
        (failure.error_class, failure.exit_code) if failure else (None, None)
    )


def test_a_failure_says_what_the_connector_said_and_when_to_come_back():
    said = LogLine("tap", "Quota spent.", "error", fields={"retry_at": "2026-01-01T10:00:00+00:00"})
    failure = judge(Ending(75, 0, stopped=False), {"tap": said})

    assert ("Quota spent.", datetime(2026, 1, 1, 10, tzinfo=UTC)) == (
        failure.summary,
        failure.retry_at,
    )


def test_a_killed_connector_is_named_with_its_signal():
    assert "The tap was killed by SIGKILL" in judge(Ending(-9, 0, stopped=False), {}).summary


@pytest.mark.parametrize(
    "config",
    [
        {"auth_token": "s3cret"},
        {"tokens": ["${A}", "s3cret"]},
        {"unknown_password": "s3cret"},
        {"api_url": "https://user:s3cret@host/"},
        {"repositories": ["ghp_" + "a" * 36]},
    ],
)
def test_a_literal_secret_is_refused_by_name_without_repeating_it(spec, config):
    with pytest.raises(ConfigurationError) as refused:
        refuse_literal_secrets(spec, config)

    assert next(iter(config)) in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert "${" in str(refused.value)


@pytest.mark.parametrize(
    "config",
    [
        {"auth_token": "${DEMO_TOKEN}", "repositories": ["a/b"]},
        {"auth_token": "${secret:github-acme/token}"},
        {"tokens": ["${A}", "${secret:b}"]},
        {"nested": {"password": "${A}", "page": 3}},
        {},
    ],
)
def test_a_reference_may_be_stored(spec, config):
    refuse_literal_secrets(spec, config)


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        ({"auth_token": "${T}"}, {"T": "x"}, {"auth_token": "x"}),
        (
            {"tokens": ["${T}"], "n": {"p": "${T}", "q": 1}},
            {"T": "x"},
            {"tokens": ["x"], "n": {"p": "x", "q": 1}},
        ),
        ({"repositories": ["a"]}, {"DEMO_TOKEN": "x"}, {"repositories": ["a"], "auth_token": "x"}),
        ({"auth_token": "${T}"}, {"DEMO_TOKEN": "no", "T": "x"}, {"auth_token": "x"}),
        (
            {"app_id": "1"},
            {"DEMO_TOKEN": "no", "DEMO_APP_KEY": "k"},
            {"app_id": "1", "app_private_key": "k"},
        ),
    ],
)
def test_references_are_resolved_when_a_run_starts(spec, config, environment, expected):
    assert expected == resolve(spec, config, environment)


@pytest.mark.parametrize(
    ("config", "quota", "expected"),
    [
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, {"requests_per_second": None, "reset_at": "2030"}, {"a": 1}),
        (
            {"concurrency": 2, "requests_per_second": 200},
            {"requests_per_second": 7.5, "concurrency": 4, "requests_total": 100},
            {"concurrency": 2, "requests_per_second": 7.5, "requests_per_run": 100},
        ),
        ({"concurrency": "many"}, {"concurrency": 4}, {"concurrency": 4}),
    ],
)
def test_a_run_asks_for_no_more_than_its_share(config, quota, expected):
    assert expected == within_quota(config, quota)


def test_secrets_of_the_vault_are_asked_for_once_and_together(spec):
    asked = []

    def secrets(names):
        asked.append(names)
        return {name: f"value of {name}" for name in names}

    config = {
        "auth_token": "${secret:a/b}",
        "tokens": ["${secret:c}", "${secret:a/b}", "${T}", "${secret:}", "x ${secret:d}"],
    }
    resolved = resolve(spec, config, {"T": "t"}, secrets)

    assert [["a/b", "c"]] == asked
    assert {
        "auth_token": "value of a/b",
        "tokens": ["value of c", "value of a/b", "t", "${secret:}", "x ${secret:d}"],
    } == resolved


def test_where_there_is_no_vault_a_reference_to_it_is_refused(spec):
    with pytest.raises(ConfigurationError, match="'a/b' of the vault cannot be read here"):
        resolve(spec, {"auth_token": "${secret:a/b}"}, {})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SecretError("x"), "configuration"),
        (DatabaseUnavailableError("x"), "database"),
        (LeaseLostError("x"), "worker_lost"),
        (OrchestrateError("x"), "internal"),
    ],
)
def test_a_run_that_cannot_begin_has_the_class_of_its_reason(error, kind):
    assert kind == class_of(error)


def test_a_reference_to_nothing_is_named(spec):
    with pytest.raises(ConfigurationError, match="not set: NOT_THERE"):
        resolve(spec, {"auth_token": "${NOT_THERE}"}, {})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"quota_remaining": 7, "quota_resets_in": 600.5}, {"remaining": 7, "reset_in": 600.5}),
        ({"quota_remaining": 0, "quota_resets_in": 60}, {"remaining": 0, "reset_in": 60}),
        ({"quota_remaining": None, "quota_resets_in": None}, {}),
        ({"quota_remaining": 7}, {}),
        ({"quota_remaining": "7", "quota_resets_in": 60}, {}),
        ({"quota_remaining": True, "quota_resets_in": 60}, {}),
        ({"quota_remaining": 7, "quota_resets_in": float("nan")}, {}),
        ({"quota_remaining": 7, "quota_resets_in": float("inf")}, {}),
        ({"quota_remaining": 7, "quota_resets_in": -1}, {}),
    ],
)
def test_what_is_left_of_a_quota_is_told_with_its_end_or_not_at_all(fields, expected):
    tally = Tally()
    tally.hear(LogLine("tap", "progress", stream="issues", fields=fields))
    tally.hear(LogLine("tap", "progress", stream="labels", fields={"records": 1}))

    assert expected == tally.quota


CATALOG = {
    "streams": [
        {
            "stream": "issues",
            "metadata": [{"breadcrumb": [], "metadata": {"inclusion": "available"}}],
        },
        {"tap_stream_id": "labels"},
    ]
}


def test_only_the_named_streams_are_selected():
    selected = only(CATALOG, ["labels"])["streams"]

    assert [False, True] == [entry["selected"] for entry in selected]
    assert {"inclusion": "available", "selected": False} == selected[0]["metadata"][0]["metadata"]
    assert "selected" not in CATALOG["streams"][0]


def test_an_unknown_stream_is_told_with_the_known_ones():
    assert ["issues", "labels"] == stream_names(CATALOG)
    with pytest.raises(ConfigurationError, match=r"'isues'.*issues, labels"):
        only(CATALOG, ["isues"])


def test_a_work_directory_is_private_and_gone_at_the_end(tmp_path):
    with work_directory(tmp_path, "run-1", "token") as path:
        mode = path.stat().st_mode & 0o777
        with abandoned_runs(tmp_path) as found:
            meanwhile = list(found)

    assert (0o700, [], []) == (mode, meanwhile, list(tmp_path.iterdir()))


def test_what_a_killed_runner_left_is_found_with_its_lease_and_removed(tmp_path):
    left = tmp_path / "run-2"
    left.mkdir()
    (left / "runner.lock").write_text('{"run_id": "run-2", "lease_token": "token"}')
    (tmp_path / "run-3").mkdir()
    (tmp_path / ".new-run-4").mkdir()
    with abandoned_runs(tmp_path) as found:
        runs = [(run.run_id, run.lease_token) for run in found]

    assert [("run-2", "token")] == runs
    assert [".new-run-4", "run-3"] == sorted(p.name for p in tmp_path.iterdir())


def test_what_a_killed_check_left_is_removed_without_a_lease(tmp_path):
    left = tmp_path / "check-1"
    left.mkdir()
    (left / "runner.lock").write_text('{"run_id": "check-1", "lease_token": ""}')
    with abandoned_runs(tmp_path) as found:
        assert [] == found

    assert not left.exists()


def test_what_was_left_stays_when_it_could_not_be_closed(tmp_path):
    left = tmp_path / "run-2"
    left.mkdir()
    (left / "runner.lock").write_text("damaged")
    with pytest.raises(OSError, match="no database"), abandoned_runs(tmp_path) as found:
        assert [] == found
        raise OSError("no database")

    assert left.is_dir()
