# SPDX-License-Identifier: Apache-2.0
"""Metrics: what Prometheus reads agrees with what happened."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.monitor import Sample, exposition, read_metrics
from ipai_orchestrate.notify import Outbox
from ipai_orchestrate.services import LifeSign

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
LINE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")


def parse(text: str) -> dict[str, float]:
    """Every series of an exposition; refuses what the format or its conventions forbid."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            assert name not in helped, f"{name} stands in two places"
            assert words
            helped.add(name)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            kinds[name] = kind
            assert name in helped
            assert kind in {"counter", "gauge", "histogram"}
            assert (kind == "counter") == name.endswith("_total"), name
        else:
            match = LINE.fullmatch(line)
            assert match, line
            family = match[1]
            if kinds[name] == "histogram":
                family = re.sub("_(bucket|sum|count)$", "", family)
            assert family == name, f"{line} is not below its own head"
            series = line.rpartition(" ")[0]
            assert series not in found, f"{series} comes twice"
            found[series] = float(match[3])
    assert helped == set(kinds)
    return found


@pytest.fixture
def series(connection: Connection) -> Callable[[], dict[str, float]]:
    return lambda: parse(exposition(read_metrics(connection)))


def claimed(plane: ControlPlane, instance: str, **how: Any) -> ClaimedRun:
    run = plane.claim(plane.enqueue(instance, **how), "worker")
    assert run is not None
    return run


@pytest.fixture
def busy(
    connection: Connection, control_plane: ControlPlane, make_instance: MakeInstance
) -> Connection:
    """A plane where a little of everything has happened."""
    quota = {"quota": {"requests_per_second": 8}}
    for name in ("one", "two"):
        make_instance(name, spec=quota)
    connection.execute(
        "select connectors.set_quota_limit("
        "'github', window_requests => 100, window_seconds => 3600)"
    )
    run = claimed(control_plane, "one")
    figures = {"received": 7, "inserted": 4, "updated": 2, "dead": 1}
    stream = {"stream": "issues", **figures, "requests": 3, "bytes": 900, "seconds": 1.5}
    control_plane.record_streams(run, [stream])
    control_plane.record_quota(run, {"requests": 3})
    control_plane.append_logs(run, [{"message": "hello"}])
    control_plane.complete(run, stateless=True)
    control_plane.fail(claimed(control_plane, "one", max_attempts=1), "tap", "It broke.")
    control_plane.cancel(control_plane.enqueue("one"))
    claimed(control_plane, "two")
    control_plane.enqueue("two")
    connection.execute(
        "insert into connectors.dead_letters (instance_id, reason, raw) values ('one', 'bad', 'x')"
    )
    Outbox(connection).create_endpoint("hook", "https://hooks.example.com/ipai", "${HOOK_SECRET}")
    Outbox(connection).send_test("hook")
    LifeSign("here:1", "worker", 4).give(connection, 1)
    return connection


def test_metrics_say_what_happened(busy: Connection, series: Callable[[], Any]) -> None:
    found = series()
    expected = {
        'ipai_runs_total{source="github",status="succeeded"}': 1,
        'ipai_runs_total{source="github",status="failed"}': 1,
        'ipai_runs_total{source="github",status="cancelled"}': 1,
        'ipai_run_errors_total{source="github",error_class="tap"}': 1,
        'ipai_runs_running{source="github"}': 1,
        'ipai_run_duration_seconds_count{source="github"}': 2,
        'ipai_run_duration_seconds_bucket{le="+Inf",source="github"}': 2,
        'ipai_run_duration_seconds_bucket{le="14400",source="github"}': 2,
        'ipai_rows_received_total{source="github",stream="issues"}': 7,
        'ipai_rows_inserted_total{source="github",stream="issues"}': 4,
        'ipai_rows_updated_total{source="github",stream="issues"}': 2,
        'ipai_rows_dead_total{source="github",stream="issues"}': 1,
        'ipai_source_requests_total{source="github"}': 3,
        'ipai_source_bytes_total{source="github"}': 900,
        'ipai_queue_runs{source="github",waits_for="run"}': 1,
        'ipai_services_alive{kind="worker"}': 1,
        'ipai_services_alive{kind="scheduler"}': 0,
        "ipai_worker_slots": 4,
        "ipai_worker_slots_busy": 1,
        'ipai_dead_letters_open{instance="one"}': 1,
        'ipai_webhook_deliveries{endpoint="hook",status="pending"}': 1,
        'ipai_webhook_deliveries{endpoint="hook",status="dead"}': 0,
        'ipai_quota_requests_used{source="github",credential="default"}': 3,
        'ipai_quota_requests_remaining{source="github",credential="default"}': 97,
    }
    in_order = {",".join(sorted(re.split("[{},]", key))): value for key, value in found.items()}

    for key, value in expected.items():
        assert in_order[",".join(sorted(re.split("[{},]", key)))] == value, key
    assert found["ipai_run_log_partitions"] >= 2
    assert found["ipai_run_log_bytes"] > 0
    (moment,) = (v for k, v in found.items() if k.startswith("ipai_instance_last_success"))
    (ended,) = busy.execute(
        "select extract(epoch from ended_at)::float8 from connectors.connector_runs"
        " where status = 'succeeded'"
    ).fetchone() or (None,)
    assert moment == ended


def test_every_metric_has_a_sample_and_the_format_is_kept(
    busy: Connection, series: Callable[[], Any]
) -> None:
    assert series()
    families = busy.execute("select name from connectors.metric_families()").fetchall()
    names = {one.name for one in read_metrics(busy)}

    assert names >= {name for (name,) in families} - {"ipai_alerts_open"}


def test_a_run_of_exactly_a_bound_is_in_the_bucket_of_the_bound(
    busy: Connection, series: Callable[[], Any]
) -> None:
    with busy.transaction(force_rollback=True):
        busy.execute("set session_replication_role = replica")
        busy.execute(
            "update connectors.connector_runs set ended_at = started_at + interval '5 seconds'"
            " where ended_at is not null and started_at is not null"
        )
        found = series()
    buckets = [v for k, v in found.items() if k.startswith("ipai_run_duration_seconds_bucket")]

    assert buckets == [0, 2, 2, 2, 2, 2, 2, 2, 2]
    assert found['ipai_run_duration_seconds_sum{source="github"}'] == 10


def test_a_fresh_plane_has_metrics_too(series: Callable[[], Any]) -> None:
    assert series()['ipai_services_alive{kind="worker"}'] == 0


def test_labels_and_help_are_escaped() -> None:
    odd = Sample(
        name="a_total",
        type="counter",
        help="One\nand \\.",
        sample="a_total",
        labels={"path": 'C:\\x "y"\nz'},
        value=1.0,
    )

    assert exposition([odd]) == (
        "# HELP a_total One\\nand \\\\.\n# TYPE a_total counter\n"
        'a_total{path="C:\\\\x \\"y\\"\\nz"} 1.0\n'
    )


def test_the_command_prints_text_or_json(
    busy: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    text, as_json = (
        CliRunner().invoke(main, ["metrics", *options]) for options in ([], ["--json"])
    )

    assert text.exit_code == as_json.exit_code == 0, text.output
    assert len(parse(text.output)) == len(json.loads(as_json.output))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_has_nothing_to_say(busy: Connection) -> None:
    subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(read_metrics(busy)),
        text=True,
        check=True,
    )
