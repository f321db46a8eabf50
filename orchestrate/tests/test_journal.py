# SPDX-License-Identifier: Apache-2.0
"""Events of long-running processes: lines for machines and for people."""

import io
import json
import re

from ipai_orchestrate.journal import Journal, RunJournal
from ipai_orchestrate.pipeline.log_line import LogLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_machine_gets_one_json_object_per_event():
    stream = io.StringIO()
    Journal(stream, as_json=True, worker="w").say("run_ended", "error", rows=3, error=None)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)

    assert ("run_ended", "error", 3, "w") == tuple(
        event[key] for key in ("event", "level", "rows", "worker")
    )
    assert "error" not in {key for key in event if key != "level"}


def test_a_person_gets_a_plain_line_with_colour_on_a_terminal_only():
    plain, coloured = io.StringIO(), Terminal()
    Journal(plain, as_json=False, worker="w").say("claim_failed", "warning", error="away")
    Journal(coloured, as_json=False).say("claim_failed", "warning")

    assert re.fullmatch(r"\d\d:\d\d:\d\d claim_failed error=away\n", plain.getvalue())
    assert "\x1b[33mclaim_failed\x1b[0m" in coloured.getvalue()


def test_of_a_run_only_what_went_wrong_is_told():
    stream = io.StringIO()
    journal = RunJournal(Journal(stream, as_json=True), "r", "i")
    journal.said(LogLine("tap", "broken", "error", "issues"))
    journal.said(LogLine("tap", "slow", "warning"))
    journal.said(LogLine("runner", "broken", "error"))
    journal.transforming(2)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [("run_said", "broken"), ("transform_started", None)] == [
        (one["event"], one.get("message")) for one in events
    ]
    assert {("r", "i")} == {(one["run_id"], one["instance_id"]) for one in events}
