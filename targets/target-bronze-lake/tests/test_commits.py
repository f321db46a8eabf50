# SPDX-License-Identifier: Apache-2.0
"""Commits of a Delta table: one per flush, counted per instance, found again after a lost answer."""

from collections.abc import Callable
from typing import Any

Make = Callable[..., Any]


def test_each_flush_is_one_commit_that_counts_for_its_instance(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    lines = [schema(), *(record(id=i) for i in range(5)), state(5)]

    done = run_target(lines, batch_size_rows=2, instance_id="i")

    table = lake.table()
    assert table.transaction_version("ipai:i:singer:things") == 2
    assert table.version() == 3
    assert [event["inserted"] for event in done.of("flushed")] == [2, 2, 1]
    assert done.states == [5]
