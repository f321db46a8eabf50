# SPDX-License-Identifier: Apache-2.0
"""The connector spec: good ones load, bad ones say where and what to do."""

import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

from ipai_kit.spec import SpecError, check_spec, connector_schema, load_spec, parse_spec
from ipai_kit.spec.cron import CronError, CronSchedule
from ipai_kit.spec.model import parse_duration

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOOD = sorted((HERE / "good_specs").glob("*.yaml"))
BAD = sorted((HERE / "bad_specs").glob("*.yaml"))
TODAY = date(2026, 11, 21)
EVERY_KEY = (HERE / "good_specs" / "every_key.yaml").read_text("utf-8")


def _name(path):
    return path.stem


@pytest.mark.parametrize("path", GOOD, ids=_name)
def test_good_specs_have_no_problem(path):
    assert check_spec(path.read_text("utf-8"), today=TODAY) == []


@pytest.mark.parametrize("path", BAD, ids=_name)
def test_each_bad_spec_has_exactly_its_messages(path):
    problems = check_spec(path.read_text("utf-8"), today=TODAY)

    found = "".join(
        f"{one.line}:{one.column} {one.severity} {one.pointer or '/'}\n    {one.message}\n"
        for one in problems
    )

    assert path.with_suffix(".expected").read_text("utf-8") == found


def test_the_corpus_of_bad_specs_is_large_and_paired():
    expected = {path.stem for path in (HERE / "bad_specs").glob("*.expected")}

    assert {path.stem for path in BAD} == expected
    assert len(BAD) >= 40


@pytest.mark.parametrize("path", BAD, ids=_name)
def test_messages_start_with_a_capital_and_end_with_what_to_do(path):
    for problem in check_spec(path.read_text("utf-8"), today=TODAY):
        assert problem.message[0].isupper()
        assert problem.message[-1] in ".?"
        assert len(problem.message.split(". ")) > 1 or "? " in problem.message + " "


def test_the_packaged_schema_is_the_published_one():
    published = (ROOT / "schemas" / "connector.schema.json").read_bytes()
    packaged = (ROOT / "kit" / "ipai_kit" / "spec" / "connector.schema.json").read_bytes()

    assert packaged == published


def test_the_schema_is_valid_and_closed():
    schema = connector_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    open_objects = [
        pointer for pointer, inner in _objects(schema, "") if "additionalProperties" not in inner
    ]

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert open_objects == []


def _objects(schema, pointer):
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield pointer, schema
        for key, inner in schema.items():
            yield from _objects(inner, f"{pointer}/{key}")


def test_every_property_of_the_schema_is_described_for_editors():
    for pointer, inner in _objects(connector_schema(), ""):
        for name, prop in inner["properties"].items():
            assert "description" in prop or "$ref" in prop, f"{pointer}/{name}"


def test_loading_builds_the_typed_model(tmp_path):
    path = tmp_path / "connector.yaml"
    path.write_text(EVERY_KEY, "utf-8")

    spec = load_spec(path)

    assert (spec.command, spec.module, spec.distribution) == (
        "tap-shop",
        "tap_shop",
        "ipai-connector-shop",
    )
    assert spec.secret_names == {"access_token"}
    assert spec.auth_methods[0].scopes == ("read_orders",)
    assert spec.quota.max_wait_seconds == 900
    assert spec.tos.reviewed_at == date(2026, 10, 1)
    assert [stream.sync_mode for stream in spec.streams] == [
        "incremental",
        "incremental",
        "full_table",
    ]
    assert spec.stream("orders").lookback == timedelta(days=9, hours=3, minutes=4, seconds=5)
    assert not spec.stream("orders").selected
    assert spec.stream("order_lines").cursor_from == "orders"
    assert spec.stream("products").quality.max_null_percent == {"price": 5}


def test_defaults_fill_what_a_small_spec_leaves_out():
    spec = parse_spec((HERE / "good_specs" / "smallest.yaml").read_text("utf-8"))

    assert (spec.timezone, spec.sla_tier, spec.settings) == ("UTC", "standard", {})
    assert (spec.quota.concurrency, spec.quota.requests_per_run) == (4, None)
    assert spec.command == "tap-open-data"


def test_the_model_cannot_be_changed():
    spec = parse_spec(EVERY_KEY)

    with pytest.raises(AttributeError):
        spec.title = "Other"


def test_an_unknown_stream_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=r"no stream 'baskets'. Use one of: orders, order_lines"):
        parse_spec(EVERY_KEY).stream("baskets")


