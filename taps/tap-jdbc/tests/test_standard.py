# SPDX-License-Identifier: Apache-2.0
"""singer-sdk's standard tests and the rules of every connector, on a made-up shop in SQLite."""

from __future__ import annotations

import pytest
from singer_sdk.testing import SuiteConfig

from ipai_kit.testing import connector_conformance
from ipai_kit.testing.runs import run_tap
from ipai_kit.testing.sandboxes import running_sandbox
from ipai_kit.testing.standard import standard_tap_tests
from tap_jdbc.tap import TapJdbc

STANDARD = standard_tap_tests(TapJdbc, "jdbc", suite_config=SuiteConfig(max_records_limit=50))


class TestStandard(STANDARD):
    """The suite."""


def test_keeps_the_rules_of_every_connector():
    assert connector_conformance(TapJdbc) == []


def test_follows_the_shop_through_time():
    with running_sandbox("jdbc") as shop:
        config = {**shop.config(), "deletes": "compare"}
        first = run_tap(TapJdbc, config)
        changed = shop.advance(2)
        second = run_tap(TapJdbc, config, state=first.state)

        gone = {
            (one["order_id"], one["line"])
            for one in second.records["main-order_lines"]
            if one.get("_sdc_deleted_at")
        }
        assert {one["id"] for one in second.records["main-orders"]} >= set(changed["orders"])
        assert {order for order, _ in gone} == {1, 2}


@pytest.mark.parametrize("orders", [1, 25])
def test_the_shop_has_the_size_that_is_asked_for(orders):
    with running_sandbox("jdbc", orders=orders) as shop:
        assert len(shop.records("main-orders")) == orders
