# SPDX-License-Identifier: Apache-2.0
"""How each version spells the facts: names of fields, their types, and what it does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tap_odoo.fields import kind_of_schema
from tap_odoo.models import declared_properties

__all__ = ["WireField", "wire_fields"]

Record = Mapping[str, Any]
_TYPES = {
    "integer": "integer",
    "decimal": "float",
    "boolean": "boolean",
    "text": "char",
    "date": "date",
    "datetime": "datetime",
    "many2many": "many2many",
    "json": "json",
}
_RENAMED: Mapping[tuple[int, int], Mapping[tuple[str, str], str]] = {
    (16, 16): {
        ("res.partner", "complete_name"): "display_name",
        ("project.task", "allocated_hours"): "planned_hours",
        ("stock.move", "quantity"): "quantity_done",
        ("stock.move.line", "quantity"): "qty_done",
    },
    (16, 17): {
        ("project.project", "account_id"): "analytic_account_id",
        ("account.payment", "memo"): "ref",
    },
    (16, 18): {
        ("sale.order.line", "tax_ids"): "tax_id",
        ("purchase.order.line", "tax_ids"): "taxes_id",
    },
    (19, 19): {
        ("sale.order.line", "product_uom"): "product_uom_id",
        ("purchase.order.line", "product_uom"): "product_uom_id",
    },
}
_UNTIL_17 = 17
_INHERITED = ("name", "state", "date", "journal_id", "company_id", "ref")
_PLAIN_NUMBERS = ("id", "sequence", "color", "rank", "places", "day")


@dataclass(frozen=True)
class WireField:
    """One field as a server of some version has it."""

    name: str
    ttype: str
    value: Callable[[Record], Any]
    """The value in the form of records; of a field by company that of the first company."""
    stored: bool = True
    by_company: str = ""
    """The fact that has the values of all companies."""
    translated: bool = False


def wire_fields(model: str, version: int) -> list[WireField]:
    """Return the stored fields of a model, those that a tap must leave out among them."""
    names = {
        place: new
        for span, renamed in _RENAMED.items()
        if span[0] <= version <= span[1]
        for place, new in renamed.items()
    }
    found = []
    properties = declared_properties(model.replace(".", "_"))
    for name, schema in properties.items():
        if not name.endswith("_by_company"):
            found.append(_field(model, name, kind_of_schema(schema), names, properties, version))
    found += [WireField("image_1920", "binary", lambda _: "aGVsbG8=")]
    found += [WireField("child_ids", "one2many", lambda _: [])]
    if model == "res.partner":
        found.append(WireField("x_region", "char", lambda record: record["x_region"]))
    return found


def _field(
    model: str,
    name: str,
    kind: str,
    names: Mapping[tuple[str, str], str],
    properties: Mapping[str, Any],
    version: int,
) -> WireField:
    special = _replaced(model, name, version)
    if special is not None:
        return special
    ttype = _type(name, kind)
    if (model, name) == ("project.task", "date_deadline") and version == 16:
        return WireField(name, "date", lambda record: (record[name] or "")[:10] or None)
    by_company = f"{name}_by_company" if f"{name}_by_company" in properties else ""
    wire = names.get((model, name), name)
    inherited = model == "account.payment" and version <= _UNTIL_17 and wire in _INHERITED
    return WireField(
        wire,
        ttype,
        lambda record: record[name],
        stored=not (inherited or (by_company and version <= _UNTIL_17) or name == "code_by"),
        by_company=by_company,
        translated=(model, name) == ("product.template", "name"),
    )


def _type(name: str, kind: str) -> str:
    if kind == "integer" and name.endswith("_id"):
        return "many2one"
    return "many2one" if name == "product_uom" else _TYPES[kind]


def _replaced(model: str, name: str, version: int) -> WireField | None:
    """Fields that are not merely called otherwise."""
    old = version <= _UNTIL_17
    if (model, name) == ("product.template", "is_storable") and old:
        return WireField(
            "detailed_type", "selection", lambda one: "product" if one["is_storable"] else "consu"
        )
    if (model, name) == ("account.account", "deprecated") and version > 18:
        return WireField("active", "boolean", lambda one: not one["deprecated"])
    if (model, name) == ("account.account", "company_ids") and old:
        return WireField("company_id", "many2one", lambda one: one["company_ids"][0])
    if (model, name) == ("account.account", "code"):
        if old:
            return WireField("code", "char", lambda one: one["code"])
        return WireField(
            "code", "char", lambda one: one["code"], stored=False, by_company="code_by_company"
        )
    return None
