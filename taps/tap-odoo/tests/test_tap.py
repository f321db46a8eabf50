# SPDX-License-Identifier: Apache-2.0
"""What every tap does, and that what is written about this one is what it is."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from ipai_kit.sandbox.server import served
from ipai_kit.testing import run_tap, running_sandbox
from tap_odoo.fields import canonical, decimal_text
from tap_odoo.models import DECLARED, declared_properties
from tap_odoo.sandbox import create_app
from tap_odoo.tap import TapOdoo

PACKAGE = Path(__file__).parents[1]
WORKSPACE = PACKAGE.parents[1]
FAST = {"requests_per_second": 500}
KINDS = {"array": "array", "boolean": "boolean", "integer": "integer", "number": "string"}


# singer-sdk collects the streams now, and which there are only a running server knows.
_stand_in = served(create_app())
_config = {**create_app().state.sandbox.config_for(_stand_in.__enter__()), **FAST}
atexit.register(_stand_in.__exit__, None, None, None)
_Suite: Any = get_tap_test_class(
    TapOdoo, config=_config, suite_config=SuiteConfig(max_records_limit=20), parse_env_config=False
)


# singer-sdk warns of fields that no record has, as optional ones may be.
@pytest.mark.filterwarnings("ignore:Fields in transformed catalog but not in records")
class TestStandard(_Suite):
    """singer-sdk's own suite."""


def streams_table() -> str:
    """The table of the README."""
    lines = ["| stream | model | one record is |", "|---|---|---|"]
    for one in DECLARED:
        text = TapOdoo.spec.stream(one.name).description.removesuffix(".")
        lines.append(f"| {one.name} | `{one.model}` | {text} |")
    return "\n".join(lines)


def settings_table() -> str:
    """The settings of the README."""
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for name, setting in TapOdoo.spec.settings.items():
        default = "" if setting.default is None else f"`{json.dumps(setting.default)}`"
        lines.append(f"| `{name}` | {default} | {setting.description} |")
    return "\n".join(lines)


@pytest.mark.parametrize("table", [streams_table, settings_table])
def test_the_readme_tells_what_the_code_does(table: Any) -> None:
    assert table() in (PACKAGE / "README.md").read_text("utf-8")


def test_the_meltano_plugin_offers_what_the_tap_takes() -> None:
    plugin = yaml.safe_load((PACKAGE / "meltano.yml").read_text("utf-8"))
    (extractor,) = plugin["plugins"]["extractors"]
    offered = {one["name"]: one for one in extractor["settings"]}

    assert set(extractor["capabilities"]) == {one.value for one in TapOdoo.capabilities}
    assert set(offered) <= set(TapOdoo.config_jsonschema["properties"])
    for name, setting in TapOdoo.spec.settings.items():
        assert offered[name].get("sensitive", False) is setting.secret, name
        kind = "options" if setting.enum else KINDS.get(setting.type, "string")
        assert offered[name]["kind"] == kind, name


def test_exported_contracts_are_up_to_date() -> None:
    script = WORKSPACE / "schemas" / "export_streams.py"
    if not script.exists():
        pytest.skip("The package stands alone: there are no exported contracts beside it.")
    command = [sys.executable, str(script), "odoo", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.stdout, done.returncode) == ("", 0)


def test_declared_members_are_described_and_may_be_missing() -> None:
    for one in DECLARED:
        properties = declared_properties(one.name)
        assert {"id", "create_date", "write_date"} <= set(properties), one.name
        for name, about in properties.items():
            assert about["description"], f"{one.name}.{name}"
            assert ("null" in about["type"]) is (name != "id"), f"{one.name}.{name}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1150.0, "1150"), (0.1, "0.1"), (0, "0"), (-0.0, "0"), (1e-7, "0.0000001"), (100, "100"),
     (1e22, "1" + "0" * 22), (-1.50, "-1.5"), (float("nan"), "NaN")],
)  # fmt: skip
def test_numbers_are_written_in_one_way(value: float, text: str) -> None:
    assert decimal_text(value) == text


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("text", False, None),
        ("text", "", None),
        ("boolean", None, False),
        ("many2one", [7, "Acme"], 7),
        ("many2one", 7, 7),
        ("many2one", 0, None),
        ("many2many", [3, 1, 2], [1, 2, 3]),
        ("many2many", False, []),
        ("integer", False, 0),
        ("decimal", False, "0"),
        ("date", "2026-01-31", "2026-01-31"),
        ("datetime", "2026-01-31 12:00:00", "2026-01-31T12:00:00+00:00"),
        ("datetime", "2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("datetime", "1-01-01 00:00:01", "0001-01-01T00:00:01+00:00"),
        ("date", "987-01-01", "0987-01-01"),
        ("json", {}, None),
        ("json", {"3": 100.0}, {"3": 100.0}),
        ("properties", [{"name": "a", "type": "char", "value": "x"}, {"name": "b", "value": False}],
         {"a": "x"}),
        ("properties", [{"name": "a", "type": "many2one", "value": [4, "Acme"]}], {"a": 4}),
        ("properties", [{"name": "a", "type": "many2many", "value": [[4, "Acme"], [5, "Blue"]]}],
         {"a": [4, 5]}),
        ("properties", [{"name": "a", "type": "tags", "value": ["x", "y"]}], {"a": ["x", "y"]}),
        ("properties", [{"name": "a", "type": "integer", "value": 0}], {"a": 0}),
        ("properties", {"a": "x"}, {"a": "x"}),
    ],
)  # fmt: skip
def test_values_of_the_api_take_their_one_form(kind: str, given: Any, wanted: Any) -> None:
    assert canonical(kind, given) == wanted


