# SPDX-License-Identifier: Apache-2.0
"""What the tests of this tap share: the stand-in's facts as tables of each version, and runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ipai_kit.testing import TapRun, run_tap
from ipai_kit.testing.postgres import PostgresServer, running_postgres
from tap_odoo.models import DECLARED
from tap_odoo.sandbox import WireField, World, wire_fields
from tap_odoo.tap import TapOdoo

_TYPES = {
    "integer": "integer",
    "many2one": "integer",
    "float": "numeric",
    "boolean": "boolean",
    "char": "varchar",
    "selection": "varchar",
    "date": "date",
    "datetime": "timestamp",
    "json": "jsonb",
}
_META = """
create table ir_module_module (name varchar, latest_version varchar);
create table ir_model (id serial primary key, model varchar);
create table ir_model_fields (
  id serial primary key, model varchar, name varchar, ttype varchar, relation varchar,
  relation_table varchar, column1 varchar, column2 varchar, store boolean, translate boolean,
  related varchar, depends varchar,
  field_description jsonb
);
create table ir_property (
  fields_id integer, company_id integer, res_id varchar, value_reference varchar,
  value_float double precision, value_integer integer, value_text varchar,
  value_datetime timestamp
);
create table ir_default (
  id serial, field_id integer, user_id integer, company_id integer, condition varchar,
  json_value varchar
);
"""
_FIRST_WITH_JSONB = 18


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The PostgreSQL that all tests share."""
    with running_postgres() as started:
        yield started


