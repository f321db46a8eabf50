# SPDX-License-Identifier: Apache-2.0
"""Sales and stock in Gold: a small company's figures, computed by hand."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.transform.project import find_project

pytestmark = pytest.mark.slow

GOLD = "ipai_gold_erp.gold_retail"


def test_days_begin_at_midnight_of_the_shop_and_amounts_are_the_company_s(built: Any) -> None:
    """23:30 UTC is the next day in Brussels; 50 dollars at 1.25 are 40 euros."""
    rows = built.rows(
        f"select sold_on, shop, channel, currency, gross_amount, discount_amount, returns_amount, "
        f"net_amount, tax_amount, order_count, average_order_amount, customer_count, units_sold, "
        f"units_returned, units_net, order_line_count from {GOLD}_sales_summary "
        "where company_id = 1 and sold_on <= '2025-03-06' order by sold_on"
    )

    tax = Decimal("23.94")
    assert [row[:4] for row in rows] == [
        (date(2025, 3, day), "Dock shop", "Counter", "EUR") for day in range(2, 7)
    ]
    assert [row[4:] for row in rows] == [
        (164, 10, 0, 154, tax, 2, 77, 2, 15, 0, 15, 3),
        (0, 0, 0, 0, 0, 0, None, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, None, 0, 0, 0, 0, 0),
        (0, 0, 45, -45, 0, 0, None, 0, 0, 1, -1, 0),
        (0, 0, 50, -50, 0, 0, None, 0, 0, 1, -1, 0),
    ]


def test_an_order_without_warehouse_and_team_belongs_to_its_company(built: Any) -> None:
    """Two units given away; 2 o'clock UTC is the evening before in New York."""
    rows = built.rows(
        f"select sold_on, shop_id, shop, channel_id, channel, timezone, gross_amount, "
        f"discount_amount, net_amount, units_sold from {GOLD}_sales_summary "
        "where company_id = 2 and order_count > 0"
    )

    zone = "America/New_York"
    assert rows == [(date(2025, 3, 6), 0, "Hill Inc", 0, None, zone, 20, 20, 0, 2)]


def test_products_are_counted_in_their_own_unit(built: Any) -> None:
    rows = built.rows(
        f"select sold_on, product_code, product, category, gross_amount, net_amount, units_sold, "
        f"units_returned from {GOLD}_product_sales "
        "where instance_id = 'one' and company_id = 1 order by 1, 2"
    )

    assert rows == [
        (date(2025, 3, 2), "N-1", "Nails", "All / Gear", 24, 24, 12, 0),
        (date(2025, 3, 2), "R-1", "Rope", "All / Gear", 140, 130, 3, 0),
        (date(2025, 3, 5), "R-1", "Rope", "All / Gear", 0, -45, 0, 1),
        (date(2025, 3, 6), "R-1", "Rope", "All / Gear", 0, -50, 0, 1),
    ]


def test_customers_who_came_first_in_one_month_are_followed(built: Any) -> None:
    """Ann and Bob in March; in May Ann orders for 30 and brings back 20, Cane comes first."""
    rows = built.rows(
        f"select cohort_month, month, months_since_first, cohort_customer_count, customer_count, "
        f"retention, order_count, net_amount, currency from {GOLD}_customer_cohorts "
        "where instance_id = 'four' and month <= '2025-05-01' order by 1, 2"
    )

    march, april, may = (date(2025, month, 1) for month in (3, 4, 5))
    assert rows == [
        (march, march, 0, 2, 2, 1, 2, 150, "EUR"),
        (march, april, 1, 2, 0, 0, 0, 0, "EUR"),
        (march, may, 2, 2, 1, Decimal("0.5"), 1, 10, "EUR"),
        (may, may, 0, 1, 1, 1, 1, 10, "EUR"),
    ]


def test_stock_is_what_quants_and_movements_say_and_valued_where_owned(built: Any) -> None:
    """Seven own ropes at 12.50; two more belong to a customer. A planned movement is none."""
    rows = built.rows(
        f"select shop, location, product, quantity_on_hand, quantity_reserved, "
        f"quantity_available, quantity_by_moves, unit_cost, stock_value, currency "
        f"from {GOLD}_inventory"
    )

    cost, value = Decimal("12.5"), Decimal("87.5")
    assert rows == [("Dock shop", "DS/Stock", "Rope", 9, 2, 7, 9, cost, value, "EUR")]


def test_a_movement_that_the_quants_do_not_know_is_a_warning(built: Any) -> None:
    """The last test: it changes the books."""
    late = {
        "id": 9,
        "state": "done",
        "date": "2025-03-09T09:00:00+00:00",
        "product_id": 101,
        "quantity_product_uom": "1",
        "location_id": 8,
        "location_dest_id": 9,
    }
    built.land("stock_move_line", late, day="02")

    result = built.build_ok("odoo_stock_move_lines+")

    warned = {node.name for node in result.nodes if node.status == "warn"}
    assert warned == {"gold_retail_inventory_equals_all_movements"}


def test_freshness_names_the_sources_of_every_view_and_says_what_is_late(built: Any) -> None:
    """One run three hours ago read quants; the next is due since two and a half hours."""
    streams = ["stock_quant", "stock_location"]
    spec = json.dumps({"sync_mode": "incremental", "streams": [{"name": name} for name in streams]})
    plane = ControlPlane(built.connection)
    built.connection.execute(
        "select connectors.register_connector_definition('odoo', 'source_type: odoo', %s)", (spec,)
    )
    plane.ensure_instance("one", "ipai_connector_odoo", {}, schedule="0 * * * *")
    run = plane.claim(plane.enqueue("one"), "worker")
    assert run is not None
    plane.complete(run, stateless=True)
    built.connection.execute(
        "insert into connectors.run_streams (run_id, stream, job_name)"
        " select %s, unnest(%s::text[]), 'sync'",
        (run.id, streams),
    )
    plane.enqueue("one", triggered_by="schedule", dedupe_key="due")
    with built.connection.transaction():
        built.connection.execute("set local session_replication_role = replica")
        built.connection.execute(
            "update connectors.connector_runs set queued_at = now() - interval '4 hours',"
            " started_at = now() - interval '3 hours', ended_at = now() - interval '170 minutes'"
            " where status = 'succeeded'"
        )
        built.connection.execute(
            "update connectors.connector_runs set queued_at = now() - interval '150 minutes'"
            " where dedupe_key = 'due'"
        )
    with psycopg.connect(built.dsn) as reader:
        reader.execute("set role ipai_analyst")
        rows = reader.execute(
            "select stream, now() - last_success_at, now() - data_as_of, newest_record_at is null,"
            " newest_cursor is null, sla_tier, max_latency, now() - late_since, is_late"
            " from ipai_gold_core.gold_freshness"
            " where gold_view = 'gold_retail_inventory' and instance_id = 'one'"
            " and stream in ('stock_quant', 'product_product') order by stream desc"
        ).fetchall()
    [(views,)] = built.rows(
        "select count(distinct gold_view) from ipai_gold_core.gold_freshness where source = 'odoo'"
    )

    [quants, products] = rows
    ago = [round(moment.total_seconds() / 600) for moment in (quants[1], quants[2], quants[7])]
    assert ago == [17, 18, 3]
    assert quants[3:7] == (False, False, "standard", timedelta(hours=2))
    assert quants[8] is True
    assert products == ("product_product", None, None, False, False, None, None, None, None)
    assert views == len(list((find_project().root / "models/gold").glob("[fr]*/*.sql")))
