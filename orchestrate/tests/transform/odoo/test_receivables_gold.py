# SPDX-License-Identifier: Apache-2.0
"""Receivables by partner, days sales outstanding, and what the settings of ageing and cash do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ipai_orchestrate.transform.project import find_project

pytestmark = pytest.mark.slow

GOLD = "ipai_gold_erp.gold_finance"
NEEDED = {
    *("accounts", "companies", "currencies", "currency_rates", "journals", "journal_entries"),
    *("journal_items", "partners", "partial_reconciles", "payments", "_sources"),
    *("ar_aging", "ar_aging_by_day", "ar_aging_by_partner", "cashflow", "general_ledger"),
    *("_gold_finance_aging", "_gold_finance_statements"),
}
CASH = (
    f"select to_char(period_start, 'Mon'), activity, account, amount, cash_account_ids "
    f"from {GOLD}_cashflow where instance_id = 'four' and period_start <= '2025-02-01' "
    "order by period_start, activity_order"
)


@pytest.fixture(scope="module")
def settings_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project with receivables, cash flow and what they stand on: dbt parses it at once."""
    project = find_project().root
    folder = tmp_path_factory.mktemp("settings") / "transform"
    ignored = shutil.ignore_patterns("target", "logs", "models", "assert_*")
    shutil.copytree(project, folder, ignore=ignored)
    for path in (project / "models").rglob("*.*"):
        name = path.relative_to(project / "models")
        if path.stem.removeprefix("odoo_").removeprefix("gold_finance_") in NEEDED:
            (folder / "models" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / "models" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPAI_TRANSFORM_DIR", str(folder))
        yield folder


def test_payments_of_an_item_are_those_of_bank_and_cash_journals(built: Any) -> None:
    """INV/1 was paid in part on the 20th of January; the refund of February is no payment."""
    rows = built.rows(
        f"select as_of_date, first_payment_on, last_payment_on, last_matched_on "
        f"from {GOLD}_ar_aging_by_day where instance_id = 'one' and entry_number = 'INV/1' "
        "and as_of_date in ('2025-01-19', '2025-01-20', '2025-02-05') order by 1"
    )

    paid, refunded = date(2025, 1, 20), date(2025, 2, 5)
    assert [row[1:] for row in rows] == [
        (None, None, None),
        (paid, paid, paid),
        (paid, paid, refunded),
    ]


def test_what_is_open_is_added_up_by_partner(built: Any) -> None:
    """In instance four Ann owes 80 since March and has paid 50 ahead in February."""
    rows = built.rows(
        f"select instance_id, company_id, partner, open_item_count, open_amount, overdue_amount, "
        f"not_due, overdue_older, oldest_due_on, current_date - days_overdue, first_payment_on, "
        f"last_payment_on from {GOLD}_ar_aging_by_partner order by 1, 2"
    )

    ann, due = "Acme, Ann", [date(2025, 3, 31), date(2025, 1, 14), date(2025, 6, 30)]
    paid = date(2025, 1, 20)
    assert rows == [
        ("four", 1, ann, 2, 30, 30, 0, 30, due[0], due[0], paid, date(2025, 2, 15)),
        ("one", 1, ann, 1, 50, 50, 0, 50, due[1], due[1], paid, paid),
        ("one", 2, ann, 1, 300, 300, 0, 300, due[2], due[2], None, None),
    ]


def test_payables_are_added_up_by_vendor(built: Any) -> None:
    rows = built.rows(
        f"select company, partner, open_amount, overdue_older, oldest_due_on, first_payment_on "
        f"from {GOLD}_ap_aging_by_partner order by company_id"
    )

    cane = "Cane Supplies"
    assert rows == [
        ("Harbour BV", cane, 60, 60, date(2025, 1, 5), None),
        ("Hill Inc", cane, 40, 40, date(2025, 8, 9), None),
    ]


def test_days_sales_outstanding_are_receivables_in_days_of_net_sales_on_credit(built: Any) -> None:
    """Sales are 100, 100, a refund of 21, none; neither tax nor the exchange gain counts."""
    rows = built.rows(
        f"select to_char(period_start, 'Mon'), days, receivable_balance, net_credit_sales, dso, "
        f"dso_three_months from {GOLD}_dso where instance_id = 'one' and company_id = 1 "
        "and period_start < '2025-05-01' order by period_start"
    )

    assert rows == [
        ("Dec", 31, 121, 100, Decimal("37.5"), Decimal("37.5")),
        ("Jan", 31, 171, 100, Decimal("53.0"), Decimal("53.0")),
        ("Feb", 28, 50, -21, None, Decimal("25.1")),
        ("Mar", 31, 50, 0, None, Decimal("57.0")),
        ("Apr", 30, 50, 0, None, None),
    ]


def test_the_month_under_way_ends_today(built: Any) -> None:
    rows = built.rows(
        f"select distinct days = extract(day from current_date) from {GOLD}_dso "
        "where period_start = date_trunc('month', current_date)"
    )

    assert rows == [(True,)]


def test_payments_that_wait_are_no_cash_unless_told_so(built: Any) -> None:
    """The bank had 100 in February, on the other side of outstanding receipts."""
    assert built.rows(CASH) == [
        ("Feb", "opening_cash", "Cash at the beginning of the month", 0, [30]),
        ("Feb", "operating", "Outstanding receipts", 100, [30]),
        ("Feb", "closing_cash", "Cash at the end of the month", 100, [30]),
    ]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"aging_buckets": [30, 30, 90]}, "Var aging_buckets is [30, 30, 90]. Give the last day"),
        ({"odoo_cash_includes_outstanding": "yes"}, 'outstanding is "yes". Use true or false.'),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    built: Any, settings_project: Path, variables: dict[str, Any], told: str
) -> None:
    result = built.build("gold_finance_cashflow", variables=variables)

    assert not result.ok
    assert told in result.summary()


