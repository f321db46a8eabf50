# SPDX-License-Identifier: Apache-2.0
"""A database that a real Odoo made, through tap, target and dbt: Gold says what Odoo says.

The expected figures are computed anew from Odoo's tables, by other ways than Gold takes: state
of the entry instead of its copy on the line, Odoo's residual of today with later matches added.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.transform import run_dbt

DUMP = Path(__file__).parents[5] / "shared/data/odoo18-demo.dump"
MORE = Path(__file__).with_name("more_entries.sql")
SOLD = Path(__file__).with_name("sold_lines.sql").read_text()
SCRIPTS = sysconfig.get_path("scripts")
TAP, TARGET = (shutil.which(name, path=SCRIPTS) for name in ("tap-odoo", "target-bronze-postgres"))
RESTORE = next(
    (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_restore"))),
    shutil.which("pg_restore"),
)
GOLD = "ipai_gold_erp"
DAYS = ["2025-08-31", "2026-06-30", "2026-10-31", "2026-11-05", "2026-11-11", "2026-11-20"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
    pytest.mark.skipif(not DUMP.is_file(), reason="The shared test data is not beside us."),
    pytest.mark.skipif(RESTORE is None, reason="needs pg_restore"),
    pytest.mark.skipif(not (TAP and TARGET), reason="needs tap-odoo and target-bronze-postgres"),
]


class Both:
    """Odoo's database and ours."""

    def __init__(self, odoo: str, ours: str) -> None:
        self.odoo, self.ours = odoo, ours

    def expect_same(self, gold: str, oracle: str, **values: Any) -> int:
        """Both queries give the same rows; returns how many there are."""
        answers = []
        for dsn, query in ((self.ours, gold), (self.odoo, oracle)):
            with psycopg.connect(dsn) as connection:
                answers.append(sorted(connection.execute(query, values).fetchall(), key=str))
        seen, expected = answers

        assert seen == expected
        return len(expected)


def restore(server: Any, dsn: str) -> None:
    assert RESTORE
    subprocess.run([RESTORE, "--no-owner", "--no-privileges", "-d", dsn, str(DUMP)], check=True)
    with psycopg.connect(dsn) as connection:
        connection.execute(MORE.read_text())


def load(folder: Path, odoo: str, ours: str) -> None:
    """`tap-odoo | target-bronze-postgres`."""
    assert TAP
    assert TARGET
    (folder / "tap.json").write_text(json.dumps({"database_url": odoo}))
    (folder / "target.json").write_text(json.dumps({"database_url": ours, "instance_id": "demo"}))
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [TAP, "--config", str(folder / "tap.json")], stdout=subprocess.PIPE, stderr=log
        ) as tap,
    ):
        landed = subprocess.run(
            [TARGET, "--config", str(folder / "target.json")],
            stdin=tap.stdout,
            stdout=subprocess.DEVNULL,
            stderr=log,
            check=False,
        )
    assert (tap.wait(), landed.returncode) == (0, 0), (folder / "log").read_text()[-3000:]


@pytest.fixture(scope="module")
def both(
    server: Any,
    migrated_template: str,
    dbt_output: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Both]:
    """The demo database, with what it lacks, in Gold."""
    odoo, ours = server.create(), server.create(migrated_template)
    both = Both(server.dsn_of(odoo), server.dsn_of(ours))
    restore(server, both.odoo)
    load(tmp_path_factory.mktemp("load"), both.odoo, both.ours)
    result = run_dbt(both.ours, select=["@path:models/silver/odoo"])
    assert result.ok, result.summary()
    assert not [node.name for node in result.nodes if node.status == "warn"]
    yield both
    server.drop(odoo)
    server.drop(ours)


POSTED = """
    select l.*, a.account_type, a.code_store ->> l.company_id::text as code
    from account_move_line as l
    join account_move as m on m.id = l.move_id and m.state = 'posted'
    join account_account as a on a.id = l.account_id
"""


def test_every_posted_line_is_in_the_ledger(both: Both) -> None:
    count = both.expect_same(
        f"select posting_id, account_code, posted_on, debit, credit, amount, original_amount "
        f"from {GOLD}.gold_finance_general_ledger",
        f"select id, code, date, debit, credit, balance, amount_currency from ({POSTED}) as p",
    )

    assert count == 57 + 8


