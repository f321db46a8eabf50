# SPDX-License-Identifier: Apache-2.0
"""The facts behind the stand-in, in the form that records have; versions only spell them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ipai_kit.sandbox import Seeded
from tap_odoo.fields import kind_of_schema
from tap_odoo.models import DECLARED, declared_properties

__all__ = ["COMPANIES", "World"]

Record = dict[str, Any]

COMPANIES = (1, 2)
_START = datetime(2026, 1, 5, 8, 0, 0, tzinfo=UTC)
_ROWS = 6
_WORDS = ("Acme", "Blue", "Cedar", "Delta", "Ember", "Flint", "Grove", "Harbor")
_MOVE_TYPES = ("entry", "out_invoice", "in_invoice", "out_refund", "entry", "out_receipt")
_ACCOUNTS = (
    ("101000", "Bank", "asset_cash"),
    ("110000", "Receivable", "asset_receivable"),
    ("200000", "Payable", "liability_payable"),
    ("400000", "Sales", "income"),
    ("600000", "Expenses", "expense"),
    ("999999", "Undistributed profits", "equity_unaffected"),
)


class World:
    """Records by model and id; `moments` keeps the microseconds that records do not show."""

    def __init__(self, seed: int = 7) -> None:
        self._seeded = Seeded(seed)
        self.reset()

    def reset(self) -> None:
        """Back to the first moment."""
        self.now = _START
        self.records: dict[str, dict[int, Record]] = {}
        self.moments: dict[tuple[str, int], datetime] = {}
        for one in DECLARED:
            if one.model not in self.records:
                self.records[one.model] = {}
                for number in range(1, self._count(one.model) + 1):
                    self._add(one.model, number)

    def advance(self, steps: int) -> Mapping[str, Any]:
        """Pay an invoice, archive a partner, post an entry, delete a lead: once a step."""
        for _ in range(steps):
            self.now += timedelta(hours=1)
            moves, partners = self.records["account.move"], self.records["res.partner"]
            leads = self.records["crm.lead"]
            moves[2]["payment_state"], moves[2]["amount_residual"] = "paid", "0"
            self._touch("account.move", 2)
            partners[3]["active"] = not partners[3]["active"]
            self._touch("res.partner", 3)
            self._add("account.move", max(moves) + 1)
            if len(leads) > 1:
                del leads[min(leads)]
        return {"now": self.now.isoformat(), "steps": steps}

    def of_stream(self, name: str) -> Iterable[Record]:
        """Return the records of a stream as they are now."""
        stream = next(one for one in DECLARED if one.name == name)
        for record in self.records[stream.model].values():
            if stream.only is None or record[stream.only[0]] in stream.only[1]:
                yield dict(record)

    def _count(self, model: str) -> int:
        fixed = {"res.company": len(COMPANIES), "account.account": len(_ACCOUNTS)}
        return fixed.get(model, 2 * _ROWS if model == "account.move.line" else _ROWS)

    def _add(self, model: str, number: int) -> None:
        name = model.replace(".", "_")
        properties = declared_properties(name)
        record = {
            one: self._value(model, number, one, kind_of_schema(schema))
            for one, schema in properties.items()
        }
        record |= {"id": number, **_SPECIAL.get(model, _nothing)(number, record)}
        if model == "account.payment":
            record |= self._of_entry(number)
        if model == "res.partner":
            record["x_region"] = None if number % 3 == 0 else f"Region {number}"
        self.records[model][number] = record
        record["create_date"] = self.now.isoformat(timespec="seconds")
        self._touch(model, number)

    def _of_entry(self, number: int) -> Record:
        """A payment says the same as its journal entry, which is what it was until 17."""
        entry = self.records["account.move"][number]
        names = ("name", "state", "date", "journal_id", "company_id")
        return {"memo": entry["ref"], **{name: entry[name] for name in names}}

    def _touch(self, model: str, number: int) -> None:
        """Half of all records were written at one moment, as one transaction does."""
        moment = self.now + timedelta(microseconds=250_000)
        if number % 2:
            moment += timedelta(seconds=number, microseconds=number)
        self.moments[model, number] = moment
        text = moment.isoformat(timespec="seconds")
        self.records[model][number]["write_date"] = text

    def _value(self, model: str, number: int, name: str, kind: str) -> Any:
        seeded = self._seeded
        key = (model, number, name)
        if name.endswith("_by_company"):
            return {}
        if kind == "boolean":
            return number % 4 != 0
        if kind == "decimal":
            return str(seeded.number(*key, high=9999))
        if kind == "many2many":
            return sorted({1 + number % 3, 1 + number % 5}) if number % 3 else []
        if kind == "integer":
            return None if name.endswith("_id") and number % 5 == 0 else 1 + number % 2
        if kind in ("date", "datetime") and number % 5 == 0:
            return None
        if kind == "date":
            return (self.now + timedelta(days=number)).date().isoformat()
        if kind == "datetime":
            return (self.now + timedelta(days=number)).isoformat(timespec="seconds")
        if kind == "json":
            return {"3": number * 12.5} if number % 2 else None
        return None if number % 5 == 0 else f"{seeded.choice(_WORDS, *key)} {number}"


def _nothing(number: int, record: Record) -> Record:
    del number, record
    return {}


def _company(number: int, _: Record) -> Record:
    return {"name": f"Company {number}", "currency_id": number, "parent_id": None, "active": True}


def _account(number: int, _: Record) -> Record:
    code, name, kind = _ACCOUNTS[number - 1]
    owner = COMPANIES[number % 2]
    return {
        "code": code,
        "code_by_company": {str(owner): code},
        "name": name,
        "account_type": kind,
        "company_ids": [owner],
        "deprecated": False,
    }


def _move(number: int, record: Record) -> Record:
    kind = _MOVE_TYPES[(number - 1) % len(_MOVE_TYPES)]
    company = COMPANIES[number % 2]
    return {
        "move_type": kind,
        "state": "draft" if number == _ROWS else "posted",
        "name": f"MOVE/{number:04}",
        "company_id": company,
        "amount_residual": record["amount_total"],
    }


def _move_line(number: int, record: Record) -> Record:
    """Two lines an entry, which balance."""
    entry = (number + 1) // 2
    amount = str(100 * entry) if entry % 2 else f"{entry}.05"
    debit, credit = (amount, "0") if number % 2 else ("0", amount)
    del record
    return {
        "move_id": entry,
        "company_id": COMPANIES[entry % 2],
        "debit": debit,
        "credit": credit,
        "balance": debit if number % 2 else f"-{credit}",
        "amount_currency": debit if number % 2 else f"-{credit}",
        "account_id": 2 if number % 2 else 4,
    }


def _partner(number: int, _: Record) -> Record:
    receivable = {"1": 2} if number % 2 else {"1": 2, "2": 3}
    return {
        "complete_name": f"Partner {number}",
        "company_id": None,
        "active": number % 4 != 0,
        **_by_company("property_account_receivable_id", receivable),
        **_by_company("property_account_payable_id", {"1": 3}),
    }


def _product(number: int, _: Record) -> Record:
    return _by_company("standard_price", {"1": f"{number}.5", "2": str(number)})


def _template(number: int, _: Record) -> Record:
    is_storable = bool(number % 2)
    return {"is_storable": is_storable, "company_id": None, "type": "consu"}


def _user(number: int, _: Record) -> Record:
    companies = list(COMPANIES) if number == 1 else [1]
    return {"login": f"user{number}", "company_id": 1, "company_ids": companies, "active": True}


def _payment(number: int, _: Record) -> Record:
    return {"move_id": number}


def _by_company(name: str, values: Mapping[str, Any]) -> Record:
    return {name: values.get(str(COMPANIES[0])), f"{name}_by_company": dict(values)}


_SPECIAL = {
    "res.company": _company,
    "account.account": _account,
    "account.move": _move,
    "account.move.line": _move_line,
    "account.payment": _payment,
    "res.partner": _partner,
    "res.users": _user,
    "product.product": _product,
    "product.template": _template,
}
