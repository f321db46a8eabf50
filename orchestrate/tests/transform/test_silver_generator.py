# SPDX-License-Identifier: Apache-2.0
"""From a stream's JSON Schema and a few written decisions to Silver models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.transform.silver import generate
from ipai_orchestrate.transform.silver.__main__ import main
from ipai_orchestrate.transform.silver.columns import SilverModel, column_name, plan_model
from ipai_orchestrate.transform.silver.contract import StreamContract, column_type
from ipai_orchestrate.transform.silver.decisions import SourceDecisions, StreamDecisions
from ipai_orchestrate.transform.silver.render import model_sql, model_yaml

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT, INTEGER = {"type": ["string", "null"]}, {"type": "integer"}
TIME = {"type": ["string", "null"], "format": "date-time"}
PERSON = {"type": ["object", "null"], "properties": {"id": INTEGER, "login": TEXT}}

Write = Callable[..., Path]


def plan(
    properties: dict[str, Any], keys: tuple[str, ...] = ("id",), **decided: Any
) -> SilverModel:
    contract = StreamContract("shop", "orders", "erp", keys, properties, "")
    return plan_model(contract, StreamDecisions(entity=decided.pop("entity", "orders"), **decided))


def columns(model: SilverModel) -> dict[str, tuple[str, str]]:
    return {column.name: (".".join(column.path), column.type) for column in model.columns}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "bigint"),
        ({"type": ["null", "number"]}, "numeric"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "email"}, "text"),
        (TIME, "timestamptz"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "x-singer.decimal"}, "numeric"),
        ({"type": ["integer", "number"]}, "numeric"),
        ({"type": ["integer", "string"]}, "text"),
        ({"type": ["object", "string"]}, "jsonb"),
        ({"type": "array"}, "jsonb"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "timestamptz"),
        ({"oneOf": [{"type": "integer"}, {"anyOf": [{"type": "string"}]}]}, "text"),
        ({}, "jsonb"),
    ],
)
def test_a_schema_gives_the_narrowest_type_that_holds_it(
    schema: dict[str, Any], expected: str
) -> None:
    assert column_type(schema) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("created_at", "created_at"),
        ("createdAt", "created_at"),
        ("HTMLTitle", "htmltitle"),
        ("_repository_id", "repository_id"),
        ("+1", "1"),
        ("Amount (EUR)", "amount_eur"),
        ("default", "default_value"),
        ("user", "user_value"),
        ("---", "value"),
    ],
)
def test_a_property_becomes_a_plain_column_name(given: str, expected: str) -> None:
    assert column_name(given) == expected


def test_keys_come_first_behind_the_instance_and_are_required() -> None:
    model = plan({"name": TEXT, "id": INTEGER, "_shop": INTEGER}, keys=("_shop", "id"))

    assert model.key == ("instance_id", "shop", "id")
    assert list(columns(model)) == ["shop", "id", "name"]
    assert [column.name for column in model.all_columns if column.required] == [
        "instance_id",
        "shop",
        "id",
        "_emitted_at",
        "_loaded_at",
        "_source",
        "_stream",
    ]


def test_a_stream_without_keys_is_told_apart_by_its_content() -> None:
    model = plan({"name": TEXT}, keys=())

    assert model.key == ("instance_id", "_record_key")
    assert "_record_key" in {column.name for column in model.all_columns}
    assert "unique_key=['instance_id', '_record_key']" in model_sql(model)


def test_decisions_shape_the_columns() -> None:
    model = plan(
        {
            "id": INTEGER,
            "self_url": TEXT,
            "html_url": TEXT,
            "user": PERSON,
            "total": TEXT,
            "commit": {
                "type": "object",
                "properties": {"message": TEXT, "author": {"properties": {"date": TIME}}},
            },
            "labels": {"type": "array"},
            "secret": TEXT,
        },
        exclude=("*_url", "secret"),
        include=("html_url",),
        rename={"labels": "tags"},
        nested={
            "user": {"id": "author_id", "nickname": "author_nickname"},
            "commit": {"message": "message"},
            "commit.author": {"date": "authored_at"},
        },
        types={"total": "numeric"},
        partition_by=("created_at", "authored_at"),
    )

    assert columns(model) == {
        "id": ("id", "bigint"),
        "html_url": ("html_url", "text"),
        "author_id": ("user.id", "bigint"),
        "total": ("total", "numeric"),
        "message": ("commit.message", "text"),
        "authored_at": ("commit.author.date", "timestamptz"),
        "tags": ("labels", "jsonb"),
    }
    assert model.partition_by == "authored_at"
    assert "'columns': ['instance_id', 'id', 'authored_at'], 'unique': true" in model_sql(model)


def test_names_follow_the_rules() -> None:
    model = plan({"id": INTEGER}, entity="sales")

    assert (model.schema, model.name, model.bronze) == (
        "ipai_silver_erp",
        "shop_sales",
        "raw_shop_orders",
    )


@pytest.mark.parametrize(
    ("properties", "decided", "message"),
    [
        ({"id": INTEGER, "_id": INTEGER}, {}, "both become column 'id'"),
        ({"id": INTEGER, "instance_id": TEXT}, {}, "cannot become column 'instance_id'"),
        ({"id": INTEGER, "a": TEXT}, {"rename": {"a": "order"}}, "cannot become column 'order'"),
        ({"id": INTEGER, "x" * 64: TEXT}, {}, "reserved or too long"),
        ({"name": TEXT}, {}, "Key 'id' of stream 'orders' gives no column"),
    ],
)
def test_what_cannot_be_a_table_is_refused(
    properties: dict[str, Any], decided: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plan(properties, **decided)


def test_quotes_and_foreign_letters_survive_the_template() -> None:
    model = plan({"id": INTEGER, "it's": TEXT, 'say "hi"\\': TEXT, "größe": TEXT})

    text = model_sql(model)

    assert r"['it\'s']" in text
    assert r"""['say "hi"\\']""" in text
    assert "['größe']" in text


def test_a_contract_says_type_description_and_key_of_each_column() -> None:
    model = plan({"id": {**INTEGER, "description": "Number\n  on the invoice."}, "note": TEXT})

    [written] = yaml.safe_load(model_yaml(model))["models"]

    by_name = {column["name"]: column for column in written["columns"]}
    assert by_name["id"] == {
        "name": "id",
        "data_type": "bigint",
        "description": "Number on the invoice.",
        "constraints": [{"type": "not_null"}],
    }
    assert by_name["note"]["description"] == "Field note as the source delivers it."
    assert written["data_tests"] == [
        {"unique_combination": {"arguments": {"columns": ["instance_id", "id"]}}}
    ]


def test_generating_twice_changes_nothing_and_a_gone_stream_takes_its_files_along(
    write_stream: Write, tmp_path: Path
) -> None:
    transform = tmp_path / "transform"
    schemas = write_stream("orders", {"id": INTEGER}, ["id"])
    write_stream("carts", {"id": INTEGER}, ["id"])
    folder = transform / "models/silver/shop"

    first = generate(transform, schemas)
    again = generate(transform, schemas)

    assert {path.name for path in first.written} == {
        "_sources.yml",
        "shop_carts.sql",
        "shop_carts.yml",
        "shop_orders.sql",
        "shop_orders.yml",
    }
    assert not again

    (folder / "shop_by_hand.sql").write_text("select 1")
    (schemas / "streams/shop/carts.json").unlink()
    drift = generate(transform, schemas, check=True)

    assert [path.name for path in drift.removed] == ["shop_carts.sql", "shop_carts.yml"]
    assert (folder / "shop_carts.sql").exists(), "a check changes nothing"

    generate(transform, schemas)

    assert {path.name for path in folder.glob("*.sql")} == {"shop_orders.sql", "shop_by_hand.sql"}


def test_two_streams_cannot_share_a_table(write_stream: Write, tmp_path: Path) -> None:
    schemas = write_stream("orders", {"id": INTEGER}, ["id"])
    write_stream("carts", {"id": INTEGER}, ["id"])
    (tmp_path / "transform/silver").mkdir(parents=True)
    (tmp_path / "transform/silver/shop.yml").write_text("streams: {carts: {entity: orders}}")

    with pytest.raises(ConfigurationError, match="both become 'shop_orders'"):
        generate(tmp_path / "transform", schemas)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("excluded: [a]", "Unknown key 'excluded'.*Use one of: exclude, include"),
        ("streams: {orders: {colour: red}}", r"Unknown key 'streams\.orders\.colour'"),
        ("exclude: a", "Key 'exclude'.* is 'a'. Write a list"),
        ("streams: {orders: {entity: [a]}}", r"Key 'streams\.orders\.entity'.*Write a str"),
        ("streams: {refunds: {}}", "names streams without a contract: refunds"),
    ],
)
def test_a_mistake_in_the_decisions_is_named(
    text: str, message: str, write_stream: Write, tmp_path: Path
) -> None:
    schemas = write_stream("orders", {"id": INTEGER}, ["id"])
    (tmp_path / "transform/silver").mkdir(parents=True)
    (tmp_path / "transform/silver/shop.yml").write_text(text)

    with pytest.raises(ConfigurationError, match=message):
        generate(tmp_path / "transform", schemas)


def test_a_stream_lays_its_decisions_over_those_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(
        "exclude: [a]\npartition_by: [created_at]\nnested: {user: {id: user_id}}\n"
        "streams:\n  orders:\n    exclude: [b]\n    partition_by: []\n"
        "    nested: {user: {login: user_login}}\n"
    )
    decisions = SourceDecisions.load(path)

    assert decisions.of("carts").partition_by == ("created_at",)
    orders = decisions.of("orders")
    assert (orders.exclude, orders.partition_by) == (("a", "b"), ())
    assert orders.nested == {"user": {"login": "user_login"}}


def test_a_file_that_is_no_contract_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "schemas/streams/shop"
    folder.mkdir(parents=True)
    (folder / "orders.json").write_text('{"type": "object"}')

    with pytest.raises(ConfigurationError, match=r"orders\.json' cannot be read: KeyError"):
        generate(tmp_path / "transform", tmp_path / "schemas")


def test_the_committed_models_are_what_the_streams_give() -> None:
    drift = generate(REPOSITORY / "transform", REPOSITORY / "schemas", check=True)

    assert not drift, "Run `ipai silver generate` and commit what it writes."


def test_the_command_writes_and_checks(write_stream: Write, tmp_path: Path) -> None:
    (tmp_path / "transform").mkdir()
    schemas = write_stream("orders", {"id": INTEGER}, ["id"])
    folders = ["--transform", str(tmp_path / "transform"), "--schemas", str(schemas)]
    runner = CliRunner()

    stale = runner.invoke(main, [*folders, "--check"])
    written = runner.invoke(main, folders)
    current = runner.invoke(main, [*folders, "--check"])
    as_json = runner.invoke(main, [*folders, "--json"])

    assert json.loads(as_json.output) == {"write": [], "remove": []}
    assert (stale.exit_code, written.exit_code, current.exit_code) == (1, 0, 0)
    assert "Silver is out of date" in stale.output
    assert "shop_orders.sql" in written.output
    assert current.output == ""

    (schemas / "streams/shop/orders.json").write_text("{}")

    assert runner.invoke(main, folders).exit_code == ConfigurationError.exit_code