def test_the_last_running_balance_is_the_balance_of_the_account(both: Both) -> None:
    both.expect_same(
        f"select distinct on (company_id, account_id) company_id, account_id, running_balance "
        f"from {GOLD}.gold_finance_general_ledger "
        "order by company_id, account_id, posted_on desc, entry_id desc, posting_id desc",
        f"select company_id, account_id, sum(balance) from ({POSTED}) as p group by 1, 2",
    )


@pytest.mark.parametrize("month", ["2025-08-01", "2026-06-01", "2026-07-01", "2026-11-01"])
def test_the_trial_balance_equals_the_sums_of_odoo(both: Both, month: str) -> None:
    """Fiscal years begin in January in the first company and in July in the second."""
    first_days = {
        "2025-08-01": ("2025-01-01", "2025-07-01"),
        "2026-06-01": ("2026-01-01", "2025-07-01"),
        "2026-07-01": ("2026-01-01", "2026-07-01"),
        "2026-11-01": ("2026-01-01", "2026-07-01"),
    }
    one, two = first_days[month]

    both.expect_same(
        f"select company_id, account_id, debit, credit, opening_balance, closing_balance "
        f"from {GOLD}.gold_finance_trial_balance "
        "where period_start = %(month)s and account_id > 0",
        f"""
        with l as (
            select *, case company_id when 1 then %(one)s::date else %(two)s::date end as year,
                %(month)s::date as first, (%(month)s::date + interval '1 month')::date as next,
                account_type ~ '^(income|expense)' as yearly
            from ({POSTED}) as p
        )
        select company_id, account_id,
            coalesce(sum(debit) filter (where date >= first), 0),
            coalesce(sum(credit) filter (where date >= first), 0),
            coalesce(sum(balance) filter (where date < first and (not yearly or date >= year)), 0),
            coalesce(sum(balance) filter (where not yearly or date >= year), 0)
        from l where date < next group by 1, 2
        """,
        month=month,
        one=one,
        two=two,
    )


def test_profit_and_balance_sheet_add_up_to_odoo_s_lines(both: Both) -> None:
    both.expect_same(
        f"select company_id, period_start, sum(amount) from {GOLD}.gold_finance_profit_and_loss "
        "group by 1, 2 having sum(amount) <> 0",
        f"select company_id, date_trunc('month', date)::date, -sum(balance) from ({POSTED}) as p "
        "where account_type ~ '^(income|expense)' group by 1, 2 having sum(balance) <> 0",
    )
    for day in ("2025-09-30", "2026-06-30", "2026-10-31"):
        both.expect_same(
            f"select company_id, side, sum(amount) from {GOLD}.gold_finance_balance_sheet "
            "where period_end = %(day)s and side <> 'equity' group by 1, 2 "
            "having sum(amount) <> 0",
            f"select company_id, split_part(account_type, '_', 1), "
            "sum(balance) * case when account_type ~ '^asset' then 1 else -1 end "
            f"from ({POSTED}) as p where date <= %(day)s and account_type ~ '^(asset|liability)' "
            "group by 1, 2, account_type ~ '^asset' having sum(balance) <> 0",
            day=day,
        )


def test_cash_moves_and_ends_as_odoo_s_cash_accounts(both: Both) -> None:
    both.expect_same(
        f"select company_id, amount from {GOLD}.gold_finance_cashflow "
        "where activity = 'closing_cash' and period_start = '2026-11-01'",
        f"select company_id, sum(balance) from ({POSTED}) as p "
        "where account_type = 'asset_cash' group by 1",
    )
    both.expect_same(
        f"select company_id, period_start, sum(amount) from {GOLD}.gold_finance_cashflow "
        "where activity in ('operating', 'investing', 'financing') group by 1, 2 "
        "having sum(amount) <> 0",
        f"select company_id, date_trunc('month', date)::date, sum(balance) from ({POSTED}) as p "
        "where account_type = 'asset_cash' group by 1, 2 having sum(balance) <> 0",
    )