@dataclass
class OdooDatabase:
    """A database as Odoo of one version would have it, with the facts of a world."""

    url: str
    connection: psycopg.Connection[Any]
    world: World
    version: int

    def execute(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(text.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def config(self, **settings: Any) -> dict[str, Any]:
        return {"transport": "postgres", "database_url": self.url, **settings}

    def run(self, state: Any = None, select: Any = None, **settings: Any) -> TapRun:
        return run_tap(TapOdoo, self.config(**settings), state=state, select=select)

    # -- making it --------------------------------------------------------------------------

    def build(self) -> None:
        self.execute("set timezone = 'UTC'")
        self.connection.execute(_META.encode())
        if self.version >= _FIRST_WITH_JSONB:
            self.execute("alter table ir_model_fields add company_dependent boolean")
        self.execute("insert into ir_module_module values ('base', %s)", f"{self.version}.0.1.3")
        for model in dict.fromkeys(one.model for one in DECLARED):
            self._table(model)
        if self.version > 16:
            self.execute("alter table res_company add parent_path varchar")

    def _table(self, model: str) -> None:
        fields = self._fields(model)
        self.execute("insert into ir_model (model) values (%s)", model)
        for one in fields:
            self._describe(model, one)
        columns = [one for one in fields if _column(one, self.version)]
        shape = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(one.name), sql.SQL(_column(one, self.version)))
            for one in columns
        )
        table = sql.Identifier(model.replace(".", "_"))
        self.connection.execute(sql.SQL("create table {} ({})").format(table, shape))
        for number in self.world.records[model]:
            self.put(model, number)

    def _fields(self, model: str) -> list[WireField]:
        found = wire_fields(model, self.version)
        if model == "account.account" and self.version >= _FIRST_WITH_JSONB:
            code = next(one for one in found if one.name == "code")
            store = WireField("code_store", "char", code.value, by_company=code.by_company)
            return [*(one for one in found if one is not code), code_without_column(code), store]
        return found

    def _describe(self, model: str, one: WireField) -> None:
        link = _link(model, one) if one.ttype == "many2many" else (None, None, None)
        label = json.dumps({"en_US": one.name})
        (row,) = self.execute(
            "insert into ir_model_fields (model, name, ttype, relation_table, column1, column2,"
            " store, translate, field_description) values (%s,%s,%s,%s,%s,%s,%s,%s,%s)"
            " returning id",
            *(model, one.name, one.ttype, *link, one.stored, one.translated, label),
        )
        if link[0]:
            text = "create table {} ({} integer, {} integer)"
            self.connection.execute(sql.SQL(text).format(*map(sql.Identifier, link)))
        if self.version >= _FIRST_WITH_JSONB:
            text = "update ir_model_fields set company_dependent = %s where id = %s"
            self.execute(text, bool(one.by_company) and one.name != "code", row[0])

    def put(self, model: str, number: int) -> None:
        """Write a record as it is in the world now."""
        record, table = self.world.records[model][number], model.replace(".", "_")
        self.drop(model, number)
        values: dict[str, Any] = {}
        for one in self._fields(model):
            value = one.value(record)
            if one.ttype == "many2many":
                self._put_links(model, number, one, value)
            elif _column(one, self.version):
                values[one.name] = self._stored(one, value, record)
            elif one.by_company and self.version < _FIRST_WITH_JSONB:
                self._put_properties(model, number, one, record[one.by_company])
        values["write_date"] = self.world.moments[model, number].replace(tzinfo=None)
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        places = sql.SQL(", ").join([sql.Placeholder()] * len(values))
        text = sql.SQL("insert into {} ({}) values ({})")
        query = text.format(sql.Identifier(table), names, places)
        self.connection.execute(query, list(values.values()))

    def drop(self, model: str, number: int) -> None:
        table = sql.Identifier(model.replace(".", "_"))
        self.connection.execute(sql.SQL("delete from {} where id = %s").format(table), [number])

    def _stored(self, one: WireField, value: Any, record: Mapping[str, Any]) -> Any:
        if one.by_company:
            found = dict(record[one.by_company])
            if one.ttype == "float":
                found = {key: float(each) for key, each in found.items()}
            return json.dumps(found)
        if one.translated and value is not None:
            return json.dumps({"en_US": value, "fr_FR": f"{value} (fr)"})
        return json.dumps(value) if one.ttype == "json" and value is not None else value

    def _put_links(self, model: str, number: int, one: WireField, ids: Any) -> None:
        table, here, there = map(sql.Identifier, _link(model, one))
        self.connection.execute(
            sql.SQL("delete from {} where {} = %s").format(table, here), [number]
        )
        for other in reversed(ids or []):
            text = sql.SQL("insert into {} ({}, {}) values (%s, %s)").format(table, here, there)
            self.connection.execute(text, [number, other])

    def _put_properties(self, model: str, number: int, one: WireField, values: Any) -> None:
        (row,) = self.execute(
            "select id from ir_model_fields where (model, name) = (%s, %s)", model, one.name
        )
        column = {"many2one": "value_reference", "float": "value_float"}[one.ttype]
        for company, value in values.items():
            text = f"x.model,{value}" if one.ttype == "many2one" else value
            self.execute(
                f"insert into ir_property (fields_id, company_id, res_id, {column})"
                " values (%s, %s, %s, %s)",
                *(row[0], int(company), f"{model},{number}", text),
            )


def code_without_column(code: WireField) -> WireField:
    return WireField("code", "char", code.value, stored=False)


def _column(one: WireField, version: int) -> str:
    if not one.stored or one.ttype not in _TYPES:
        return ""
    if one.translated or (one.by_company and version >= _FIRST_WITH_JSONB):
        return "jsonb"
    return "integer primary key" if one.name == "id" else _TYPES[one.ttype]


def _link(model: str, one: WireField) -> tuple[str, str, str]:
    table = model.replace(".", "_")
    return f"{table}_{one.name}_rel", f"{table}_id", "other_id"


@pytest.fixture(scope="module")
def make_database(server: PostgresServer) -> Iterator[Callable[[int], OdooDatabase]]:
    """A maker of databases of any version; they end with the module's tests."""
    with ExitStack() as stack:

        def make(version: int = 18) -> OdooDatabase:
            name = stack.enter_context(server.new_database())
            connection = psycopg.connect(server.dsn(name))
            stack.callback(connection.close)
            made = OdooDatabase(server.url(name), connection, World(), version)
            made.build()
            connection.commit()
            connection.autocommit = True
            return made

        yield make
