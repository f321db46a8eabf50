# SPDX-License-Identifier: Apache-2.0
"""What is shown of a run while it happens and when it has ended."""

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from ipai_orchestrate.cli.output import ago
from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.outcome import Failure
from ipai_orchestrate.pipeline.runner import RunResult
from ipai_orchestrate.pipeline.tally import StreamTally, Tally
from ipai_orchestrate.progress import (
    JsonProgress,
    LiveProgress,
    Rates,
    duration,
    progress_for,
    quota_left,
    seconds_left,
    stream_notes,
)
from ipai_orchestrate.report import as_record, show_run


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def screen(height=40, *, terminal=True):
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, height=height)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3600, "1:00:00"), (7325, "2:02:05")]
)
def test_durations_read_as_people_write_them(seconds, text):
    assert text == duration(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (59, "59 s ago"), (600, "10 min ago"), (7200, "2 h ago"), (2e5, "2 d ago")],
)
def test_past_moments_read_as_people_say_them(seconds, text):
    moment = datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds, UTC)

    assert text == ago(moment)
    assert "" == ago(None)


def test_speed_is_that_of_the_last_seconds():
    clock = Clock()
    rates = Rates(clock)
    for _ in range(10):
        rates.add(StreamTally("issues", read=int(clock.now - 100) * 50))
        clock.now += 1
    running = rates.rate("issues")
    clock.now += 60
    rested = rates.rate("issues")

    assert 40 <= running <= 60
    assert 0 == rested == rates.rate("unknown")


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        ([], None),
        ([StreamTally("a")], None),
        ([StreamTally("a", partitions_done=0, partitions_total=10)], None),
        ([StreamTally("a", partitions_done=5, partitions_total=10)], 20.0),
        (
            [
                StreamTally("a", partitions_done=10, partitions_total=10),
                StreamTally("b", partitions_done=0, partitions_total=10),
            ],
            20.0,
        ),
    ],
)
def test_the_time_to_go_is_known_where_the_parts_are_counted(streams, expected):
    assert expected == seconds_left(streams, 20.0)


def test_the_quota_left_is_the_smallest_that_is_known():
    streams = [StreamTally("a"), StreamTally("b", quota_remaining=7), StreamTally("c")]

    assert 7 == quota_left(streams)
    assert quota_left([StreamTally("a")]) is None


def test_notes_say_what_figures_do_not():
    streams = [
        StreamTally("a", skips=1, skipped_reason="No permission."),
        StreamTally("b", skips=3, skipped_reason="Gone."),
        StreamTally("c", dead=1200),
        StreamTally("d", retired=2),
    ]

    assert [
        "a: one part left out. No permission.",
        "b: 3 parts left out. Gone.",
        "c: 1,200 records could not be stored and are in the dead letters.",
        "d: 2 rows are gone at the source and marked as deleted.",
    ] == stream_notes(streams)


def busy_tally(count=2):
    tally = Tally()
    for number in range(count):
        name = f"stream_{number}"
        tally.streams[name] = StreamTally(
            name,
            read=10,
            received=10,
            inserted=10,
            requests=3,
            quota_remaining=4000,
            partitions_done=1,
            partitions_total=100,
        )
    return tally


def test_a_terminal_shows_figures_in_place_and_problems_above_them(monkeypatch):
    console = screen()
    live = LiveProgress(console)
    live._started -= 30
    with live:
        live.started("run-1", "github-acme", "full_table")
        live.said(LogLine("tap", "all is well"))
        live.said(LogLine("runner", "all is lost", "error"))
        live.said(LogLine("tap", "slow today", "warning", "issues"))
        live.said(LogLine("tap", "stream_skipped", stream="teams", fields={"reason": "No scope."}))
        gone = {"reason": "Gone.", "url": "https://api.example/repos/a/b/issues?page=1"}
        live.said(LogLine("tap", "stream_skipped", stream="issues", fields=gone))
        live.counted(busy_tally())
        live._live.refresh()
        live.transforming(1)
        live.said(LogLine("dbt", "3 of 90 START model", "debug"))
        live._live.refresh()
    shown = console.file.getvalue()

    for words in (
        "Syncing github-acme (full table), run run-1",
        "20 rows in Bronze · 6 requests · quota left 4,000 · about",
        "tap/issues: ",
        "slow today",
        "left out: No scope.",
        "left out: Gone. (/repos/a/b/issues)",
        "stream_1",
        "Building Silver and Gold from 1 stream, 3 of 90",
    ):
        assert words in shown, words
    assert "all is well" not in shown
    assert "all is lost" not in shown


def test_a_low_terminal_shows_the_busiest_streams_and_counts_the_others():
    console = screen(height=10)
    with LiveProgress(console, verbose=True) as live:
        live.said(LogLine("tap", "all is well"))
        live.counted(busy_tally(30))
        live._live.refresh()
    shown = console.file.getvalue()

    assert "and 26 more streams" in shown
    assert "all is well" in shown


def test_machines_get_a_line_for_each_log_line_and_one_a_second_for_each_stream():
    out, clock = io.StringIO(), Clock()
    tally = busy_tally(1)
    with JsonProgress(out, clock) as progress:
        progress.started("run-1", "github-acme", "incremental")
        progress.counted(tally)
        tally.streams["stream_0"] = StreamTally("stream_0", read=11)
        progress.counted(tally)
        clock.now += 1
        progress.counted(tally)
        progress.counted(tally)
        progress.said(LogLine("tap", "hello", stream="issues", fields={"source": "x", "n": 1}))
        progress.said(LogLine("tap", "detail", "debug"))
        progress.transforming(2)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]

    assert ["run_started", "progress", "progress", "hello", "transform_started"] == [
        line["event"] for line in lines
    ]
    assert {"run-1"} == {line["run_id"] for line in lines}
    assert [10, 11] == [line["read"] for line in lines if line["event"] == "progress"]
    assert ("tap", "issues", 1) == (lines[3]["source"], lines[3]["stream"], lines[3]["n"])


@pytest.mark.parametrize(
    ("terminal", "log_format", "kind"),
    [
        (True, "auto", LiveProgress),
        (False, "auto", JsonProgress),
        (True, "json", JsonProgress),
        (False, "table", LiveProgress),
    ],
)
def test_who_watches_decides_how_a_run_is_shown(terminal, log_format, kind):
    assert isinstance(progress_for(screen(terminal=terminal), log_format=log_format), kind)


@pytest.mark.parametrize(
    ("failure", "words", "status"),
    [
        (
            None,
            "Succeeded: 20 rows in 0:05: 20 new, 0 changed, 0 the same, 6 requests",
            "succeeded",
        ),
        (
            Failure("cancelled", "Stopped by SIGINT.", 130),
            "\nStopped by SIGINT.",
            "cancelled",
        ),
        (Failure("configuration", "Bad.", 78), "ipai instance set github-acme --help", "failed"),
        (Failure("tap", "Broken.", 1), "ipai logs run-1", "failed"),
        (
            Failure("try_again_later", "Spent.", 75, datetime(2030, 1, 1, tzinfo=UTC)),
            "Not before: 2030-01-01 00:00:00 UTC",
            "failed",
        ),
    ],
)
def test_the_end_of_a_run_is_told_with_the_next_step(failure, words, status):
    result = RunResult("run-1", "github-acme", "incremental", 5.2, busy_tally(), failure)
    console = screen(terminal=False)
    show_run(console, result)

    assert words in console.file.getvalue()
    assert status == as_record(result)["status"]