@pytest.mark.parametrize(("kind", "sign"), [("ar", 1), ("ap", -1)])
@pytest.mark.parametrize("day", DAYS)
def test_ageing_equals_odoo_s_residuals_on_any_day(
    both: Both, kind: str, sign: int, day: str
) -> None:
    """Odoo's residual is today's: what was matched later is added back."""
    account_type = {"ar": "asset_receivable", "ap": "liability_payable"}[kind]
    both.expect_same(
        f"select posting_id, open_amount, bucket from {GOLD}.gold_finance_{kind}_aging_by_day "
        "where as_of_date = %(day)s",
        f"""
        with l as (
            select p.id, p.date, coalesce(p.date_maturity, p.date) as due, p.amount_residual
                + coalesce((select sum(amount) from account_partial_reconcile as r
                    where r.debit_move_id = p.id and r.max_date > %(day)s), 0)
                - coalesce((select sum(amount) from account_partial_reconcile as r
                    where r.credit_move_id = p.id and r.max_date > %(day)s), 0) as residual
            from ({POSTED}) as p
            where account_type = %(account_type)s and date <= %(day)s
        )
        select id, residual * %(sign)s, case
            when %(day)s::date <= due then 'current'
            when %(day)s::date - due <= 30 then '1-30'
            when %(day)s::date - due <= 60 then '31-60'
            when %(day)s::date - due <= 90 then '61-90'
            when %(day)s::date - due <= 120 then '91-120'
            else 'older' end
        from l where residual <> 0
        """,
        day=day,
        account_type=account_type,
        sign=sign,
    )


@pytest.mark.parametrize(("kind", "sign"), [("ar", 1), ("ap", -1)])
def test_ageing_of_today_is_what_odoo_calls_residual(both: Both, kind: str, sign: int) -> None:
    both.expect_same(
        f"select posting_id, open_amount from {GOLD}.gold_finance_{kind}_aging",
        f"select id, amount_residual * %(sign)s from ({POSTED}) as p "
        "where account_type = %(account_type)s and amount_residual <> 0 and date <= current_date",
        account_type={"ar": "asset_receivable", "ap": "liability_payable"}[kind],
        sign=sign,
    )


@pytest.mark.parametrize(("kind", "sign"), [("ar", 1), ("ap", -1)])
def test_partners_owe_the_sum_of_their_residuals(both: Both, kind: str, sign: int) -> None:
    count = both.expect_same(
        f"select company_id, partner_id, open_item_count, open_amount, overdue_amount, "
        f"overdue_1_30, oldest_due_on, first_payment_on, last_payment_on "
        f"from {GOLD}.gold_finance_{kind}_aging_by_partner",
        f"""
        with l as (
            select p.*, %(sign)s * p.amount_residual as residual,
                coalesce(p.date_maturity, p.date) as due, j.type as journal_type
            from ({POSTED}) as p join account_journal as j on j.id = p.journal_id
            where p.account_type = %(account_type)s and p.date <= current_date
        )
        select company_id, partner_id, count(*) filter (where residual <> 0), sum(residual),
            coalesce(sum(residual) filter (where due < current_date), 0),
            coalesce(sum(residual) filter (where current_date - due between 1 and 30), 0),
            min(due) filter (where residual > 0),
            min(date) filter (where journal_type in ('bank', 'cash') and %(sign)s * balance < 0),
            max(date) filter (where journal_type in ('bank', 'cash') and %(sign)s * balance < 0)
        from l group by 1, 2 having count(*) filter (where residual <> 0) > 0
        """,
        account_type={"ar": "asset_receivable", "ap": "liability_payable"}[kind],
        sign=sign,
    )

    assert count >= 1


def test_days_sales_outstanding_follow_from_odoo_s_invoices(both: Both) -> None:
    """Odoo's totals of invoices without tax, not the lines that Gold adds up."""
    count = both.expect_same(
        f"select period_start, receivable_balance, net_credit_sales, dso "
        f"from {GOLD}.gold_finance_dso where company_id = 1 and period_end < current_date "
        "and (net_credit_sales <> 0 or receivable_balance <> 0)",
        f"""
        with months as (
            select month::date as first, (month + interval '1 month')::date as next
            from generate_series('2025-01-01', date_trunc('month', current_date)
                - interval '1 month', interval '1 month') as month
        ), f as (
            select first, next - first as days,
                coalesce((select sum(balance) from ({POSTED}) as p where company_id = 1
                    and account_type = 'asset_receivable' and date < next), 0) as balance,
                coalesce((select sum(amount_untaxed_signed) from account_move where company_id = 1
                    and move_type in ('out_invoice', 'out_refund') and state = 'posted'
                    and date >= first and date < next), 0) as sales
            from months
        )
        select first, balance, sales, case when sales > 0 then round(balance / sales * days, 1) end
        from f where balance <> 0 or sales <> 0
        """,
    )

    assert count >= 1


