# SPDX-License-Identifier: Apache-2.0
"""Finance in Gold: a small company's figures, computed by hand, and what refuses wrong ones."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

GOLD = "ipai_gold_erp.gold_finance"


def money(**amounts: str) -> dict[str, Decimal]:
    return {name: Decimal(amount) for name, amount in amounts.items()}


def by_name(rows: list[tuple[Any, ...]]) -> dict[str, Decimal]:
    return {name: Decimal(amount) for name, amount in rows}


def test_the_first_build_of_one_source_succeeds_and_warns_of_nothing(built: Any) -> None:
    """Silver of other sources does not exist; numeric without a precision rounds nothing here."""
    assert built.rows("select to_regclass('ipai_silver_devops.github_commits')") == [(None,)]
    assert [event.message for event in built.events if event.level in ("warn", "warning")] == []
    assert built.events


def test_views_are_planned_with_what_silver_holds_after_a_build(built: Any) -> None:
    """Autovacuum never looks at the parent of partitions; ageing took minutes without."""
    rows = built.rows(
        "select relname from pg_class where relnamespace = 'ipai_silver_erp'::regnamespace "
        "and relkind in ('r', 'p') and not relispartition and reltuples < 0"
    )

    assert rows == []


def test_a_branch_of_a_branch_has_the_rates_of_the_company_at_the_top(built: Any) -> None:
    rows = built.rows(
        f"select amount, reporting_amount from {GOLD}_general_ledger "
        "where instance_id = 'three' and company_id = 3 order by posting_id"
    )

    assert rows == [(8, 10), (-8, -10)]


def test_the_ledger_runs_by_account_and_leaves_out_what_is_not_posted(built: Any) -> None:
    """Neither the draft (999), the cancelled (888) nor the deleted (777) invoice appears."""
    rows = built.rows(
        f"select posted_on, entry_number, partner, amount, running_balance, normal_amount, "
        f"original_amount, reporting_amount from {GOLD}_general_ledger "
        "where instance_id = 'one' and company_id = 1 and account_code = '400000' "
        "order by posted_on, entry_id"
    )

    assert [(str(row[0]), row[1], row[2], *map(str, map(float, row[3:]))) for row in rows] == [
        ("2024-12-15", "INV/1", "Acme, Ann", "121.0", "121.0", "121.0", "121.0", "151.25"),
        ("2025-01-10", "INV/2", "Bob Ltd", "100.0", "221.0", "100.0", "125.0", "125.0"),
        ("2025-01-20", "BNK/1", "Acme, Ann", "-50.0", "171.0", "-50.0", "-50.0", "-62.5"),
        ("2025-02-05", "RINV/1", "Acme, Ann", "-21.0", "150.0", "-21.0", "-21.0", "-23.1"),
        ("2025-02-20", "BNK/2", "Bob Ltd", "-113.64", "36.36", "-113.64", "-125.0", "-125.0"),
        ("2025-02-20", "EXCH/1", "Bob Ltd", "13.64", "50.0", "13.64", "0.0", "15.0"),
    ]


def test_companies_keep_their_chart_currency_and_fiscal_year(built: Any) -> None:
    rows = built.rows(
        f"select company, currency, account_code, fiscal_year_start, reporting_amount, "
        f"normal_amount from {GOLD}_general_ledger where instance_id = 'one' and company_id = 2 "
        "order by posting_id"
    )

    first, second = date(2024, 7, 1), date(2025, 7, 1)
    assert rows == [
        ("Hill Inc", "USD", "1200", first, 300, 300),
        ("Hill Inc", "USD", "4000", first, -300, 300),
        ("Hill Inc", "USD", "6000", second, 40, 40),
        ("Hill Inc", "USD", "2100", second, -40, 40),
    ]


def test_the_trial_balance_carries_earnings_of_earlier_years(built: Any) -> None:
    """January opens with 100 of December's sales among the equity and sales at zero."""
    rows = built.rows(
        f"select account, opening_balance, debit, credit, closing_balance from "
        f"{GOLD}_trial_balance where instance_id = 'one' and company_id = 1 "
        "and period_start = '2025-01-01' order by account"
    )

    assert {row[0]: tuple(map(float, row[1:])) for row in rows} == {
        "Bank": (1000, 50, 0, 1050),
        "Capital": (-1000, 0, 0, -1000),
        "Earnings of earlier fiscal years (computed)": (-100, 0, 0, -100),
        "Payable": (0, 0, 60, -60),
        "Receivable": (121, 100, 50, 171),
        "Rent": (0, 60, 0, 60),
        "Sales": (0, 0, 100, -100),
        "Tax to pay": (-21, 0, 0, -21),
    }


def test_a_fiscal_year_may_begin_in_july(built: Any) -> None:
    rows = built.rows(
        f"select account, closing_balance from {GOLD}_trial_balance "
        "where instance_id = 'one' and company_id = 2 and period_start = '2025-07-01'"
    )

    assert by_name(rows) == {
        "Receivable": 300,
        "Payable": -40,
        "Sales": 0,
        "Rent": 40,
        "Earnings of earlier fiscal years (computed)": -300,
    }