def test_settings_change_buckets_and_cash_and_every_check_holds(
    built: Any, settings_project: Path
) -> None:
    """The last test: it replaces the views. The payment of 50 counts as cash from February on."""
    variables = {"aging_buckets": [7, 400], "odoo_cash_includes_outstanding": True}
    views = ("ar_aging", "ar_aging_by_day", "ar_aging_by_partner", "cashflow")

    result = built.build_ok(*(f"gold_finance_{view}" for view in views), variables=variables)

    checks = {node.name for node in result.nodes if node.kind == "test"}
    assert {
        "gold_finance_ar_aging_by_day_equals_the_ledger",
        "gold_finance_ar_aging_is_in_one_bucket_each",
        "gold_finance_ar_aging_by_partner_equals_the_items",
        "gold_finance_cashflow_closes_with_the_cash_of_the_ledger",
    } <= checks
    assert built.rows(
        f"select as_of_date, bucket, not_due, overdue_1_7, overdue_8_400, overdue_older "
        f"from {GOLD}_ar_aging_by_day where entry_number = 'F/2' and as_of_date in "
        "('2025-03-31', '2025-04-07', '2025-04-08', '2026-05-06') order by 1"
    ) == [
        (date(2025, 3, 31), "current", 80, 0, 0, 0),
        (date(2025, 4, 7), "1-7", 0, 80, 0, 0),
        (date(2025, 4, 8), "8-400", 0, 0, 80, 0),
        (date(2026, 5, 6), "older", 0, 0, 0, 80),
    ]
    assert built.rows(
        "select col_description(attrelid, attnum) from pg_attribute "
        f"where attrelid = '{GOLD}_ar_aging_by_partner'::regclass and attname = 'overdue_8_400'"
    ) == [("What was open and 8-400 days overdue.",)]
    assert built.rows(CASH) == [
        ("Jan", "opening_cash", "Cash at the beginning of the month", 0, [30, 90]),
        ("Jan", "operating", "Receivable", 100, [30, 90]),
        ("Jan", "closing_cash", "Cash at the end of the month", 100, [30, 90]),
        ("Feb", "opening_cash", "Cash at the beginning of the month", 100, [30, 90]),
        ("Feb", "operating", "Receivable", 50, [30, 90]),
        ("Feb", "closing_cash", "Cash at the end of the month", 150, [30, 90]),
    ]
