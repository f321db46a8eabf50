# SPDX-License-Identifier: Apache-2.0
"""The benchmarks measure what they say, and the report shows what was measured."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "reference"
MODULES = ("contender", "environments", "goals", "page", "places", "plot", "processes", "race")


@pytest.fixture
def loading(monkeypatch):
    """The modules of benchmarks/loading by name; they are no installed package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = (*MODULES, "streams")
    return SimpleNamespace(**{name: importlib.import_module(f"loading.{name}") for name in names})


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What the one command makes of tiny loads, ours and the limit alone."""
    out = tmp_path_factory.mktemp("report")
    sizes = ["--rows", "300", "--nested-rows", "0", "--pipe-rows", "400", "--turns", "1"]
    where = ["--out", str(out), "--peers", str(tmp_path_factory.mktemp("kept"))]
    chosen = [
        "--only",
        "postgres",
        "pipe",
        "lake",
        "batch",
        "--without-peers",
        "--cold",
        "--installed-here",
    ]
    command = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), *chosen, *sizes, *where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def line(loading, name, step="first load", **more):
    family = {"ours": "ours", "limit": "limit"}.get(name, "peer")
    values = {"kind": "narrow", "rows": 100, "client_cpu": 1.0, **more}
    return loading.contender.Measure(name=name, family=family, step=step, **values)


@pytest.mark.parametrize(
    ("kind", "digest", "size"),
    [
        ("narrow", "1132865b67195f06", 226),
        ("nested", "339423f6b5ee1eb0", 2_450),
    ],
)
def test_a_stream_has_the_same_bytes_everywhere(loading, kind, digest, size):
    texts = [text for text, _ in loading.streams.records(kind, 1_000)]

    assert digest == hashlib.sha256(b"\n".join(texts)).hexdigest()[:16]
    assert abs(sum(map(len, texts)) / 1_000 - size) < size * 0.03


def test_a_stream_is_written_as_messages_records_and_rows(loading, tmp_path):
    load = loading.streams.write_load("nested", 30, tmp_path)
    messages = [json.loads(one) for one in load.singer.read_text().splitlines()]
    records = [json.loads(one) for one in load.records.read_text().splitlines()]
    rows = [one.split("\t") for one in load.copy.read_text().splitlines()]

    assert ["SCHEMA", *["RECORD"] * 30, "STATE"] == [one["type"] for one in messages]
    assert records == [one["record"] for one in messages[1:-1]]
    assert records == [json.loads(row[2].replace("\\\\", "\\")) for row in rows]
    assert [f"[{one['id']}]" for one in records] == [row[1] for row in rows]
    assert len(loading.streams.COPY_COLUMNS.split(", ")) == len(rows[0])


BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
CHILD = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"
ORPHAN = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BUSY!r}])"


@pytest.mark.parametrize("program", [BUSY, CHILD, ORPHAN], ids=["itself", "a child", "an orphan"])
def test_processor_time_of_the_whole_tree_is_counted(loading, program):
    used = loading.processes.run([[sys.executable, "-c", program]])

    assert used.cpu_seconds >= 0.2
    assert used.peak_mb > 1
    assert "" == used.problem


def test_commands_are_joined_by_pipes(loading, tmp_path):
    (tmp_path / "in").write_text("one\ntwo\n")
    check = "import sys; sys.exit(sys.stdin.read() != 'ONE\\nTWO\\n')"
    shout = "import sys; print(sys.stdin.read().upper(), end='')"
    pipeline = [[sys.executable, "-c", shout], [sys.executable, "-c", check]]

    assert "" == loading.processes.run(pipeline, tmp_path / "in").problem


@pytest.mark.parametrize(
    ("program", "patience", "problem"),
    [
        (
            "import sys; print('Error: no such table\\nbye', file=sys.stderr); sys.exit(1)",
            60,
            "Error: no such table",
        ),
        ("import sys; print('bye', file=sys.stderr); sys.exit(1)", 60, "bye"),
        ("raise SystemExit(3)", 60, "ended without a word"),
        ("import time; time.sleep(60)", 0.3, "stopped after 0 s"),
    ],
)
def test_a_failure_leaves_its_last_complaint(loading, program, patience, problem):
    command = [sys.executable, "-c", program]

    assert problem == loading.processes.run([command], patience=patience).problem


def test_python_is_not_slowed_down_by_what_is_set_here(loading, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPATH", "kept")
    given = loading.processes.environment_of({"MORE": "1"})

    assert {"PYTHONPATH", "PYTHONPYCACHEPREFIX"} == {n for n in given if n.startswith("PYTHON")}
    assert "1" == given["MORE"]


def test_a_peer_that_cannot_be_installed_is_a_failure_with_a_reason(loading, tmp_path):
    peer = loading.environments.Peer("nobody", (str(tmp_path / "no-such-package"),))
    environments = loading.environments.Environments(tmp_path / "peers")
    problem = environments.of(peer).problem

    assert problem.startswith("not installed: ")
    assert problem == environments.of(peer).problem
    contender = loading.contender.Contender(
        "nobody", "peer", "first load", loading.places.Nowhere(), lambda _: [["x"]], problem=problem
    )
    load = loading.streams.Load("narrow", 5, tmp_path)
    assert problem == loading.contender.measure(contender, load, 1.0).problem


def test_contenders_take_turns_and_the_slow_ones_run_once(loading, tmp_path):
    ran = []

    def contender(name, seconds):
        command = [sys.executable, "-c", BUSY.replace("0.2", str(seconds))]
        return loading.contender.Contender(
            name,
            "peer",
            "first load",
            loading.places.Nowhere(),
            lambda _: [command],
            prepare=lambda load: ran.append((name, load.rows)),
        )

    both = [contender("quick", 0), contender("slow", 2)]
    small, whole = (loading.streams.Load("narrow", rows, tmp_path) for rows in (1, 9))
    rules = loading.race.Rules(turns=2, slow=1.5)
    measures = loading.race.race([both[0]], [whole], [small], rules)
    measures += loading.race.race([both[1]], [whole], [], rules)

    assert [("quick", 1), ("quick", 9), ("quick", 9), ("slow", 9)] == ran
    assert [2, 1] == [one.runs for one in loading.race.medians(measures)]


def test_a_replay_runs_only_after_the_load_that_it_repeats(loading, tmp_path):
    ran = []
    load = loading.streams.Load("narrow", 9, tmp_path)
    steps = [
        loading.contender.Contender(
            "peer",
            "peer",
            step,
            loading.places.Nowhere(),
            lambda _, seconds=seconds: [[sys.executable, "-c", BUSY.replace("0.2", str(seconds))]],
            prepare=lambda _, step=step: ran.append(step),
        )
        for step, seconds in (("first load", 1), ("replay", 0))
    ]

    loading.race.race(steps, [load], [], loading.race.Rules(turns=2, slow=0.5))

    assert ["first load", "replay"] == ran


def test_medians_leave_failed_runs_out_but_tell_of_them(loading):
    runs = [line(loading, "a", client_cpu=cpu) for cpu in (1.0, 9.0, 2.0)]
    bad = replace(runs[0], client_cpu=0.0, problem="broken")
    (median,) = loading.race.medians([*runs, bad])

    assert (2.0, 3, "broken") == (median.client_cpu, median.runs, median.problem)


@pytest.mark.parametrize(
    ("bound", "at_most", "reached", "met"),
    [
        (8, False, 10.0, True),
        (11, False, 10.0, False),
        (11, True, 10.0, True),
        (9, True, 10.0, False),
    ],
)
def test_a_goal_is_a_ratio_of_processor_time_a_row(loading, bound, at_most, reached, met):
    goals, lines = loading.goals, [line(loading, "ours"), line(loading, "a", client_cpu=10.0)]
    goal = goals.Goal("a", goals.Figure("a"), goals.Figure("ours"), bound, at_most)

    assert (reached, met) == tuple(goal.judge(lines)[name] for name in ("reached", "met"))


def test_a_goal_without_its_peer_is_not_measured(loading):
    goals, failed = loading.goals, line(loading, "a", problem="broken")
    goal = goals.Goal("a", goals.Figure("a"), goals.Figure("ours"), 8)

    assert goal.judge([line(loading, "ours"), failed])["reached"] is None
    assert goal.judge([line(loading, "ours")])["met"] is False


@pytest.mark.slow
def test_the_report_names_every_contender_and_none_has_failed(report):
    figures = json.loads((report / "benchmarks.json").read_text())

    assert {"postgres", "pipe", "lake", "batch"} == set(figures)
    for section in figures.values():
        assert [] == [one["problem"] for one in section["lines"] if one["problem"]]
        assert all(one["client_cpu"] > 0 for one in section["lines"])
    replay = next(one for one in figures["postgres"]["lines"] if one["step"] == "replay")
    assert (0, 0) == (replay["rows_written"], replay["dead_rows"])
    text = (report / "benchmarks.md").read_text()
    assert str(report) not in text
    for shown in ("target-bronze-postgres, append", "target-bronze-lake, Delta", r"tap \| target"):
        assert shown in text


@pytest.mark.slow
def test_the_report_can_be_written_anew_from_its_figures(report, tmp_path):
    (tmp_path / "benchmarks.json").write_bytes((report / "benchmarks.json").read_bytes())
    command = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), "--render"]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, capture_output=True)

    for name in ("benchmarks.md", "benchmarks-postgres.svg", "benchmarks-lake.svg"):
        assert (report / name).read_text() == (tmp_path / name).read_text()


def test_a_failure_of_a_peer_is_shown_as_failure(loading):
    figures = json.loads((REPORT / "benchmarks.json").read_text())
    broken = figures["postgres"]["lines"][-1]
    broken["problem"] = "relation | gone"
    text = loading.page.render({"postgres": figures["postgres"]})

    assert r"**failed**: relation \| gone" in text
    assert "failed" in loading.plot.draw("x", [broken], loading.page.KINDS)


def test_the_documented_report_agrees_with_its_figures(loading):
    figures = json.loads((REPORT / "benchmarks.json").read_text())
    text = (REPORT / "benchmarks.md").read_text()

    assert loading.page.replace_figures(text, figures) == text
    for name, part in loading.page.PARTS.items():
        if part.pictures:
            picture = loading.plot.draw(part.title, figures[name]["lines"], loading.page.KINDS)
            assert picture == (REPORT / f"benchmarks-{name}.svg").read_text()


def test_the_documented_figures_follow_from_the_runs():
    figures = json.loads((REPORT / "benchmarks.json").read_text())
    for section in figures.values():
        for one in section["lines"]:
            if one["problem"]:
                continue
            cpu = one["client_cpu"] + one["server_cpu"]
            assert one["rows_per_cpu_second"] == pytest.approx(one["rows"] / cpu, rel=0.01)
            assert one["runs"] == len(one["cpu_of_runs"])
            assert min(one["cpu_of_runs"]) * 0.9 <= cpu <= max(one["cpu_of_runs"]) * 1.1


def test_a_command_of_the_makefile_runs_the_one_script():
    assert "benchmarks/bench.py $(BENCH)" in (ROOT / "Makefile").read_text()
    assert os.access(ROOT / "benchmarks" / "bench.py", os.R_OK)


def test_who_stops_the_benchmark_stops_its_contender(tmp_path):
    program = (
        "import signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from loading.command import _stopped\nfrom loading.processes import run\n"
        "signal.signal(signal.SIGTERM, _stopped)\n"
        "sleeper = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "run([[sys.executable, '-c', sleeper], ['tee', sys.argv[2]]])"
    )
    seen = tmp_path / "pid"
    command = [sys.executable, "-c", program, str(ROOT / "benchmarks"), str(seen)]
    process = subprocess.Popen(command)
    for _ in range(600):
        if seen.exists() and seen.read_text().strip():
            break
        time.sleep(0.05)
    pid = int(seen.read_text())
    process.terminate()

    assert process.wait(60) == 143
    for _ in range(600):
        if (
            not Path(f"/proc/{pid}/cmdline").exists()
            or not Path(f"/proc/{pid}/cmdline").read_text()
        ):
            break
        time.sleep(0.05)
    else:
        pytest.fail("The contender still runs.")
