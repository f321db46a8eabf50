# SPDX-License-Identifier: Apache-2.0
"""Bronze of Odoo, filled from a small hand-written company, and dbt on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from ipai_orchestrate.transform import DbtEvent, TransformResult, run_dbt

COMPANY = Path(__file__).with_name("company.yml")
FOURTH = Path(__file__).with_name("fourth.yml")
_CREATE = """
    create table ipai_bronze_erp.raw_odoo_{stream} (
        instance_id text collate "C" not null, record_key text collate "C" not null,
        record jsonb not null, emitted_at timestamptz not null, source text not null,
        stream text not null, cursor text collate "C", run_id text,
        loaded_at timestamptz not null default now(), deleted_at timestamptz,
        record_hash bigint not null default 0, primary key (instance_id, record_key)
    )
"""
_LAND = """
    insert into ipai_bronze_erp.raw_odoo_{stream}
        (instance_id, record_key, record, emitted_at, source, stream, cursor, run_id, deleted_at)
    values (%s, %s, %s, %s, 'odoo', %s, %s, 'run-1', %s)
    on conflict (instance_id, record_key) do update
    set record = excluded.record, emitted_at = excluded.emitted_at, cursor = excluded.cursor,
        deleted_at = excluded.deleted_at, loaded_at = now()
"""


@dataclass
class Books:
    """A database with Bronze tables of Odoo."""

    dsn: str
    connection: psycopg.Connection[tuple[Any, ...]]
    events: list[DbtEvent] = field(default_factory=list)

    def create(self, stream: str) -> None:
        """Make the Bronze table of a stream."""
        self.connection.execute(_CREATE.format(stream=stream))

    def land(
        self, stream: str, record: Mapping[str, Any], *, instance: str = "one", day: str = "01"
    ) -> None:
        """Store one record as the target would; the key `deleted` marks it deleted."""
        moment = f"2026-02-{day}T00:00:00+00:00"
        written = {name: value for name, value in record.items() if name != "deleted"}
        self.connection.execute(
            _LAND.format(stream=stream),
            (
                instance,
                json.dumps([record["id"]]),
                json.dumps({**written, "write_date": moment}),
                moment,
                stream,
                moment,
                moment if record.get("deleted") else None,
            ),
        )

    def land_entry(
        self, entry: Mapping[str, Any], *, instance: str = "one", day: str = "01"
    ) -> None:
        """Store a journal entry with its lines; amounts are debits, with a minus credits."""
        head = {
            "state": "posted",
            "move_type": "entry",
            "company_id": 1,
            "currency_id": 1,
            "journal_id": 1,
            "partner_id": None,
            **{name: value for name, value in entry.items() if name != "lines"},
        }
        self.land("account_move", head, instance=instance, day=day)
        if head["move_type"] != "entry":
            self.land("account_invoice", head, instance=instance, day=day)
        for number, account, amount, *more in entry["lines"]:
            line = {
                "id": number,
                "move_id": head["id"],
                "move_name": head["name"],
                "parent_state": head["state"],
                "account_id": account,
                "company_currency_id": head["company_id"],
                "balance": amount,
                "debit": "0" if amount.startswith("-") else amount,
                "credit": amount[1:] if amount.startswith("-") else "0",
                "amount_currency": amount,
                "deleted": head.get("deleted"),
                **{name: head[name] for name in _SHARED},
                **(more[0] if more else {}),
            }
            self.land("account_move_line", line, instance=instance, day=day)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values or None).fetchall()

    def build(self, *select: str, **options: Any) -> TransformResult:
        """Run dbt for all that stands on Odoo, or for what is selected."""
        return run_dbt(self.dsn, select=select or ["source:odoo+"], **options)

    def build_ok(self, *select: str, **options: Any) -> TransformResult:
        result = self.build(*select, **options)
        assert result.ok, result.summary()
        return result


_SHARED = ("date", "company_id", "currency_id", "journal_id", "partner_id")


@pytest.fixture(scope="session")
def company() -> dict[str, list[dict[str, Any]]]:
    """Records of the hand-written company by stream."""
    records: dict[str, list[dict[str, Any]]] = yaml.safe_load(COMPANY.read_text())
    return records


@pytest.fixture(scope="session")
def built_once(
    server: Any,
    migrated_template: str,
    company: dict[str, list[dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, list[DbtEvent]]:
    """A database with the company in Gold, to be copied, and what dbt said when it was built."""
    name = server.create(migrated_template)
    with (
        psycopg.connect(server.dsn_of(name), autocommit=True) as connection,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("IPAI_TRANSFORM_TARGET", str(tmp_path_factory.mktemp("dbt")))
        for variable in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            patch.delenv(variable, raising=False)
        books = Books(server.dsn_of(name), connection)
        land_company(books, company)
        books.build_ok(on_event=books.events.append)
    return name, books.events


@pytest.fixture(scope="module")
def built(server: Any, built_once: tuple[str, list[DbtEvent]], dbt_output: Path) -> Iterator[Books]:
    """The company in Gold, in a database of this module."""
    template, events = built_once
    name = server.create(template)
    with psycopg.connect(server.dsn_of(name), autocommit=True) as connection:
        yield Books(server.dsn_of(name), connection, events)
    server.drop(name)


def land_company(books: Books, company: dict[str, list[dict[str, Any]]]) -> None:
    """Store all instances; instance two has an entry with the ids of the first one's."""
    streams = {"account_move", "account_invoice", "account_move_line", "account_payment", *company}
    for stream in sorted(streams - {"entries"}):
        books.create(stream)
    with books.connection.transaction():
        for stream in company.keys() - {"entries"}:
            for record in company[stream]:
                books.land(stream, record)
        for entry in company["entries"]:
            books.land_entry(entry)
        for stream in ("res_company", "res_currency", "account_account"):
            for record in company[stream]:
                books.land(stream, {**record, "name": f"Other {record['name']}"}, instance="two")
        books.land_entry(
            {"id": 1, "name": "X/1", "date": "2025-01-01", "lines": [[1, 30, "7"], [2, 80, "-7"]]},
            instance="two",
        )
        land_branches(books, company)
        land_fourth(books, company)


