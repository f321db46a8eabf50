# SPDX-License-Identifier: Apache-2.0
"""What workers report of a run that does not fit: refused in words, or put right and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.control_plane.storable import storable_json, storable_text
from ipai_orchestrate.exceptions import RefusedError


@pytest.fixture
def run(control_plane: ControlPlane, make_instance: Callable[..., str]) -> ClaimedRun:
    claimed = control_plane.claim(control_plane.enqueue(make_instance()), "worker")
    assert claimed is not None
    return claimed


def test_a_figure_below_zero_is_refused(control_plane: ControlPlane, run: ClaimedRun) -> None:
    for figure in ("received", "inserted", "updated", "unchanged", "dead", "requests", "bytes"):
        with pytest.raises(RefusedError, match="of stream 'issues' is below zero") as caught:
            control_plane.record_streams(run, [{"stream": "issues", figure: -1}])
        assert "totals since the run began" in caught.value.hint, figure


def test_log_lines_with_times_that_are_none_are_kept_as_of_now(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    far = "2026-01-01T00:00:00+99:00"
    odd = ["yesterday-ish", "2026-13-45", "1700000000", "", "infinity", far, 5]
    control_plane.append_logs(run, [{"message": "before"}])
    control_plane.append_logs(run, [{"at": at, "message": str(at)} for at in odd])

    first, *lines = control_plane.logs(run.id)
    assert [line.message for line in lines] == [str(at) for at in odd]
    assert all(line.at >= first.at for line in lines)


def test_what_cannot_be_stored_is_replaced_and_no_line_is_lost(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    odd = {"message": "a\0b\ud800c \\u0000", "stream": "s\0", "fields": {"k\0": ["\0\0"]}}
    control_plane.append_logs(run, [{"message": "before"}, odd, {"message": "after"}])
    control_plane.record_streams(run, [{"stream": "issues", "skipped_reason": "no\0reason"}])
    control_plane.fail(run, "internal", "It said \0 and \udfff.", 70)

    before, line, after = control_plane.logs(run.id)
    assert (before.message, after.message) == ("before", "after")
    assert (line.message, line.stream) == ("a\ufffdb?c \\u0000", "s\ufffd")
    assert line.fields == {"k\ufffd": ["\ufffd\ufffd"]}
    assert control_plane.run_status(run.id).error_summary == "It said \ufffd and ?."


def test_what_can_be_stored_stays_as_it_is() -> None:
    text = "grün \\u0000 \\\\u0000 \U0001f600"

    assert storable_text(text) == text
    stored = storable_json([text])
    assert stored.dumps is not None
    assert json.loads(stored.dumps(stored.obj)) == [text]


def test_no_run_is_told_in_words(connection: psycopg.Connection[Any]) -> None:
    for function in ("append_connector_logs", "record_run_streams", "record_run_usage"):
        call = f"select connectors.{function}(null, gen_random_uuid(), '[]')"
        with pytest.raises(psycopg.Error, match="No run is named") as caught:
            connection.execute(call.encode())
        assert caught.value.sqlstate == "PT422", function