@pytest.mark.parametrize("month", ["2025-04-01", "2025-05-01", "2026-03-01"])
def test_a_fiscal_year_may_end_within_a_month(built: Any, month: str) -> None:
    """Of sales of 100 on the 5th of April and 50 on the 6th, the new year has the 50."""
    rows = built.rows(
        f"select account, amount from {GOLD}_balance_sheet where instance_id = 'three' "
        "and company_id = 4 and period_start = %s and side = 'equity'",
        month,
    )

    assert by_name(rows) == money(
        **{
            "Earnings of earlier fiscal years (computed)": "100",
            "Earnings of the fiscal year to date (computed)": "50",
        }
    )


def test_profit_is_positive_and_adds_up_over_the_year(built: Any) -> None:
    rows = built.rows(
        f"select account, section, amount, year_to_date_amount from {GOLD}_profit_and_loss "
        "where instance_id = 'one' and company_id = 1 and period_start = '2025-02-01' "
        "order by section_order"
    )

    assert rows == [
        ("Sales", "Revenue", Decimal(-21), Decimal(79)),
        ("Rent", "Operating expenses", Decimal(0), Decimal(-60)),
        ("Exchange gains", "Other income", Decimal("13.64"), Decimal("13.64")),
    ]


def test_assets_equal_liabilities_and_equity(built: Any) -> None:
    rows = built.rows(
        f"select account, amount, side from {GOLD}_balance_sheet "
        "where instance_id = 'one' and company_id = 1 and period_end = '2025-03-31'"
    )

    amounts = {name: amount for name, amount, _ in rows}
    sides = {side: sum(row[1] for row in rows if row[2] == side) for _, _, side in rows}
    assert amounts == {
        "Bank": Decimal("1463.64"),
        "Receivable": 50,
        "Machines": 200,
        "Payable": 60,
        "Tax to pay": 21,
        "Bank loan": 500,
        "Capital": 1000,
        "Earnings of earlier fiscal years (computed)": 100,
        "Earnings of the fiscal year to date (computed)": Decimal("32.64"),
    }
    assert sides == money(asset="1713.64", liability="581", equity="1132.64")


def test_cash_flow_tells_what_moved_the_bank(built: Any) -> None:
    rows = built.rows(
        f"select period_start, activity, account, amount from {GOLD}_cashflow "
        "where instance_id = 'one' and period_start <= '2025-03-01' "
        "order by period_start, activity_order"
    )

    assert [(f"{row[0]:%b}", row[1], float(row[3])) for row in rows] == [
        ("Dec", "opening_cash", 0),
        ("Dec", "financing", 1000),
        ("Dec", "closing_cash", 1000),
        ("Jan", "opening_cash", 1000),
        ("Jan", "operating", 50),
        ("Jan", "closing_cash", 1050),
        ("Feb", "opening_cash", 1050),
        ("Feb", "operating", 113.64),
        ("Feb", "closing_cash", 1163.64),
        ("Mar", "opening_cash", 1163.64),
        ("Mar", "investing", -200),
        ("Mar", "financing", 500),
        ("Mar", "closing_cash", 1463.64),
    ]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2024-12-14", []),
        ("2024-12-31", [("INV/1", 121, "current")]),
        ("2025-01-14", [("INV/1", 121, "current"), ("INV/2", 100, "current")]),
        ("2025-01-15", [("INV/1", 121, "1-30"), ("INV/2", 100, "current")]),
        ("2025-01-31", [("INV/1", 71, "1-30"), ("INV/2", 100, "current")]),
        ("2025-02-10", [("INV/1", 50, "1-30"), ("INV/2", 100, "current")]),
        ("2025-02-13", [("INV/1", 50, "1-30"), ("INV/2", 100, "current")]),
        ("2025-02-14", [("INV/1", 50, "31-60"), ("INV/2", 100, "current")]),
        ("2025-02-28", [("INV/1", 50, "31-60")]),
        ("2025-03-16", [("INV/1", 50, "61-90")]),
        ("2025-04-14", [("INV/1", 50, "61-90")]),
        ("2025-04-15", [("INV/1", 50, "91-120")]),
        ("2025-05-14", [("INV/1", 50, "91-120")]),
        ("2025-05-15", [("INV/1", 50, "older")]),
    ],
)
def test_receivables_look_as_they_did_on_any_day(
    built: Any, day: str, expected: list[tuple[str, int, str]]
) -> None:
    """A payment of 50 in January, a refund of 21 in February; INV/2 paid with an exchange gain."""
    rows = built.rows(
        f"select entry_number, open_amount, bucket, not_due + overdue_1_30 + overdue_31_60 "
        f"+ overdue_61_90 + overdue_91_120 + overdue_older from {GOLD}_ar_aging_by_day "
        "where instance_id = 'one' and company_id = 1 and as_of_date = %s order by 1",
        day,
    )

    assert [row[:3] for row in rows] == expected
    assert all(row[1] == row[3] for row in rows)


