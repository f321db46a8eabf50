# SPDX-License-Identifier: Apache-2.0
"""Sales and stock in Gold: a small company's figures, computed by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

pytestmark = pytest.mark.slow

GOLD = "ipai_gold_erp.gold_retail"


def test_days_begin_at_midnight_of_the_shop_and_amounts_are_the_company_s(built: Any) -> None:
    """23:30 UTC is the next day in Brussels; 50 dollars at 1.25 are 40 euros."""
    rows = built.rows(
        f"select sold_on, shop, channel, currency, gross_amount, discount_amount, returns_amount, "
        f"net_amount, tax_amount, order_count, average_order_amount, customer_count, units_sold, "
        f"units_returned from {GOLD}_sales_summary "
        "where company_id = 1 and sold_on <= '2025-03-06' order by sold_on"
    )

    tax = Decimal("23.94")
    assert [row[:4] for row in rows] == [
        (date(2025, 3, day), "Dock shop", "Counter", "EUR") for day in range(2, 7)
    ]
    assert [row[4:] for row in rows] == [
        (164, 10, 0, 154, tax, 2, 77, 2, 15, 0),
        (0, 0, 0, 0, 0, 0, None, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, None, 0, 0, 0),
        (0, 0, 45, -45, 0, 0, None, 0, 0, 1),
        (0, 0, 50, -50, 0, 0, None, 0, 0, 1),
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
        f"units_returned from {GOLD}_product_sales where company_id = 1 order by 1, 2"
    )

    assert rows == [
        (date(2025, 3, 2), "N-1", "Nails", "All / Gear", 24, 24, 12, 0),
        (date(2025, 3, 2), "R-1", "Rope", "All / Gear", 140, 130, 3, 0),
        (date(2025, 3, 5), "R-1", "Rope", "All / Gear", 0, -45, 0, 1),
        (date(2025, 3, 6), "R-1", "Rope", "All / Gear", 0, -50, 0, 1),
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
