# SPDX-License-Identifier: Apache-2.0
"""Files of pipelines: what is read, and what is wrong with which line and column."""

import json
import re
from pathlib import Path

import pytest

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.pipelines import check_pipeline, read_pipelines
from ipai_orchestrate.pipelines.document import pipeline_schema

ROOT = Path(__file__).resolve().parents[3]

GOOD = """\
pipeline: nightly
description: GitHub and Odoo in one report.
trigger:
  schedule: "30 5 * * *"
  timezone: Europe/Berlin
  fresh: [github-acme]
steps:
  github:
    instance: github-acme
    streams: [issues]
    max_age: PT1H
  odoo:
    instance: odoo-acme
    full_refresh: true
    on_failure: continue
  report:
    transform: [gold_devops_ci_health, "tag:hourly"]
    after: [github, odoo]
  everything:
    transform: all
    after: [report]
"""


def test_a_file_becomes_what_the_database_keeps(tmp_path):
    (tmp_path / "nightly.yaml").write_text(GOOD)
    (found,) = read_pipelines([tmp_path])

    assert ("nightly", GOOD) == (found.name, found.text)
    assert {
        "description": "GitHub and Odoo in one report.",
        "trigger": {
            "schedule": "30 5 * * *",
            "timezone": "Europe/Berlin",
            "fresh": ["github-acme"],
        },
        "steps": [
            {
                "name": "github",
                "on_failure": "abort",
                "instance": "github-acme",
                "streams": ["issues"],
                "max_age_seconds": 3600.0,
            },
            {
                "name": "odoo",
                "on_failure": "continue",
                "instance": "odoo-acme",
                "mode": "full_table",
            },
            {
                "name": "report",
                "on_failure": "abort",
                "select": ["gold_devops_ci_health", "tag:hourly"],
                "after": ["github", "odoo"],
            },
            {"name": "everything", "on_failure": "abort", "select": [], "after": ["report"]},
        ],
    } == found.spec


CIRCLE = """\
pipeline: p
steps:
  a: {instance: x}
  b:
    instance: y
    after: [c]
  c: {instance: z, after: [b, a]}
  d: {transform: all, after: [c]}
"""
STEP = "pipeline: p\nsteps:\n  a:\n    "


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "The file is empty"),
        ("pipeline: p\nsteps:\n  a: {instance: x\n", "4:1", "cannot be read"),
        ("pipeline: p\n", "1:1", "Key 'steps' is missing"),
        ("pipeline: Nightly Run\nsteps:\n  a: {instance: x}\n", "1:11", "lower-case letters"),
        ("pipeline: p\nstep:\n  a: {instance: x}\n", "2:1", "Did you mean 'steps'"),
        ("pipeline: p\nsteps: [a]\n", "2:8", "must be a mapping"),
        ("pipeline: p\nsteps: {}\n", "2:8", "Write each step"),
        ("pipeline: p\nsteps:\n  A_b: {instance: x}\n", "3:3", "not a valid name"),
        ("pipeline: p\nsteps:\n  a: {}\n", "3:6", "Give it an instance or a transform"),
        (STEP + "instance: x\n    transform: all\n", "3:3", "either an instance or a transform"),
        (STEP + "on_failure: abort\n", "3:3", "either an instance or a transform"),
        (STEP + "instance: x\n    on_failure: ignore\n", "5:17", "Use one of: abort, continue"),
        (STEP + "instance: x\n    afetr: [b]\n", "5:5", "Did you mean 'after'"),
        (STEP + "instance: x\n    after: [b]\n", "5:13", "Step 'b' does not exist"),
        (STEP + "instance: x\n    after: [a]\n", "5:13", "waits for itself"),
        (STEP + "instance: x\n    max_age: 6 hours\n", "5:14", "not ISO 8601"),
        (STEP + "transform: all\n    max_age: PT1H\n", "5:5", "for steps with an instance"),
        (STEP + "transform: some\n", "4:16", "Write all, or a list"),
        (STEP + "transform: [--full-refresh]\n", "4:17", "one of dbt's selectors"),
        (STEP + "transform: []\n", "4:16", "is empty"),
        ("pipeline: p\ntrigger: {}\nsteps:\n  a: {instance: x}\n", "2:10", "Give it a schedule"),
        (
            "pipeline: p\ntrigger: {schedule: 61 * * * *}\nsteps:\n  a: {instance: x}\n",
            "2:21",
            "Field minute",
        ),
        (
            "pipeline: p\ntrigger: {schedule: 1 * * * *, timezone: X}\nsteps: {a: {instance: x}}\n",
            "2:42",
            "Time zone 'X' is unknown",
        ),
        (
            "pipeline: p\ntrigger: {timezone: UTC}\nsteps:\n  a: {instance: x}\n",
            "2:21",
            "needs a schedule",
        ),
        (
            CIRCLE,
            "6:12",
            "in a circle: b, c.",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_next_step(text, place, words):
    problems = check_pipeline(text, "file.yaml")
    problem, others = problems[0], problems[1:]

    assert [] == others
    assert f"file.yaml:{place}:" in str(problem)
    assert words in problem.message
    assert problem.message.endswith((".", "?"))


def test_all_problems_of_all_files_are_told_at_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("pipeline: p\nsteps:\n  s: {instance: 1}\n")
    with pytest.raises(ConfigurationError, match=r"2 problem\(s\)(.|\n)*a.yaml:3(.|\n)*b.yaml:3"):
        read_pipelines([tmp_path])


def test_two_files_of_one_name_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no"):
        read_pipelines([tmp_path])
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text("pipeline: p\nsteps:\n  s: {instance: x}\n")
    with pytest.raises(ConfigurationError, match="in another file too"):
        read_pipelines([tmp_path])


def test_the_pipeline_in_the_documentation_is_valid():
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(pipeline:.*?)^```", page, re.DOTALL | re.MULTILINE)

    assert [] == check_pipeline(example)


def test_the_published_schema_is_the_one_that_is_used():
    published = json.loads((ROOT / "schemas" / "pipeline.schema.json").read_text())

    assert pipeline_schema() == published