def test_what_is_open_in_foreign_currency_is_said_in_it(built: Any) -> None:
    rows = built.rows(
        f"select original_currency, open_original_amount, currency, open_amount, partner "
        f"from {GOLD}_ar_aging_by_day where as_of_date = '2025-02-19' and entry_number = 'INV/2'"
    )

    assert rows == [("USD", 125, "EUR", 100, "Bob Ltd")]


def test_payables_are_positive_and_today_is_the_last_day(built: Any) -> None:
    past = built.rows(
        f"select company, entry_number, open_amount, days_overdue, bucket "
        f"from {GOLD}_ap_aging_by_day where as_of_date = '2025-07-31' order by company_id"
    )
    today = built.rows(
        f"select as_of_date = current_date, sum(open_amount) from {GOLD}_ap_aging group by 1"
    )

    assert past == [
        ("Harbour BV", "BILL/1", 60, 207, "older"),
        ("Hill Inc", "HBILL/1", 40, 0, "current"),
    ]
    assert today == [(True, 100)]


def test_what_is_open_in_odoo_is_the_total_less_what_is_reconciled(built: Any) -> None:
    """Odoo's own residual of today, beside what is rebuilt from the reconciliations."""
    rows = built.rows(
        "select i.name, i.amount_total_signed, i.amount_residual_signed, "
        "coalesce(r.open_amount, 0) - coalesce(p.open_amount, 0) "
        f"from ipai_silver_erp.odoo_invoices as i left join {GOLD}_ar_aging as r "
        "on r.entry_id = i.id and r.instance_id = i.instance_id "
        f"left join {GOLD}_ap_aging as p on p.entry_id = i.id and p.instance_id = i.instance_id "
        "where i.amount_total_signed is not null order by i.id"
    )

    assert rows == [("INV/1", 121, 50, 50), ("RINV/1", -21, 0, 0), ("BILL/1", -60, -60, -60)]


def test_a_project_shows_its_tasks_hours_and_margin(built: Any) -> None:
    rows = built.rows(
        f"select project, stage, is_active, task_count, open_task_count, done_task_count, "
        f"cancelled_task_count, overdue_task_count, progress, allocated_hours, logged_hours, "
        f"revenue, cost, margin, currency from {GOLD}_project_portfolio order by project_id"
    )

    half, hours = Decimal("0.5"), Decimal("5.5")
    logged = Decimal("3.5")
    assert rows == [
        ("Crane", "Running", True, 3, 1, 1, 1, 1, half, hours, logged, 500, 225, 275, "EUR"),
        ("Idle", None, False, 0, 0, 0, 0, 0, None, 0, 0, 0, 0, 0, None),
    ]


def test_instances_with_the_same_ids_never_mix(built: Any) -> None:
    rows = built.rows(
        f"select company, account, amount from {GOLD}_general_ledger where instance_id = 'two' "
        "order by posting_id"
    )
    [(cash,)] = built.rows(
        f"select amount from {GOLD}_cashflow where instance_id = 'two' "
        "and activity = 'closing_cash' and period_start = '2025-02-01'"
    )

    assert rows == [
        ("Other Harbour BV", "Other Bank", 7),
        ("Other Harbour BV", "Other Capital", -7),
    ]
    assert cash == 7


def test_the_queries_of_the_docs_run(built: Any) -> None:
    page = Path(__file__).parents[4] / "docs/finance.md"
    queries = re.findall(r"^```sql\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)

    ran = [built.rows(query) for query in queries if "ipai_gold.refresh" not in query]

    assert len(ran) == len(queries) - 1 == 2


def test_what_odoo_unposts_or_deletes_leaves_gold_and_what_does_not_balance_fails_the_build(
    built: Any,
) -> None:
    """The last test: it changes the books."""
    entries = [
        {"id": 50, "date": "2025-03-31", "lines": [[90, 50, "10"], [91, 30, "-10"]]},
        {"id": 51, "date": "2025-03-31", "lines": [[92, 50, "11"], [93, 30, "-11"]]},
    ]
    for entry in entries:
        built.land_entry({"name": "X", **entry}, day="02")
    built.build_ok("odoo_journal_items")
    counted = (
        f"select entry_id, count(*) from {GOLD}_general_ledger where entry_id >= 50 group by 1"
    )

    assert built.rows(counted) == [(50, 2), (51, 2)]

    built.land_entry({"name": "X", **entries[0], "state": "draft"}, day="03")
    built.land_entry({"name": "X", **entries[1], "deleted": True}, day="03")
    refund = {"move_type": "out_refund", "amount_total_signed": "10", "date": "2025-03-31"}
    built.land_entry({"id": 60, "name": "X", **refund, "lines": [[95, 10, "10"]]}, day="03")
    result = built.build("odoo_journal_items+", "odoo_invoices")

    assert built.rows(counted) == [(60, 1)]
    assert not result.ok
    assert {
        "gold_finance_general_ledger_debits_equal_credits_per_entry",
        "gold_finance_trial_balance_sums_to_zero",
        "gold_finance_balance_sheet_balances",
        "assert_odoo_refunds_are_negative",
    } <= {node.name for node in result.failures}
