# SPDX-License-Identifier: Apache-2.0
"""The SQL that makes the database write whole records, each value in its one form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tap_odoo.fields import Field
from tap_odoo.models import Output, Shape
from tap_odoo.postgres.companies import Companies, Company
from tap_odoo.source import Position

__all__ = ["Select", "literal", "name"]

_SECONDS = """'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'"""
_EXACT = """'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'"""
# A record from a wrong clock is no later than now.
_MOMENT = f"to_char(least({{0}}, now() at time zone 'UTC'), {_EXACT})"
_FLOATS = ("float4", "float8")
# The columns of a property until 17, and how JSON is made of them.
_PROPERTY_VALUES = {
    "many2one": "to_jsonb(nullif(split_part(p.value_reference, ',', 2), '')::integer)",
    "decimal": "to_jsonb(p.value_float::text::numeric)",
    "integer": "to_jsonb(p.value_integer)",
    "boolean": "to_jsonb(p.value_integer <> 0)",
    "text": "to_jsonb(p.value_text)",
    "date": "to_jsonb(to_char(p.value_datetime, 'YYYY-MM-DD'))",
    "datetime": "to_jsonb(to_char(p.value_datetime, 'YYYY-MM-DD HH24:MI:SS'))",
}


def name(text: str) -> str:
    """Quote an identifier."""
    return '"' + text.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """Write a value as SQL."""
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def _array(values: Iterable[Any], of: str) -> str:
    return f"array[{', '.join(map(literal, values))}]::{of}[]"


class Select:
    """The statements on one stream."""

    def __init__(self, shape: Shape, companies: Companies, language: str, *, limited: bool) -> None:
        self._shape = shape
        self._companies = companies
        self._language = language
        self._limited = limited

    def records(self, position: Position) -> str:
        """Give JSON, id and exact moment of change of each record."""
        members = ",\n".join(
            f"{self._member(one)} as {name(one.name)}" for one in self._shape.outputs
        )
        has_moment = self._shape.model.has_write_date
        moment = _MOMENT.format("t.write_date") if has_moment else "null"
        order = "t.id" if position.since is None else "t.write_date, t.id"
        record = f"(select row_to_json(r) from (select {members}) as r)"  # noqa: S608 -- quoted
        return f"select {record}, t.id, {moment} {self._from_where(position)} order by {order}"

    def ids(self, position: Position) -> str:
        """Give all ids."""
        return f"select t.id {self._from_where(position)} order by t.id"

    def high_water(self) -> str:
        """Give the last moment of change; no row where there is none, which `least` would hide."""
        last = "max(t.write_date)"
        rows = f"{self._from_where(Position())} having {last} is not null"
        return f"select {_MOMENT.format(last)} {rows}"

    # -- which records ----------------------------------------------------------------------

    def _from_where(self, position: Position) -> str:
        conditions = [*self._filters(), *self._scope()]
        if position.after_id is not None:
            conditions.append(f"t.id > {literal(position.after_id)}")
        if position.among is not None:
            conditions.append(f"t.id = any({_array(position.among, 'integer')})")
        for since in (position.since, position.not_before):
            if since is None:
                continue
            moment = f"{literal(since)}::timestamptz at time zone 'UTC'"
            conditions.append(f"t.write_date >= {moment}")
        where = f" where {' and '.join(conditions)}" if conditions else ""
        return f"from {name(self._shape.model.table)} as t{where}"

    def _filters(self) -> list[str]:
        if self._shape.stream.only is None:
            return []
        column, values = self._shape.stream.only
        return [f"t.{name(column)} = any({_array(values, 'text')})"]

    def _scope(self) -> list[str]:
        scope = self._shape.scope
        if not self._limited or not scope:
            return []
        ours = _array((one.id for one in self._companies.known), "integer")
        if scope == "id":
            return [f"t.id = any({ours})"]
        member = self._shape.output(scope)
        found = member.source if member else self._shape.model.fields.get(scope)
        if found is not None and found.link:
            table, here, there = map(name, found.link)
            of_it = f"select from {table} as c where c.{here} = t.id"
            return [f"(exists ({of_it} and c.{there} = any({ours})) or not exists ({of_it}))"]
        column = self._member(member) if member else f"t.{name(scope)}"
        return [f"coalesce({column} = any({ours}), true)"]

    # -- what they have ---------------------------------------------------------------------

    def _member(self, one: Output) -> str:
        if one.name == "id":
            return "t.id"
        if one.source is None:
            return "null"
        if one.by_company:
            return self._by_company(one, one.source)
        if one.per_company:
            return self._of_first_company(one, one.source)
        if one.through:
            return self._through(one, one.source)
        return self._plain(one, one.source, "t")

    def _plain(self, one: Output, source: Field, alias: str) -> str:
        if one.kind == "many2many":
            return _linked(source, alias)
        if not source.column_type:
            return "null"
        column = f"{alias}.{name(source.name)}"
        if one.equals is not None:
            truth = column if isinstance(one.equals, bool) else f"{column} = {literal(one.equals)}"
            return (
                f"not coalesce({truth}, true)"
                if one.equals is False
                else f"coalesce({truth}, false)"
            )
        return self._value(one.kind, column, source)

    def _value(self, kind: str, column: str, source: Field) -> str:
        if kind == "text":
            text = f"{column}::text"
            if source.column_type == "jsonb":
                text = f"coalesce({column} ->> {literal(self._language)}, {column} ->> 'en_US')"
            return f"nullif({text}, '')"
        if kind == "decimal":
            number = f"{column}::text" if source.column_type in _FLOATS else column
            return f"trim_scale(coalesce({number}::numeric, 0))::text"
        return _FORMS[kind].format(column)

    def _through(self, one: Output, source: Field) -> str:
        """Follow a link to the record that has the value."""
        link, model = one.through or ("", "")
        value = self._plain(one, source, "u")
        table = name(model.replace(".", "_"))
        return f"(select {value} from {table} as u where u.id = t.{name(link)})"  # noqa: S608

    # -- values by company ------------------------------------------------------------------

    def _of_first_company(self, one: Output, source: Field) -> str:
        first = self._of_company(one, source, self._companies.known[0])
        if source.name != "code":
            return _from_json(one.kind, first)
        others = [self._of_company(one, source, other) for other in self._companies.known[1:]]
        return _from_json(one.kind, f"coalesce({', '.join([first, *others])})")

    def _by_company(self, one: Output, source: Field) -> str:
        rows = ", ".join(
            f"({literal(str(other.id))}, {self._of_company(one, source, other)})"
            for other in sorted(self._companies.known, key=lambda company: company.id)
        )
        value = _from_json(one.kind, "d.v")
        return (
            "coalesce((select jsonb_object_agg(s.k, s.x) from "  # noqa: S608 -- quoted
            f"(select d.k, {value} as x from (values {rows}) as d (k, v)) as s "
            "where s.x is not null), '{}'::jsonb)"
        )

    def _of_company(self, one: Output, source: Field, company: Company) -> str:
        """Return JSON: what the field is to one company."""
        model = self._shape.model
        if model.name == "account.account" and source.name == "code":
            return _account_code(model.fields, company)
        key = (model.name, source.name)
        if key in self._companies.property_fields:
            return _property(one.kind, self._companies.property_fields[key], model.name, company.id)
        if source.column_type != "jsonb":
            return f"to_jsonb(t.{name(source.name)})" if source.column_type else "null::jsonb"
        value = f"t.{name(source.name)} -> {literal(str(company.id))}"
        default = self._companies.default(model.name, source.name, company.id)
        return f"coalesce({value}, {literal(default)}::jsonb)" if default else f"({value})"


_FORMS = {
    "boolean": "coalesce({0}, false)",
    "integer": "coalesce({0}, 0)",
    "many2one": "nullif({0}, 0)",
    "date": "{0}::date",
    # Infinite ones, those before Christ and after 9999 are no ISO 8601: in Postgres' own words.
    "datetime": (
        "case when {0} >= '0001-01-01' and {0} < '10000-01-01' "
        f"then to_char({{0}}::timestamp, {_SECONDS}) else {{0}}::text end"
    ),
    "json": "nullif(nullif(nullif({0}, '{{}}'), '[]'), 'false')",
    "properties": (
        "(select jsonb_object_agg(e.key, e.value) from jsonb_each({0}) as e "
        "where e.value not in ('null', 'false'))"
    ),
}
_FROM_JSON = {
    "boolean": "coalesce(({0} #>> '{{}}')::boolean, false)",
    "integer": "coalesce((nullif({0}, 'false') #>> '{{}}')::bigint, 0)",
    "decimal": "trim_scale(coalesce((nullif({0}, 'false') #>> '{{}}')::numeric, 0))::text",
    "many2one": "nullif((nullif({0}, 'false') #>> '{{}}')::integer, 0)",
    "datetime": "replace(nullif({0}, 'false') #>> '{{}}', ' ', 'T') || '+00:00'",
}


def _from_json(kind: str, value: str) -> str:
    return _FROM_JSON.get(kind, "nullif(nullif({0}, 'false') #>> '{{}}', '')").format(f"({value})")


def _linked(source: Field, alias: str) -> str:
    if source.link is None:  # one where later versions have several
        column = f"{alias}.{name(source.name)}"
        return f"to_jsonb(array_remove(array[{column}], null))" if source.column_type else "null"
    table, here, there = map(name, source.link)
    of_it = f"from {table} as l where l.{here} = {alias}.id"
    return f"array(select l.{there} {of_it} order by l.{there})"


def _account_code(fields: Any, company: Company) -> str:
    """From 18 on a code for each top company; before that an account belonged to one company."""
    if "company_ids" in fields:
        return f"(t.code_store -> {literal(str(company.root))})"
    above: Sequence[int] = company.above or [company.id]
    return f"case when t.company_id = any({_array(above, 'integer')}) then to_jsonb(t.code) end"


def _property(kind: str, field_id: int, model: str, company: int) -> str:
    value = _PROPERTY_VALUES.get(kind, _PROPERTY_VALUES["text"])
    return (
        f"(select {value} from ir_property as p where p.fields_id = {field_id} "  # noqa: S608
        f"and (p.company_id = {company} or p.company_id is null) "
        f"and (p.res_id = {literal(model + ',')} || t.id or coalesce(p.res_id, '') = '') "
        "order by coalesce(p.res_id, '') = '', p.company_id is null limit 1)"
    )
