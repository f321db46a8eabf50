# SPDX-License-Identifier: Apache-2.0
"""What the next run reads, and that no moment of ending a run loses anything."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipai_kit.testing import SandboxUrl, TapRun, run_tap, running_sandbox, selecting
from tap_github.tap import TapGitHub

Read = Callable[..., TapRun]

# What is removed at the source goes only when everything is read again.
WITH_REMOVALS = {"branches", "labels"}
# Lists that a run asks once for each repository, whatever the state.
LISTS_PER_REPOSITORY = 20


class EagerTap(TapGitHub):
    """Says after every step what is done."""

    state_interval = 0.0


def test_a_second_run_asks_little_and_repeats_nothing_but_boundaries(
    github: SandboxUrl, read: Read
) -> None:
    first = read()
    before = github.stats()
    second = read(state=first.state)
    after = github.stats()

    repositories = len(second.records["repositories"])
    repeated = {name: len(rows) for name, rows in second.records.items() if rows}
    by_commit = repeated.pop("commits") + repeated.pop("check_runs")
    assert by_commit <= 3 * len(github.records("commits"))  # the last 30 days
    whole = {"repositories": 8, "organizations": 1, "teams": 3}  # parents without a cursor
    assert repeated.items() >= whole.items()
    newest = 7  # one of each repository may stand at the bookmark
    boundary = {"pull_requests": newest, "workflow_runs": newest, "deployments": newest}
    children = {"pull_request_commits", "reviews", "workflow_jobs", "deployment_statuses"}
    assert set(repeated) - set(whole) <= set(boundary) | children
    assert all(repeated.get(stream, 0) <= most for stream, most in boundary.items())
    asked = after["requests"] - before["requests"]
    below = len(second.records["commits"]) + 4 * newest  # one request for each parent
    assert asked <= repositories * LISTS_PER_REPOSITORY + below + 10


def test_every_change_arrives_with_the_next_run(
    github: SandboxUrl, read: Read, landing: Any
) -> None:
    run = read()
    landing.take(run)
    for _ in range(3):
        github.advance(2)
        run = read(state=run.state)
        landing.take(run)

    assert set(landing.differences(github)) <= WITH_REMOVALS


def test_a_full_refresh_reads_everything_again(
    github: SandboxUrl, read: Read, landing: Any
) -> None:
    first = read()
    github.advance(3)
    again = read(state=first.state, full_refresh=True, emit_activate_version_messages=True)
    landing.take(again)
    activated = {one["stream"] for one in again.messages if one["type"] == "ACTIVATE_VERSION"}

    assert landing.differences(github) == {}
    assert activated == set(again.schemas) - {"issues"}  # one repository refuses its issues


@pytest.mark.parametrize("stream", ["issues", "labels", "workflow_runs"])
def test_one_stream_alone_can_be_read_in_full(stream: str, github: SandboxUrl, read: Read) -> None:
    first = read(stream)
    again = read(stream, state=first.state, full_refresh=True)

    assert len(again.records[stream]) == len(github.records(stream))


def test_a_start_date_leaves_out_what_is_older(github: SandboxUrl, read: Read) -> None:
    start = "2025-05-01T00:00:00Z"
    records = read("issues", "pull_requests", "commits", "workflow_runs", start_date=start).records

    for stream, cursor in [
        ("issues", "updated_at"),
        ("pull_requests", "updated_at"),
        ("commits", "_committed_at"),
        ("workflow_runs", "updated_at"),
    ]:
        wanted = {one["node_id"] for one in github.records(stream) if one[cursor] >= start}
        assert {one["node_id"] for one in records[stream]} == wanted, stream


def test_a_run_started_again_weeks_later_is_found(github: SandboxUrl, read: Read) -> None:
    """GitHub filters runs by creation, which a new attempt does not change."""
    first = read("workflow_runs", "workflow_jobs")
    attempts = {one["id"]: one["run_attempt"] for one in first.records["workflow_runs"]}
    github.advance(1)
    second = read("workflow_runs", "workflow_jobs", state=first.state)
    again = [
        one
        for one in second.records["workflow_runs"]
        if one["run_attempt"] > attempts.get(one["id"], one["run_attempt"])
    ]
    jobs = {one["run_id"] for one in second.records["workflow_jobs"]}

    assert any(one["created_at"][:10] < one["updated_at"][:10] for one in again)
    assert {one["id"] for one in again} <= jobs


def test_a_child_that_is_selected_later_is_read_from_the_start(
    github: SandboxUrl, read: Read
) -> None:
    first = read("pull_requests")
    second = read("pull_requests", "reviews", state=first.state)

    assert len(second.records["reviews"]) == len(github.records("reviews"))


def test_records_keep_every_field_that_was_sent(github: SandboxUrl, read: Read) -> None:
    github.fault("retype", match="GET /repos/*/renamed/labels", field="color", to="object")
    labels = read("labels").records["labels"]

    assert any(isinstance(one["color"], dict) for one in labels)


def cut_after(run: TapRun, number: int) -> TapRun:
    """What a target has for sure when the run ends right after its n-th STATE."""
    places = [place for place, one in enumerate(run.messages) if one["type"] == "STATE"]
    return TapRun(run.lines[: places[number] + 1])


def test_every_state_of_a_run_is_true(github: SandboxUrl, landing: Any) -> None:
    config = {**github.config(), "requests_per_second": 500}
    catalog = selecting(EagerTap(config=config).catalog_dict, None)
    run = run_tap(EagerTap, config, catalog=catalog)
    count = len(run.states)
    assert count >= 5

    for number in range(0, count, max(count // 4, 1)):
        cut = cut_after(run, number)
        landing.records.clear()
        landing.take(cut)
        landing.take(run_tap(EagerTap, config, state=cut.state, catalog=catalog))

        assert landing.differences(github) == {}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_tap_goes_on_where_its_last_state_says(
    how: signal.Signals, tmp_path: Path, landing: Any
) -> None:
    options = {"repos": 3, "specials": False, "rate_limit": 1_000_000}
    with running_sandbox("github", process=True, latency_ms=20, **options) as url:
        config = {**url.config(), "requests_per_second": 60}
        paths = {name: tmp_path / f"{name}.json" for name in ("config", "state")}
        paths["config"].write_text(json.dumps(config))
        command = [str(Path(sys.executable).parent / "tap-github")]
        command += ["--config", str(paths["config"])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tap:
            assert tap.stdout is not None
            lines = []
            for line in tap.stdout:
                lines.append(line)
                if line.startswith(b'{"type":"STATE"'):
                    break
            tap.send_signal(how)
            lines += [line for line in tap.stdout if line.endswith(b"\n")]
        killed = TapRun(lines)
        assert len(killed.states) >= 1
        run = cut_after(killed, len(killed.states) - 1)
        landing.take(run)
        paths["state"].write_text(json.dumps(run.state))
        done = subprocess.run(
            [*command, "--state", str(paths["state"])], capture_output=True, check=True
        )
        rest = TapRun(done.stdout.splitlines())
        landing.take(rest)

        assert landing.differences(url, set(rest.schemas)) == {}
        assert sum(map(len, rest.records.values())) < sum(map(len, landing.records.values()))
