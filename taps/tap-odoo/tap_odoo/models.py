# SPDX-License-Identifier: Apache-2.0
"""Which models are streams, and what a record has although versions name it differently."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ipai_kit.resources import package_file
from tap_odoo.fields import Field, Model, kind_of, kind_of_schema, property_of

__all__ = [
    "DECLARED",
    "Output",
    "Shape",
    "StreamModel",
    "declared_properties",
    "declared_shape",
    "shape_of",
]

INVOICES = ("out_invoice", "out_refund", "in_invoice", "in_refund", "out_receipt", "in_receipt")


@dataclass(frozen=True)
class StreamModel:
    """A stream: all records of a model, or those with one of some values."""

    name: str
    model: str
    only: tuple[str, Sequence[str]] | None = None


def _plain(*models: str) -> list[StreamModel]:
    return [StreamModel(model.replace(".", "_"), model) for model in models]


DECLARED: tuple[StreamModel, ...] = (
    *_plain("res.company", "res.currency", "res.currency.rate", "res.partner", "res.users"),
    *_plain("account.account", "account.journal", "account.tax", "account.move"),
    StreamModel("account_invoice", "account.move", ("move_type", INVOICES)),
    *_plain("account.move.line", "account.payment", "account.partial.reconcile"),
    *_plain("account.analytic.line", "uom.uom", "product.category", "product.template"),
    *_plain("product.product", "crm.team", "sale.order", "sale.order.line", "purchase.order"),
    *_plain("purchase.order.line", "stock.warehouse", "stock.location", "stock.quant"),
    *_plain("stock.picking", "stock.move", "stock.move.line", "project.project.stage"),
    *_plain("project.project", "project.task.type", "project.task", "hr.employee", "crm.lead"),
)

# What a field of ours is called in versions that lack it.
_OTHER_NAMES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "res.partner": {"complete_name": ("display_name",)},
    "res.users": {"group_ids": ("groups_id",)},
    "account.payment": {"memo": ("ref",)},
    "project.project": {"account_id": ("analytic_account_id",)},
    "project.task": {"allocated_hours": ("planned_hours",)},
    "sale.order.line": {"tax_ids": ("tax_id",), "product_uom": ("product_uom_id",)},
    "purchase.order.line": {"tax_ids": ("taxes_id",), "product_uom": ("product_uom_id",)},
    "stock.move": {"quantity": ("quantity_done",)},
    "stock.move.line": {"quantity": ("qty_done",)},
}
# What used to be a kind of product, or the opposite of another field: field, its value.
_EQUALS: Mapping[str, Mapping[str, Sequence[tuple[str, Any]]]] = {
    "product.template": {"is_storable": (("detailed_type", "product"), ("type", "product"))},
    "account.account": {"deprecated": (("active", False),)},
}
# One where later versions have several.
_AS_LIST: Mapping[str, Mapping[str, str]] = {"account.account": {"company_ids": "company_id"}}
# Until 17 a payment keeps these in its journal entry.
_THROUGH: Mapping[str, tuple[str, str]] = {"account.payment": ("move_id", "account.move")}
# Not stored, yet no record is whole without them.
_ASKED_FOR: Mapping[str, Sequence[str]] = {"account.account": ("code",)}
_SECRET = re.compile(r"passw|secret|token|api_?key|private_key")
# What other members say already, and answers to questions about the user.
_LEFT_OUT = {"code_store", "access_url", "access_warning"}


@dataclass(frozen=True)
class Output:
    """One member of a record: its form, and where this server has it."""

    name: str
    kind: str
    source: Field | None = None
    equals: Any = None
    """The member is whether the source has this value."""
    through: tuple[str, str] | None = None
    """Field that leads to the record, and its model, which has the source."""
    per_company: bool = False
    """Each company has a value of its own."""
    by_company: bool = False
    """All of them, by the company's id."""


@dataclass(frozen=True)
class Shape:
    """A stream as this server can give it."""

    stream: StreamModel
    model: Model
    outputs: Sequence[Output]
    scope: str = ""
    """The field that says to which company a record belongs."""
    schema: Mapping[str, Any] = field(default_factory=dict)

    def output(self, name: str) -> Output | None:
        """Return a member by name."""
        return next((one for one in self.outputs if one.name == name), None)


