# SPDX-License-Identifier: Apache-2.0
"""Reading what dbt says and leaves behind."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from ipai_orchestrate.transform.results import (
    DbtEvent,
    NodeResult,
    TransformResult,
    first_error,
    parse_event,
    read_run_results,
)


def line(message: str, name: str = "LogModelResult", **node: str) -> str:
    info = {"level": "info", "msg": message, "name": name, "ts": "2026-01-05T10:00:00.5Z"}
    return json.dumps({"info": info, "data": {"node_info": node} if node else {}})


def node(status: str, kind: str = "model", rows: int | None = 3) -> NodeResult:
    return NodeResult("github_issues", kind, status, 0.5, rows, f"text of {status}")


def test_a_log_line_becomes_an_event() -> None:
    event = parse_event(line("OK created", node_name="github_issues", node_status="success"))

    assert event == DbtEvent(
        level="info",
        message="OK created",
        name="LogModelResult",
        at=datetime(2026, 1, 5, 10, 0, 0, 500_000, UTC),
        node="github_issues",
        status="success",
    )


def test_empty_lines_say_nothing() -> None:
    assert parse_event("\n") is None
    assert parse_event(line("  ")) is None
    assert parse_event(line("", name="Formatting")) is None


def test_foreign_output_is_an_error() -> None:
    for text in ("Traceback (most recent call last):", "[1, 2]", '{"info": {}}'):
        assert parse_event(text) == DbtEvent(level="error", message=text, name="Output")


def test_colours_are_taken_out_of_messages() -> None:
    event = parse_event(line("\x1b[31mactual\x1b[0m differs"))

    assert event is not None
    assert event.message == "actual differs"


def test_run_results_become_values(tmp_path: Path) -> None:
    results = [
        {
            "unique_id": "model.ipai.github_issues",
            "status": "success",
            "execution_time": 0.25,
            "adapter_response": {"rows_affected": 7},
            "message": "INSERT 0 7",
            "relation_name": '"db"."ipai_silver_devops"."github_issues"',
        },
        {
            "unique_id": "model.ipai.gold_devops_ci_health",
            "status": "success",
            "execution_time": 0.1,
            "adapter_response": {"rows_affected": -1},
        },
        {
            "unique_id": "test.ipai.within_range.0a1b",
            "status": "fail",
            "execution_time": 0.1,
            "failures": 2,
            "message": "Got 2 results, \x1b[31mexpected\x1b[0m 0",
        },
    ]
    path = tmp_path / "run_results.json"
    path.write_text(json.dumps({"results": results}))

    issues, health, test = read_run_results(path)

    assert (issues.name, issues.kind, issues.rows, issues.message) == (
        "github_issues",
        "model",
        7,
        None,
    )
    assert health.rows is None
    assert (test.name, test.failed, test.rows) == ("within_range", True, 2)
    assert test.message == "Got 2 results, expected 0"


def test_no_run_results_are_no_nodes(tmp_path: Path) -> None:
    assert read_run_results(tmp_path / "run_results.json") == ()


def test_the_summary_tells_what_matters() -> None:
    passed = node("pass", "test", 0)
    cases = {
        "dbt was not started: why": TransformResult(ok=True, skipped="why"),
        "dbt built 1 models, 3 rows written, 1 tests passed, in 2.0 s": TransformResult(
            ok=True, nodes=(node("success"), passed), seconds=2.0
        ),
        "1 of 2 failed; github_issues: text of error": TransformResult(
            ok=False, nodes=(passed, node("error"))
        ),
        "dbt failed: no such model": TransformResult(ok=False, error="no such model"),
        "dbt failed: exit code 2": TransformResult(ok=False, exit_code=2),
    }
    for text, result in cases.items():
        assert result.summary() == text


def test_rows_of_failed_models_do_not_count() -> None:
    assert TransformResult(ok=False, nodes=(node("error"), node("success"))).rows == 3


def test_the_first_errors_are_kept_as_the_reason() -> None:
    events = [DbtEvent("info", "hello"), DbtEvent("error", "bad"), DbtEvent("error", "worse")]

    assert first_error(events) == "bad\nworse"
    assert first_error(events[:1]) is None
