# SPDX-License-Identifier: Apache-2.0
"""Records of tens of megabytes: their memory, and the order of commits around them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipai_kit.singer.reader import LARGE_LINE_BYTES
from ipai_kit.testing.target_runs import peak_memory

Make = Callable[..., Any]
MEGABYTE = 1 << 20


def test_state_before_a_large_record_leaves_though_the_record_breaks_off(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    large = json.dumps(record(id=3, v="x" * (LARGE_LINE_BYTES + MEGABYTE)))
    messages = [schema(), record(id=1), state(1), record(id=2)]
    lines = "".join(json.dumps(message) + "\n" for message in messages) + large[:-1]

    done = run_target(lines.encode())

    assert (done.exit_code, done.states) == (65, [1])
    assert [event["received"] for event in done.of("flushed")] == [2]
    assert len(bronze.rows("things")) == 2


def test_memory_stays_in_bounds_with_records_of_fifty_megabytes(
    bronze: Any, schema: Make, record: Make, tmp_path: Path
) -> None:
    large = [record(id=number, v="x" * (50 * MEGABYTE)) for number in (2, 3)]
    lines = [schema(), record(id=1), *large, record(id=4)]

    peak = peak_memory("target_bronze_postgres", {"database_url": bronze.dsn}, lines, tmp_path)

    assert len(bronze.rows("things", "record_key")) == 4
    assert peak < 190 * 1024  # 140 MB; each copy more is 50
