# SPDX-License-Identifier: Apache-2.0
"""A worker performs a pipeline from its first step to its last, transforms included."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.pipeline import runner as runner_module
from ipai_orchestrate.pipelines import PipelineRegister, read_pipelines
from ipai_orchestrate.transform import NodeResult, TransformResult

MODEL = NodeResult("silver_scripted_issues", "model", "success", 0.1)

PIPELINE = """\
pipeline: nightly
steps:
  left: {instance: scripted-0}
  right: {instance: scripted-1, on_failure: continue}
  report:
    transform: ["tag:nightly"]
    after: [left, right]
  last: {instance: scripted-2, after: [report]}
"""


@pytest.fixture
def register(bench, connection):
    bench.instances(3)
    file = bench.folder / "nightly.yaml"
    file.write_text(PIPELINE)
    register = PipelineRegister(connection)
    register.apply(read_pipelines([file])[0])
    return register


@pytest.fixture
def built(monkeypatch):
    """What dbt was asked to build; it does as `results` says, in order, then well."""
    asked = []

    def run_dbt(dsn, *, streams, select, on_event, on_wait):
        del dsn, on_event, on_wait
        asked.append((streams, select))
        return run_dbt.results.pop(0) if run_dbt.results else TransformResult(True, (MODEL,))

    run_dbt.results = []
    monkeypatch.setattr(runner_module, "run_dbt", run_dbt)
    return SimpleNamespace(asked=asked, results=run_dbt.results)


def test_a_worker_performs_all_steps_in_their_order(bench, register, built):
    bench.tap("read(start + 1)")
    run_id = register.run("nightly")
    report = bench.worker(once=True, sources=["scripted", "transform"]).work()
    order = [run.instance_id for run in reversed(bench.plane.runs(10))]
    found = register.status(run_id)

    assert ("succeeded", 4) == (found.status, report.succeeded)
    assert {"scripted-0", "scripted-1"} == set(order[:2])
    assert ["transform_nightly_report", "scripted-2"] == order[2:]
    assert [(None, ["tag:nightly"])] == built.asked
    assert ["nightly"] == [line["pipeline"] for line in bench.said("pipeline_ended")]


def test_a_failing_branch_is_handled_as_the_file_says(bench, register, built):
    bench.tap("sys.exit(78)")
    run_id = register.run("nightly")
    bench.worker(once=True, sources=["scripted", "transform"]).work()
    found = register.status(run_id)

    assert "failed" == found.status
    assert "Step left failed" in found.error_summary
    assert ["failed", "failed", "skipped", "skipped"] == [one["status"] for one in found.steps]
    assert [] == built.asked


@pytest.mark.parametrize(
    ("result", "error_class", "words"),
    [
        (TransformResult(ok=False, error="Model 'gold_x' is broken."), "transform", "gold_x"),
        (TransformResult(ok=True), "configuration", "nothing to build for 'tag:nightly'"),
    ],
)
def test_a_transform_that_fails_is_a_failed_run(bench, register, built, result, error_class, words):
    built.results.append(result)
    bench.tap("read(start + 1)")
    register.run("nightly")
    bench.worker(once=True, sources=["scripted", "transform"]).work()
    (run,) = bench.plane.runs(10, "transform_nightly_report")[-1:]

    assert ("failed", error_class) == (run.status, run.error_class)
    assert words in (run.error_summary or "")


def test_the_commands_of_pipelines_tell_how_it_goes(bench, register, built, monkeypatch):
    monkeypatch.setenv("IPAI_DATABASE_URL", bench.dsn)

    def ipai(*arguments, code=0):
        result = CliRunner().invoke(main, ["pipeline", *arguments])
        assert code == result.exit_code, result.output
        return result.output

    file = str(bench.folder / "nightly.yaml")
    assert "Valid." in ipai("apply", file, "--check")
    assert ["nightly"] == json.loads(ipai("apply", file, "--check", "--json"))
    assert "nightly" in ipai("apply", file)
    assert "has not run yet" in ipai("show", "nightly", code=1)
    assert "Started nightly" in ipai("run", "nightly")
    assert "is running" in ipai("run", "nightly", code=75)
    (listed,) = json.loads(ipai("list", "--json"))
    assert ("running", 4) == (listed["last_status"], listed["steps"])
    assert "nightly" in ipai("list")
    shown = ipai("show", listed["last_run_id"])
    assert "waiting" in shown
    assert "queued: ipai queue list" in shown
    assert "transform_nightly_report" in shown
    assert "Cancelled." in ipai("cancel", "nightly", "--reason", "no [more]")
    assert "Too late" in ipai("cancel", "nightly")
    assert "no [more]" in ipai("show", "nightly")
    assert "is paused" in ipai("pause", "nightly")
    assert "is active" in ipai("resume", "nightly")
    assert "does not exist" in ipai("show", "nobody", code=1)
    (bench.folder / "nightly.yaml").write_text("pipeline: nightly\nsteps: {a: {instnce: x}}\n")
    assert "nightly.yaml:2:13: Unknown key 'instnce'" in ipai("apply", file, code=78)


def test_the_instances_of_transforms_are_declared_by_their_pipelines(bench, register, monkeypatch):
    monkeypatch.setenv("IPAI_DATABASE_URL", bench.dsn)
    folder = bench.folder / "instances"
    folder.mkdir()
    (folder / "one.yaml").write_text(
        "instance: acme\nconnector: github\nconfig: {repositories: [acme/api]}\n"
    )
    planned = CliRunner().invoke(main, ["apply", str(folder), "--plan", "--prune"])

    assert 0 == planned.exit_code, planned.output
    assert "scripted-1" in planned.output
    assert "transform" not in planned.output


@pytest.mark.parametrize(
    ("tap", "status", "code"), [("read(start + 1)", "succeeded", 0), ("sys.exit(78)", "failed", 1)]
)
def test_waiting_for_a_pipeline_ends_with_how_it_ended(
    bench, register, monkeypatch, tap, status, code
):
    monkeypatch.setenv("IPAI_DATABASE_URL", bench.dsn)
    monkeypatch.setattr("ipai_orchestrate.cli.pipeline.WAIT_SECONDS", 0.05)
    bench.tap(tap)
    (bench.folder / "quick.yaml").write_text(
        "pipeline: quick\nsteps: {a: {instance: scripted-0}}\n"
    )
    register.apply(read_pipelines([bench.folder / "quick.yaml"])[0])
    worker = bench.ipai("worker", "--sources", "scripted", "--no-transform")
    waited = CliRunner().invoke(main, ["pipeline", "run", "quick", "--wait", "--json"])
    shown = CliRunner().invoke(main, ["pipeline", "show", "quick"]).output
    worker.terminate()

    assert 0 == worker.wait(60)
    assert (status, code) == (json.loads(waited.output)["status"], waited.exit_code)
    assert status in shown