def land_fourth(books: Books, company: dict[str, list[dict[str, Any]]]) -> None:
    """Store instance four, which shares its master data with the first."""
    fourth: dict[str, list[dict[str, Any]]] = yaml.safe_load(FOURTH.read_text())
    shared = ("res_company", "res_currency", "res_partner", "account_journal", "account_account")
    for stream in shared:
        for record in company[stream]:
            books.land(stream, record, instance="four")
    for stream in fourth.keys() - {"entries"}:
        for record in fourth[stream]:
            books.land(stream, record, instance="four")
    for entry in fourth["entries"]:
        books.land_entry(entry, instance="four")


def land_branches(books: Books, company: dict[str, list[dict[str, Any]]]) -> None:
    """Store instance three: a branch of a branch of company 1, and a year to the 5th of April."""
    for number in (1, 2, 3):
        branch = {**company["res_company"][0], "id": number, "parent_id": number - 1 or None}
        books.land("res_company", branch, instance="three")
    for stream in ("res_currency", "res_currency_rate", "account_account"):
        for record in company[stream]:
            books.land(stream, record, instance="three")
    entry = {"id": 1, "name": "B/1", "date": "2025-01-10", "company_id": 3}
    books.land_entry({**entry, "lines": [[1, 30, "8"], [2, 80, "-8"]]}, instance="three")
    april = {"fiscalyear_last_day": 5, "fiscalyear_last_month": "4", "parent_id": None}
    books.land("res_company", {**company["res_company"][0], "id": 4, **april}, instance="three")
    for number, day, amount in ((2, "2025-04-05", "100"), (3, "2025-04-06", "50")):
        entry = {"id": number, "name": f"A/{number}", "date": day, "company_id": 4}
        lines = [[2 * number, 30, amount], [2 * number + 1, 40, f"-{amount}"]]
        books.land_entry({**entry, "lines": lines}, instance="three")
