# SPDX-License-Identifier: Apache-2.0
"""What was delivered is in the lake, byte for byte, and STATE follows it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

pytestmark = pytest.mark.parametrize("form", ["delta", "parquet"])

Make = Callable[..., Any]


def test_a_row_has_every_column_of_the_contract(
    lake: Any, run_target: Make, schema: Make, state: Make
) -> None:
    text = b'{"id": 7,  "v":1.50,"u":"2024-05-01T10:00:00+02:00"}'
    time = b"2024-05-01T09:30:00.000001Z"
    line = b'{"type":"RECORD","stream":"things","record":%s,"time_extracted":"%s"}' % (text, time)

    done = run_target(
        [schema(cursor="u", u={}), line, state({"a": 1})], instance_id="i", run_id="r"
    )

    [row] = lake.rows()
    loaded_at = row.pop("loaded_at")
    assert (done.exit_code, done.states) == (0, [{"a": 1}])
    assert row == {
        "instance_id": "i",
        "record_key": "[7]",
        "record": text.decode(),
        "emitted_at": datetime(2024, 5, 1, 9, 30, 0, 1, tzinfo=UTC),
        "source": "singer",
        "stream": "things",
        "cursor": "2024-05-01T08:00:00.000000000Z",
        "run_id": "r",
        "deleted_at": None,
        "generation": None,
        "position": 0,
        "day": "2024-05-01",
    }
    assert abs((datetime.now(UTC) - loaded_at).total_seconds()) < 60


def test_a_stream_without_records_has_its_table(lake: Any, run_target: Make, schema: Make) -> None:
    run_target([schema()])

    assert lake.rows() == []


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_a_time_beyond_the_calendar_lands_with_the_time_of_reading(
    lake: Any, run_target: Make, schema: Make, record: Make, time: str
) -> None:
    done = run_target([schema(), record(id=1, at=time)])

    [row] = lake.rows()
    assert done.exit_code == 0
    assert abs((datetime.now(UTC) - row["emitted_at"]).total_seconds()) < 60


def test_rows_of_several_days_go_to_their_partitions(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    days = ["2024-01-01", "2024-01-02", "2024-01-01", "1969-12-31"]

    run_target([schema(), *(record(id=i, at=f"{day}T23:59:59Z") for i, day in enumerate(days))])

    assert [row["day"] for row in lake.rows()] == days
    assert [row["position"] for row in lake.rows()] == [0, 1, 2, 3]
    assert len(lake.files(lake.path())) == 3


def test_a_record_that_is_not_utf8_goes_to_the_dead_letters(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    line = b'{"type":"RECORD","stream":"things","record":{"id":2,"v":"\xff"}}'

    done = run_target([schema(), record(id=1), line, record(id=3)])

    assert list(lake.newest()) == ["[1]", "[3]"]
    assert (done.exit_code, done.total("dead")) == (0, 1)
    assert lake.letters() == [("things", "invalid_encoding", b'{"id":2,"v":"\xff"}')]


def test_the_same_dead_letter_is_not_stored_twice(
    lake: Any, run_target: Make, schema: Make, form: str
) -> None:
    bad = b'{"type":"RECORD","stream":"things","record":{"v":1}}'
    worse = b'{"type":"RECORD","stream":"things","record":{"id":1,"v":NaN}}'
    good = b'{"type":"RECORD","stream":"things","record":{"id":1}}'

    run_target([schema(), good, bad])
    run_target([schema(), good, bad, worse, bad])

    assert sorted(lake.letters()) == [
        ("things", "invalid_json", worse),
        ("things", "missing_key", b'{"v":1}'),
    ]
