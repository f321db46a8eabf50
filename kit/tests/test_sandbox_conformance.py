# SPDX-License-Identifier: Apache-2.0
"""The rules of all connectors find what a tap does wrong, and run_tap reads what a tap says."""

import importlib
import itertools
import json
import sys
from pathlib import Path

import pytest

from ipai_kit.testing import connector_conformance, run_tap, running_sandbox, selecting
from ipai_kit.testing.standard import standard_tap_tests

SPEC = """
spec_version: 1
name: ipai_connector_{source}
source_type: {source}
title: Case
domain: core
api: {{version: v1, docs_url: https://a.org, sunset: null, base_urls: [https://a.org]}}
tos: {{url: https://example.com/terms, reviewed_at: 2026-10-01}}
auth: {{methods: [{{type: bearer, settings: [access_token]}}]}}
sync_mode: incremental
schedule: "0 6 * * *"
quota: {{requests_per_second: 1000, concurrency: 4}}
settings:
  access_token: {{type: string, secret: true, description: A token.}}
streams:
  - name: items
    cursor: updated_at
    description: An item.
    quality: {{max_null_percent: {{name: 50}}}}
  - {{name: labels, sync_mode: full_table, description: A label.}}
"""
TAP = """
from ipai_kit.auth import BearerAuth
from ipai_kit.rest import LinkHeader, RestStream
from ipai_kit.tap import ConnectorTap

class Items(RestStream):
    name = "items"
    path = "/items"
    primary_keys = ("id",)
    replication_key = "updated_at"
    sort = "ascending"
    paginator = LinkHeader()
    schema = {"type": "object", "properties": {
        "id": {"type": "integer"}, "name": {"type": ["string", "null"]},
        "updated_at": {"type": "string", "format": "date-time"}}}

class Labels(RestStream):
    name = "labels"
    path = "/labels"
    primary_keys = ("id",)
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}}

def show(text):
    import sys
    print(text, file=sys.stderr)

class TapCase(ConnectorTap):
    stream_types = (Items, Labels)
    def authenticator(self):
        return BearerAuth(self.config["access_token"])

if __name__ == "__main__":
    TapCase.cli()
"""
SANDBOX = """
from ipai_kit.sandbox import *

def create_app(seed: int = 7, items: int = 40):
    config = {"access_token": "sandbox-token"}
    sandbox = Sandbox("case", auth=TokenAuth({"sandbox-token"}), config=config)
    def records():
        times = [f"2026-01-01T00:00:{second:02}Z" for second in range(items)]
        return [{"id": i, "name": "n", "updated_at": time} for i, time in enumerate(times)]
    @sandbox.get("/items")
    def list_items(request):
        return link_header(request, records())
    @sandbox.get("/labels")
    def list_labels(request):
        return [{"id": 1}]
    sandbox.stream("items", key=("id",), records=records)
    sandbox.stream("labels", key=("id",), records=lambda: [{"id": 1}])
    return sandbox.app()
"""
_numbers = itertools.count(1)