def test_a_model_by_name_has_all_that_the_server_has(make_database: Any) -> None:
    database = make_database(18)
    database.execute(
        "insert into ir_model (model) values ('x_fleet'), ('x_report');"
        "create table x_fleet (id integer primary key, name varchar, x_tags jsonb, owner integer,"
        "  cost double precision, photo bytea, write_date timestamp);"
        "create table x_report (id integer primary key, total numeric);"
        "insert into x_fleet values (1, 'Van', null, 3, 0.1, 'x', '2026-01-05 08:00');"
        "insert into x_report values (1, 12.30), (2, null);"
    )
    for model, name, ttype in [
        ("x_fleet", "id", "integer"),
        ("x_fleet", "name", "char"),
        ("x_fleet", "x_tags", "json"),
        ("x_fleet", "owner", "many2one"),
        ("x_fleet", "cost", "float"),
        ("x_fleet", "photo", "binary"),
        ("x_fleet", "write_date", "datetime"),
        ("x_report", "id", "integer"),
        ("x_report", "total", "float"),
    ]:
        database.execute(
            "insert into ir_model_fields (model, name, ttype, store) values (%s, %s, %s, true)",
            *(model, name, ttype),
        )

    run = database.run(select=["x_fleet", "x_report"], models=["x_fleet", "x_report"])

    moment = "2026-01-05T08:00:00+00:00"
    assert run.records["x_fleet"] == [
        {"cost": "0.1", "id": 1, "name": "Van", "owner": 3, "write_date": moment, "x_tags": None}
    ]
    assert run.records["x_report"] == [{"id": 1, "total": "12.3"}, {"id": 2, "total": "0"}]
    assert run.schemas["x_report"].get("bookmark_properties") in (None, [])


def test_only_the_chosen_companies_are_read(make_database: Any) -> None:
    settings = {"company_ids": [2]}
    by_tables = make_database(18).run(**settings)
    with running_sandbox("odoo") as url:
        by_api = run_tap(TapOdoo, {**url.config(), "requests_per_second": 500, **settings})

    for stream in ("account_move", "account_account", "res_company", "res_partner"):
        assert by_tables.records[stream] == by_api.records[stream], stream
    assert {one["company_id"] for one in by_tables.records["account_move"]} == {2}
    assert [one["id"] for one in by_tables.records["res_company"]] == [2]
    assert len(by_tables.records["res_partner"]) == 6  # those of no company are everyone's


def test_texts_come_in_the_chosen_language(make_database: Any) -> None:
    database = make_database(18)

    french = database.run(select=["product_template"], language="fr_FR")
    other = database.run(select=["product_template"], language="de_DE")

    assert french.records["product_template"][0]["name"].endswith(" (fr)")
    assert not other.records["product_template"][0]["name"].endswith(" (fr)")


def test_values_of_each_company_follow_its_defaults(make_database: Any) -> None:
    """A company without a value of its own has the default of the settings."""
    database = make_database(18)
    name = "property_account_payable_id"
    (row,) = database.execute("select id from ir_model_fields where name = %s", name)
    database.execute(
        "insert into ir_default (field_id, company_id, json_value) values (%s, 2, '5')", row[0]
    )

    first, *_ = database.run(select=["res_partner"]).records["res_partner"]
    second, *_ = database.run(select=["res_partner"], company_id=2).records["res_partner"]

    assert first[f"{name}_by_company"] == second[f"{name}_by_company"] == {"1": 3, "2": 5}
    assert (first[name], second[name]) == (3, 5)
