# SPDX-License-Identifier: Apache-2.0
"""Processor time and memory of taps and targets: measured, kept, shown."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import LeaseLostError, RefusedError
from ipai_orchestrate.monitor import read_metrics
from ipai_orchestrate.pipeline.process_group import Launch, ProcessGroup
from ipai_orchestrate.pipeline.transfer import Listeners, transfer
from ipai_orchestrate.pipeline.usage import Usage

Connection = psycopg.Connection[tuple[Any, ...]]
MEBIBYTE = 1 << 20
BURN = """
import time
while time.process_time() < {seconds}:
    pass
"""
HOLD = """
import sys, time
held = b"x" * ({mebibytes} << 20)
time.sleep(0.5)
sys.stdin.read()
"""
FIGURES = {"user_seconds": 3.0, "system_seconds": 1.0, "peak_memory_bytes": 64 * MEBIBYTE}


@pytest.fixture
def launch(tmp_path: Path) -> Callable[[str], Launch]:
    def make(body: str) -> Launch:
        command = [sys.executable, "-c", textwrap.dedent(body)]
        return Launch(command, {"PATH": os.environ["PATH"]}, tmp_path)

    return make


def nothing(_: bytes) -> None:
    """Hear nothing."""


def test_each_connector_is_measured_with_what_it_has_waited_for(
    launch: Callable[[str], Launch],
) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '''{BURN}'''])"
    ear = Listeners(nothing, nothing, nothing, lambda: "go_on")
    ending = transfer(launch(child.format(seconds=0.6)), launch(HOLD.format(mebibytes=150)), ear)
    tap, target = ending.usage["tap"], ending.usage["target"]

    assert (ending.tap_code, ending.target_code) == (0, 0)
    assert tap.user_seconds + tap.system_seconds >= 0.6
    assert target.user_seconds + target.system_seconds > 0
    assert target.peak_memory_bytes >= 150 * MEBIBYTE
    assert 0 < tap.peak_memory_bytes < 150 * MEBIBYTE


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_one_that_is_ended_is_measured_too(launch: Callable[[str], Launch], how: str) -> None:
    with ProcessGroup(launch(BURN.format(seconds=1000))) as group:
        assert group.exit_code is None
        assert group.usage == Usage()
        getattr(group, how)()
        while group.exit_code is None:
            pass
        assert group.exit_code == -(signal.SIGTERM if how == "terminate" else signal.SIGKILL)
        group.terminate()
        assert group.usage.peak_memory_bytes > 0


def test_one_that_nobody_waited_for_is_reaped_when_the_block_is_left(
    launch: Callable[[str], Launch],
) -> None:
    with ProcessGroup(launch(BURN.format(seconds=1000))) as group:
        assert group.exit_code is None

    assert group.exit_code == -signal.SIGKILL
    assert group.usage.peak_memory_bytes > 0


@pytest.fixture
def run(control_plane: ControlPlane, make_instance: Callable[..., str]) -> ClaimedRun:
    """A run with two streams, a quarter and three quarters of the bytes."""
    make_instance(spec={"owner": "data@example.com"})
    claimed = control_plane.claim(control_plane.enqueue("github-acme"), "worker")
    assert claimed is not None
    streams = [("issues", 300, 2), ("labels", 100, 1)]
    control_plane.record_streams(
        claimed, [{"stream": s, "received": 5, "bytes": b, "requests": r} for s, b, r in streams]
    )
    return claimed


def test_what_a_run_took_is_kept_and_split_to_its_tables(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    control_plane.record_usage(run, {"tap": FIGURES | {"user_seconds": 1.0}})
    control_plane.record_usage(run, {"tap": FIGURES, "target": FIGURES | {"peak_memory_bytes": 1}})
    control_plane.complete(run, stateless=True)
    (cost,) = control_plane.run_costs()

    assert (cost.run_id, cost.source, cost.owner) == (run.id, "github", "data@example.com")
    assert (cost.cpu_seconds, cost.peak_memory_bytes) == (8.0, 64 * MEBIBYTE)
    assert (cost.requests, cost.bytes, cost.rows_processed) == (3, 400, 10)
    assert [(s["stream"], s["cpu_seconds"]) for s in cost.streams] == [
        ("issues", 6.0),
        ("labels", 2.0),
    ]
    assert control_plane.run_costs(instance_id="other") == []


def test_usage_is_taken_from_who_holds_the_lease_and_only_if_it_is_usage(
    control_plane: ControlPlane, run: ClaimedRun
) -> None:
    nonsense: list[dict[str, Any]] = [
        {"tap": {"user_seconds": -1, "system_seconds": 0, "peak_memory_bytes": 0}},
        {"tap": {"user_seconds": "x", "system_seconds": 0, "peak_memory_bytes": 0}},
        {"tap": {}},
        {"dbt": FIGURES},
        {"tap": 7},
    ]
    for usage in nonsense:
        with pytest.raises(RefusedError, match="not usage by part"):
            control_plane.record_usage(run, usage)
    control_plane.complete(run, stateless=True)
    with pytest.raises(LeaseLostError):
        control_plane.record_usage(run, {"tap": FIGURES})


def test_metrics_sum_the_processor_time_of_sources(
    connection: Connection, control_plane: ControlPlane, run: ClaimedRun
) -> None:
    control_plane.record_usage(run, {"tap": FIGURES})
    control_plane.complete(run, stateless=True)
    found = [one for one in read_metrics(connection) if "_cpu_" in one.name or "_peak_" in one.name]

    assert [(one.type, one.labels.get("mode"), one.value) for one in found] == [
        ("counter", "system", 1.0),
        ("counter", "user", 3.0),
        ("gauge", None, 64.0 * MEBIBYTE),
    ]
    assert {(one.labels["source"], one.labels["part"]) for one in found} == {("github", "tap")}


def test_the_command_shows_runs_and_the_streams_of_one(
    database: str, control_plane: ControlPlane, run: ClaimedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def ipai(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["usage", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "not measured" in ipai(str(run.id))
    control_plane.record_usage(run, {"tap": FIGURES, "target": FIGURES})
    assert "8.00 s  64 MiB" in ipai("--instance", "github-acme")
    shown = ipai(str(run.id)[:8])
    assert "issues" in shown
    assert "6.00 s" in shown
    assert json.loads(ipai("--json"))[0]["parts"]["tap"] == FIGURES
    assert json.loads(ipai(str(run.id), "--json"))["cpu_seconds"] == 8.0
