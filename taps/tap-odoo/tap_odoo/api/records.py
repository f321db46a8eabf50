# SPDX-License-Identifier: Apache-2.0
"""Makes records of what the external API answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tap_odoo.fields import canonical
from tap_odoo.models import Output, Shape
from tap_odoo.source import Scope

__all__ = ["RecordMaker", "fields_to_ask"]


def fields_to_ask(shape: Shape) -> list[str]:
    """Return the fields to ask for, each once."""
    names = [one.source.name for one in shape.outputs if one.source is not None]
    if shape.model.has_write_date:
        names.append("write_date")
    if _has_code_of_one_company(shape):
        names.append("company_id")
    return sorted(set(names))


def _has_code_of_one_company(shape: Shape) -> bool:
    """Until 17 an account, and so its code, belongs to one company."""
    fields = shape.model.fields
    return shape.model.name == "account.account" and "company_ids" not in fields


class RecordMaker:
    """Brings the values of one stream into their form."""

    def __init__(self, shape: Shape, scope: Scope, above: Mapping[int, Sequence[int]]) -> None:
        self._outputs = shape.outputs
        self._companies = scope.companies
        self._above = above
        self._own_code = _has_code_of_one_company(shape)

    def record(self, row: Mapping[str, Any], others: Mapping[int, Mapping[int, Any]]) -> Any:
        """Return the record of a row; `others` has what each company sees instead."""
        return {one.name: self._member(one, row, others) for one in self._outputs}

    def _member(self, one: Output, row: Mapping[str, Any], others: Mapping[int, Any]) -> Any:
        if one.source is None:
            return None
        name = one.source.name
        if one.by_company:
            return self._by_company(one, row, others)
        if name == "code" and one.per_company:
            found = self._by_company(one, row, others)
            ordered = [str(self._companies[0]), *map(str, sorted(self._companies))]
            return next((found[key] for key in ordered if key in found), None)
        value = row.get(name)
        if one.equals is not None:
            return value == one.equals
        if one.kind == "many2many" and one.source.ttype == "many2one":
            single = canonical("many2one", value)
            return [] if single is None else [single]
        return canonical(one.kind, value)

    def _by_company(self, one: Output, row: Mapping[str, Any], others: Mapping[int, Any]) -> Any:
        name = one.source.name if one.source else ""
        if self._own_code and name == "code":
            owner = canonical("many2one", row.get("company_id"))
            code = canonical(one.kind, row.get(name))
            ours = [each for each in sorted(self._companies) if owner in self._above[each]]
            return {str(each): code for each in ours if code is not None}
        values = {
            str(each): canonical(one.kind, others[each].get(row["id"], {}).get(name))
            for each in sorted(self._companies)
        }
        return {key: value for key, value in values.items() if value is not None}