def test_sales_equal_the_totals_of_odoo_s_orders(both: Both) -> None:
    """Odoo adds up an order itself; Gold adds up its lines."""
    oracle = """
        select o.company_id, coalesce(o.team_id, 0), coalesce(o.warehouse_id, 0),
            (o.date_order at time zone 'UTC' at time zone coalesce(p.tz, cp.tz, 'UTC'))::date,
            sum(o.amount_untaxed), sum(o.amount_tax), count(*), count(distinct o.partner_id)
        from sale_order as o
        join res_company as c on c.id = o.company_id
        join res_partner as cp on cp.id = c.partner_id
        left join stock_warehouse as w on w.id = o.warehouse_id
        left join res_partner as p on p.id = w.partner_id
        where o.state in ('sale', 'done')
        group by 1, 2, 3, 4
    """
    count = both.expect_same(
        f"select company_id, channel_id, shop_id, sold_on, net_amount, tax_amount, order_count, "
        f"customer_count from {GOLD}.gold_retail_sales_summary where order_count > 0",
        oracle,
    )

    assert count > 5


def test_gross_discounts_returns_and_units_follow_from_prices_and_quantities(both: Both) -> None:
    """Gold takes Odoo's totals of lines; here price, quantity and discount are multiplied."""
    count = both.expect_same(
        f"select company_id, sold_on, sum(gross_amount), sum(discount_amount), "
        f"sum(returns_amount), sum(net_amount), sum(units_sold), sum(units_returned), "
        f"sum(units_net), sum(order_count), sum(order_line_count) "
        f"from {GOLD}.gold_retail_sales_summary where order_count > 0 or units_returned > 0 "
        "group by 1, 2",
        f"select company_id, day, round(sum(gross), 2), round(sum(discount), 2), sum(returned), "
        f"round(sum(gross - discount - returned), 2), sum(units), sum(units_back), "
        f"sum(units - units_back), count(distinct order_id), count(order_id) from ({SOLD}) as s "
        "group by 1, 2",
    )

    assert count > 5


def test_products_and_cohorts_follow_from_prices_and_quantities(both: Both) -> None:
    both.expect_same(
        f"select product_id, sum(gross_amount), sum(discount_amount), sum(returns_amount), "
        f"sum(units_net), sum(order_count) from {GOLD}.gold_retail_product_sales group by 1",
        f"select product_id, sum(gross), sum(discount), sum(returned), sum(units - units_back), "
        f"count(distinct order_id) from ({SOLD}) as s group by 1",
    )
    both.expect_same(
        f"select cohort_month, month, cohort_customer_count, customer_count, order_count, "
        f"net_amount from {GOLD}.gold_retail_customer_cohorts where order_count > 0",
        f"""
        with s as (select *, date_trunc('month', day)::date as month from ({SOLD}) as s),
        f as (select partner_id, min(month) as cohort from s group by 1)
        select f.cohort, s.month, (select count(*) from f as x where x.cohort = f.cohort),
            count(distinct s.partner_id), count(distinct s.order_id),
            round(sum(gross - discount - returned), 2)
        from s join f using (partner_id) group by 1, 2
        """,
    )


def test_stock_equals_odoo_s_quants(both: Both) -> None:
    both.expect_same(
        f"select location, product_id, quantity_on_hand, quantity_reserved, stock_value "
        f"from {GOLD}.gold_retail_inventory",
        """
        select l.complete_name, q.product_id, sum(q.quantity), sum(q.reserved_quantity),
            round(sum(q.quantity)
                * coalesce((p.standard_price ->> l.company_id::text)::numeric, 0), 2)
        from stock_quant as q
        join stock_location as l on l.id = q.location_id and l.usage in ('internal', 'transit')
        join product_product as p on p.id = q.product_id
        group by 1, 2, l.company_id, p.standard_price
        """,
    )


def test_projects_count_odoo_s_tasks(both: Both) -> None:
    both.expect_same(
        f"select project_id, project, task_count, done_task_count, allocated_hours "
        f"from {GOLD}.gold_finance_project_portfolio",
        """
        select p.id, p.name ->> 'en_US', count(t.id), count(t.id) filter (where t.state = '1_done'),
            coalesce(sum(t.allocated_hours) filter (where t.state <> '1_canceled'), 0)::numeric
        from project_project as p
        left join project_task as t on t.project_id = p.id and t.active
        group by p.id
        """,
    )