def test_the_settings_become_a_json_schema():
    schema = parse_spec(EVERY_KEY).config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    assert schema["required"] == ["access_token"]
    assert schema["properties"]["access_token"]["secret"] is True
    assert schema["properties"]["regions"]["default"] == ["eu"]


def test_an_error_lists_every_problem_with_file_and_line(tmp_path):
    path = tmp_path / "connector.yaml"
    path.write_text(EVERY_KEY.replace("domain: marketing", "domain: sales"), "utf-8")

    with pytest.raises(SpecError) as caught:
        load_spec(path)

    assert f"{path}:6:9: Key 'domain' is not a known value: 'sales'." in str(caught.value)
    assert caught.value.exit_code == 78


def test_warnings_do_not_keep_a_spec_from_loading():
    old = EVERY_KEY.replace("2026-10-01", "2020-10-01").replace("null", "2021-01-01", 1)

    problems = check_spec(old, today=TODAY)

    assert [problem.severity for problem in problems] == ["warning", "warning"]
    assert "warning: The API version" in str(problems[0])
    assert parse_spec(old).api.sunset == date(2021, 1, 1)


def test_a_missing_file_and_a_foreign_encoding_are_explained(tmp_path):
    path = tmp_path / "connector.yaml"
    with pytest.raises(SpecError, match="The file does not exist"):
        load_spec(path)
    path.write_bytes("title: Müller".encode("latin-1"))
    with pytest.raises(SpecError, match=r"not UTF-8 at byte 8\. Save it as UTF-8"):
        load_spec(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "x" * 100_000, "has at most 65536"),
        ("[" * 60_000, "nested deeper"),
        ("- " * 30_000, "nested deeper"),
        ("".join(f"key{number}: 1\n" for number in range(1_000)), "Unknown key 'key999'"),
        ("quota: {concurrency: " + "9" * 10_000 + "}", "must be a whole number, not '999"),
        ("quota: {requests_per_second: 1e999}", "must be a number, not '1e999'"),
        ("title: \ud800", "not allowed in YAML"),
    ],
)
def test_hostile_documents_are_refused_quickly(text, message):
    start = datetime.now(UTC)

    problems = check_spec(text, today=TODAY)

    assert any(message in problem.message for problem in problems)
    assert datetime.now(UTC) - start < timedelta(seconds=5)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "012", "1_000", "2026-01-31", "1:30"])
def test_words_that_yaml_1_1_would_twist_stay_text(word):
    assert parse_spec(EVERY_KEY.replace("title: Shop", f"title: {word}")).title == word


def test_a_credential_anywhere_in_a_spec_is_found():
    text = EVERY_KEY.replace("Regions to read.", "Such as ghp_" + "a1B2" * 9)

    (problem,) = check_spec(text, today=TODAY)

    assert problem.pointer == "/settings/regions/description"
    assert problem.message == (
        "The text looks like a credential (GitHub token). Remove it and revoke it."
    )


def test_importing_the_spec_needs_no_singer_sdk():
    import subprocess

    code = "import sys, ipai_kit.spec; print('singer_sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "minutes", "weekdays"),
    [
        ("17 * * * *", {17}, set(range(7))),
        ("*/20 * * * *", {0, 20, 40}, set(range(7))),
        ("5/20 * * * 7", {5, 25, 45}, {0}),
        ("0-10/5,59 * * jan mon-fri", {0, 5, 10, 59}, {1, 2, 3, 4, 5}),
    ],
)
def test_cron_fields_are_read(text, minutes, weekdays):
    schedule = CronSchedule.parse(text)

    assert (schedule.minutes, schedule.weekdays) == (minutes, weekdays)


@pytest.mark.parametrize(
    "text", ["", "* * * *", "a * * * *", "1- * * * *", "٣ * * * *", "-1 * * * *"]
)
def test_other_texts_are_no_cron_schedule(text):
    with pytest.raises(CronError):
        CronSchedule.parse(text)


@pytest.mark.parametrize("text", ["P", "PT", "3 days", "P1Y", "P1M", "-P1D", "P1.5D"])
def test_other_texts_are_no_duration(text):
    with pytest.raises(ValueError, match="ISO 8601"):
        parse_duration(text)


def test_the_schema_is_formatted_as_json_tools_do():
    text = (ROOT / "schemas" / "connector.schema.json").read_text("utf-8")

    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
