# SPDX-License-Identifier: Apache-2.0
"""What was delivered is in the lake, byte for byte, and STATE follows it."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

Make = Callable[..., Any]


def test_a_row_has_every_column_of_the_contract(
    lake: Any, run_target: Make, schema: Make, state: Make
) -> None:
    line = b'{"type":"RECORD","stream":"things","record":{"id": 7,  "v":1.50,"u":"2024-05-01T10:00:00+02:00"},"time_extracted":"2024-05-01T09:30:00.000001Z"}'

    done = run_target(
        [schema(cursor="u", u={}), line, state({"a": 1})], instance_id="i", run_id="r"
    )

    [row] = lake.rows()
    loaded_at = row.pop("loaded_at")
    assert (done.exit_code, done.states) == (0, [{"a": 1}])
    assert row == {
        "instance_id": "i",
        "record_key": "[7]",
        "record": '{"id": 7,  "v":1.50,"u":"2024-05-01T10:00:00+02:00"}',
        "emitted_at": datetime(2024, 5, 1, 9, 30, 0, 1, tzinfo=UTC),
        "source": "singer",
        "stream": "things",
        "cursor": "2024-05-01T08:00:00.000000000Z",
        "run_id": "r",
        "deleted_at": None,
        "generation": None,
        "position": 0,
        "emitted_date": date(2024, 5, 1),
    }
    assert abs((datetime.now(UTC) - loaded_at).total_seconds()) < 60


def test_a_stream_without_records_has_its_table(lake: Any, run_target: Make, schema: Make) -> None:
    run_target([schema()])

    assert lake.rows() == []


def test_rows_of_several_days_go_to_their_partitions(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    days = ["2024-01-01", "2024-01-02", "2024-01-01", "1969-12-31"]

    run_target([schema(), *(record(id=i, at=f"{day}T23:59:59Z") for i, day in enumerate(days))])

    assert [str(row["emitted_date"]) for row in lake.rows()] == days
    assert [row["position"] for row in lake.rows()] == [0, 1, 2, 3]
    assert len(lake.table().file_uris()) == 3


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


def test_a_record_that_is_not_utf8_goes_to_the_dead_letters(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    line = b'{"type":"RECORD","stream":"things","record":{"id":2,"v":"\xff"}}'

    done = run_target([schema(), record(id=1), line, record(id=3)])

    assert list(lake.newest()) == ["[1]", "[3]"]
    assert (done.exit_code, done.total("dead")) == (0, 1)