@cache
def declared_properties(stream: str) -> Mapping[str, Any]:
    """Return the members that a stream has in every version; none for models given by name."""
    file = package_file(StreamModel, "schemas", f"{stream}.json")
    if file is None or not file.is_file():
        return {}
    properties: dict[str, Any] = json.loads(file.read_text("utf-8"))["properties"]
    return properties


def declared_shape(stream: StreamModel) -> Shape:
    """Return a stream as every version has it, without asking a server."""
    moment = Field("write_date", "datetime")
    return shape_of(stream, Model(stream.model, fields={"write_date": moment}), {})


def shape_of(stream: StreamModel, model: Model, related: Mapping[str, Model]) -> Shape:
    """Settle the members of a stream's records: those declared, and what this server adds."""
    declared = declared_properties(stream.name)
    outputs = {
        name: _declared_output(name, kind_of_schema(schema), model, related)
        for name, schema in declared.items()
        if not _is_by_company(name, declared)
    }
    renamed = {
        one.source.name for one in outputs.values() if one.source is not None and one.equals is None
    }
    for name in sorted(model.fields.keys() - outputs.keys() - renamed):
        if extra := _further_output(model, name, bool(declared)):
            outputs[name] = extra
    every = _with_companies(outputs, declared)
    schema = {
        one.name: {**property_of("by_company" if one.by_company else one.kind), **_about(one)}
        | dict(declared.get(one.name, {}))
        for one in every
    }
    schema["id"] = {**declared.get("id", {"description": "Id of the record."}), "type": "integer"}
    return Shape(stream, model, every, _scope_of(model, outputs), schema)


def _is_by_company(name: str, declared: Mapping[str, Any]) -> bool:
    return name.endswith("_by_company") and name.removesuffix("_by_company") in declared


def _declared_output(name: str, kind: str, model: Model, related: Mapping[str, Model]) -> Output:
    names = (name, *_OTHER_NAMES.get(model.name, {}).get(name, ()))
    asked = _ASKED_FOR.get(model.name, ())
    found: Field | None
    for one in names:
        found = model.fields.get(one)
        if found is not None and (found.stored or found.company_dependent or name in asked):
            per_company = found.company_dependent or name in asked
            return Output(name, _kind(kind, found), found, per_company=per_company)
    for one, value in _EQUALS.get(model.name, {}).get(name, ()):
        if (found := model.fields.get(one)) is not None:
            return Output(name, "boolean", found, equals=value)
    if (found := model.fields.get(_AS_LIST.get(model.name, {}).get(name, ""))) is not None:
        return Output(name, kind, found)
    if model.name in _THROUGH:
        way = _THROUGH[model.name]
        for one in names:
            if (found := related.get(way[1], Model("")).fields.get(one)) is not None:
                return Output(name, _kind(kind, found), found, through=way)
    return Output(name, kind)


def _kind(declared: str, found: Field) -> str:
    """A declared whole number may be a link, which is never 0; the server knows."""
    exact = kind_of(found.ttype)
    is_finer = (declared, exact) in (("integer", "many2one"), ("json", "properties"))
    return str(exact) if is_finer else declared


def _further_output(model: Model, name: str, is_declared: bool) -> Output | None:
    """A stored field that no version promises: custom fields, modules of others."""
    found = model.fields[name]
    kind = kind_of(found.ttype)
    if kind is None or name in _LEFT_OUT or not (found.stored or found.company_dependent):
        return None
    if kind == "text" and _SECRET.search(name):
        return None
    if kind == "many2many" and is_declared and not name.startswith("x_"):
        return None
    return Output(name, kind, found, per_company=found.company_dependent)


def _with_companies(outputs: Mapping[str, Output], declared: Mapping[str, Any]) -> list[Output]:
    every = []
    for one in outputs.values():
        every.append(one)
        name = f"{one.name}_by_company"
        if one.per_company or name in declared:
            every.append(replace(one, name=name, by_company=True))
    return every


def _about(one: Output) -> dict[str, str]:
    label = one.source.label if one.source is not None else ""
    return {"description": f"{label}, by company id" if one.by_company else label} if label else {}


def _scope_of(model: Model, outputs: Mapping[str, Output]) -> str:
    if model.name == "res.company":
        return "id"
    for name in ("company_ids", "company_id"):
        if name in model.fields and (model.fields[name].stored or name in outputs):
            return name
    return "company_id" if "company_id" in outputs else ""