@pytest.fixture
def make_tap(tmp_path, monkeypatch):
    """Install a tap that keeps all rules, or one with a text replaced; gives its class."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(*replaced, entries=None, command=None, distribution=None):
        source = f"case{next(_numbers)}"
        files = {"connector.yaml": SPEC.format(source=source), "tap.py": TAP, "sandbox.py": SANDBOX}
        for old, new in replaced:
            assert any(old in text for text in files.values()), old
            files = {name: text.replace(old, new) for name, text in files.items()}
        package = tmp_path / f"tap_{source}"
        package.mkdir()
        for name, text in {"__init__.py": "", **files}.items():
            (package / name).write_text(text, "utf-8")
        distribution = distribution or f"ipai-connector-{source}"
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(
            f"[ipai.connectors]\n{source} = tap_{source}.tap:TapCase\n"
            f"[ipai.sandboxes]\n{source} = tap_{source}.sandbox:create_app\n"
            f"[console_scripts]\n{command or f'tap-{source}'} = tap_{source}.tap:TapCase.cli\n"
        )
        importlib.invalidate_caches()
        return importlib.import_module(f"tap_{source}.tap").TapCase

    return make


def _source(tap):
    return tap.spec.source_type


def test_a_tap_that_keeps_the_rules_has_no_problem(make_tap):
    assert connector_conformance(make_tap()) == []


@pytest.mark.parametrize(
    ("replaced", "problem"),
    [
        (
            ("stream_types = (Items, Labels)", "stream_types = (Items,)"),
            "streams:labels: is in the spec, but the tap does not have it.",
        ),
        (
            ("  - {name: labels, sync_mode: full_table, description: A label.}\n", ""),
            "streams:labels: is in the tap, but the spec does not list it.",
        ),
        (
            ('replication_key = "updated_at"', ""),
            "cursor:items: reads by None; the spec says 'updated_at'.",
        ),
        (
            ("cursor: updated_at", "cursor: changed_at"),
            "cursor:items: has the cursor 'changed_at', which its schema lacks.",
        ),
        (
            (
                'path = "/labels"\n    primary_keys = ("id",)',
                'path = "/labels"\n    primary_keys = ()',
            ),
            "keys:labels: has no primary keys.",
        ),
        (
            (
                'path = "/labels"\n    primary_keys = ("id",)',
                'path = "/labels"\n    primary_keys = ("no",)',
            ),
            "keys:labels: has keys that its schema lacks: no.",
        ),
        (
            ('"properties": {"id": {"type": "integer"}}}', '"properties": {}}'),
            "schema:labels: has no properties.",
        ),
        (
            (
                '"properties": {"id": {"type": "integer"}}}',
                '"properties": {"id": {"type": "strin"}}}',
            ),
            "schema:labels: is no JSON Schema:",
        ),
        (
            (
                '"properties": {"id": {"type": "integer"}}}',
                '"properties": {"id": {"type": "string"}}}',
            ),
            "schema:labels: does not fit a record at $.id: 1 is not of type 'string'",
        ),
        (
            ('sandbox.stream("labels"', 'sandbox.stream("other"'),
            "sandbox:labels: is unknown to the stand-in's oracle.",
        ),
        (
            ('records=lambda: [{"id": 1}]', "records=list"),
            "sandbox:labels: has no record: the stand-in shows nothing of this stream.",
        ),
        (
            ('return [{"id": 1}]\n    sandbox', 'return [{"id": 2}]\n    sandbox'),
            "run:labels: 1 records are missing, e.g. ('1',).",
        ),
        (
            ('return [{"id": 1}]\n    sandbox', 'return [{"id": 1}, {"id": 2}]\n    sandbox'),
            "run:labels: 1 records do not exist in the source, e.g. ('2',).",
        ),
        (
            ('return [{"id": 1}]\n    sandbox', 'return [{"id": 1, "extra": 1}]\n    sandbox'),
            "run:labels: 1 records differ from the source, e.g. ('1',).",
        ),
        (
            ("paginator = LinkHeader()", ""),
            "run:items: 10 records are missing, e.g. ('30',), ('31',), ('32',).",
        ),
        (
            ('key=("id",), records=records', 'key=("id", "name"), records=records'),
            "keys:items: has ['id']; the stand-in says ['id', 'name'].",
        ),
        (
            ('"name": "n"', '"name": None'),
            "quality:items: has 100.0 % nulls in 'name', above 50.0 %.",
        ),
        (
            ("quality: {max_null_percent: {name: 50}}", "quality: {min_rows: 99}"),
            "quality:items: has 40 rows, not 99 or more.",
        ),
        (
            (
                "def authenticator(self):",
                "def authenticator(self):\n        show(self.config['access_token'])",
            ),
            "secrets: a secret setting shows up in the log.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_broken_rule_is_named(make_tap, replaced, problem):
    problems = connector_conformance(make_tap(replaced))

    assert any(found.startswith(problem) for found in problems), problems


def test_the_names_of_a_distribution_are_checked(make_tap):
    problems = connector_conformance(make_tap(command="read-it", distribution="my-tap"))

    assert any(one.startswith("names: the command is 'read-it', not 'tap-case") for one in problems)
    assert any(one.startswith("names: the distribution is 'my-tap'") for one in problems)


def test_a_waiver_needs_a_reason_and_covers_its_stream_only(make_tap):
    tap = make_tap(("quality: {max_null_percent: {name: 50}}", "quality: {min_rows: 99}"))

    assert connector_conformance(tap, waivers={"quality:items": "only 40 in the stand-in"}) == []
    assert connector_conformance(tap, waivers={"quality": "a small stand-in"}) == []
    assert len(connector_conformance(tap, waivers={"quality:labels": "other"})) == 1


def test_the_size_of_the_stand_in_can_be_chosen(make_tap):
    tap = make_tap(("quality: {max_null_percent: {name: 50}}", "quality: {min_rows: 50}"))

    assert connector_conformance(tap, sandbox_options={"items": 55}) == []


def test_a_tap_that_is_not_installed_or_has_a_bad_spec_is_told(make_tap):
    tap = make_tap()
    folder = Path(sys.modules[tap.__module__].__file__).parent

    class Foreign(tap):
        spec = tap.spec

    Foreign.__module__ = "elsewhere.tap"
    assert connector_conformance(Foreign) == [
        "discovery: No entry point of group 'ipai.connectors' leads to 'elsewhere.tap'."
    ]
    with (folder / "connector.yaml").open("a") as file:
        file.write("extra: 1\n")
    assert "Unknown key 'extra'" in connector_conformance(tap)[0]


def test_a_run_sorts_what_the_tap_says(make_tap):
    tap = make_tap()
    with running_sandbox(_source(tap)) as url:
        run = run_tap(tap, url.config())

    assert {name: len(records) for name, records in run.records.items()} == {
        "items": 40,
        "labels": 1,
    }
    assert run.schemas["items"]["key_properties"] == ["id"]
    assert "items" in run.state["bookmarks"]
    assert any(event.get("event") == "progress" for event in run.events)
    assert all("ts" in event for event in run.events if "logger" in event)
    assert run.exit_code == 0


def test_streams_can_be_selected_and_state_given(make_tap):
    tap = make_tap()
    with running_sandbox(_source(tap)) as url:
        one = run_tap(tap, url.config(), select=["items"])
        again = run_tap(tap, url.config(), select=["items"], state=one.state)

    assert set(one.schemas) == {"items"}
    assert len(again.records["items"]) < 40


def test_a_command_runs_in_its_own_process(make_tap, tmp_path):
    tap = make_tap()
    command = [sys.executable, "-m", tap.__module__]
    environment = {"PYTHONPATH": str(tmp_path)}
    with running_sandbox(_source(tap)) as url:
        run = run_tap(command, url.config(), select=["labels"], environment=environment)
        failed = run_tap(command, {"api_url": "nonsense"}, environment=environment)

    assert (run.exit_code, run.records) == (0, {"labels": [{"id": 1}]})
    assert failed.exit_code != 0
    assert failed.states == []
    assert failed.state == {}


def test_selecting_copies_the_catalog():
    catalog = {
        "streams": [
            {"tap_stream_id": "a", "metadata": [{"breadcrumb": [], "metadata": {}}]},
            {
                "tap_stream_id": "b",
                "metadata": [
                    {"breadcrumb": [], "metadata": {"selected": True}},
                    {"breadcrumb": ["properties", "id"], "metadata": {}},
                ],
            },
        ]
    }
    before = json.dumps(catalog)
    chosen = selecting(catalog, ["a"])

    assert [one["metadata"][0]["metadata"]["selected"] for one in chosen["streams"]] == [
        True,
        False,
    ]
    assert "selected" not in chosen["streams"][1]["metadata"][1]["metadata"]
    assert json.dumps(catalog) == before


def test_the_standard_suite_runs_against_the_stand_in(make_tap):
    tests = standard_tap_tests(make_tap(), f"case{next(_numbers) - 1}", items=3)

    assert any(name.startswith("test_tap_") for name in dir(tests))
    assert "running_source" in dir(tests)
