# SPDX-License-Identifier: Apache-2.0
"""Records with `_sdc_deleted_at`: the row stays, marked, with the members it had."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
GONE = "2026-11-01T10:00:00+00:00"


def log_schema(cursor: str | None = "_sdc_lsn") -> dict[str, Any]:
    members = {
        "id": {"type": "integer"},
        "name": {"type": ["string", "null"]},
        "_sdc_lsn": {"type": ["integer", "null"]},
        "_sdc_deleted_at": {"type": ["string", "null"], "format": "date-time"},
    }
    return {
        "type": "SCHEMA",
        "stream": "things",
        "schema": {"type": "object", "properties": members},
        "key_properties": ["id"],
        "bookmark_properties": [cursor] if cursor else [],
    }


def change(second: int, **members: Any) -> dict[str, Any]:
    return {
        "type": "RECORD",
        "stream": "things",
        "record": members,
        "time_extracted": f"2026-11-02T00:00:{second:02}Z",
    }


def rows(bronze: Any) -> list[tuple[Any, ...]]:
    query = """select record ->> 'id', record ->> 'name', deleted_at is not null, cursor is null
        from ipai_bronze_core.raw_singer_things order by 1, loaded_at, emitted_at"""
    return [(int(number), *rest) for number, *rest in bronze.query(query)]


INSERT = change(1, id=1, name="a", _sdc_lsn=10, _sdc_deleted_at=None)
OTHER = change(1, id=2, name="b", _sdc_lsn=11, _sdc_deleted_at=None)
DELETE = change(2, id=1, _sdc_lsn=20, _sdc_deleted_at=GONE)
AGAIN = change(3, id=1, name="c", _sdc_lsn=30, _sdc_deleted_at=None)


@pytest.mark.parametrize(
    ("flushes", "expected"),
    [
        ([[INSERT, OTHER, DELETE]], [(1, "a", True, False), (2, "b", False, False)]),
        ([[INSERT, OTHER], [DELETE]], [(1, "a", True, False), (2, "b", False, False)]),
        ([[INSERT], [DELETE], [DELETE]], [(1, "a", True, False)]),
        ([[INSERT], [DELETE], [INSERT, DELETE]], [(1, "a", True, False)]),
        ([[INSERT], [DELETE], [INSERT]], [(1, "a", True, False)]),
        ([[INSERT], [DELETE], [AGAIN]], [(1, "c", False, False)]),
        ([[INSERT, DELETE, AGAIN]], [(1, "c", False, False)]),
        ([[INSERT, DELETE], [AGAIN], [DELETE]], [(1, "c", False, False)]),
        ([[DELETE]], [(1, None, True, False)]),
        ([[DELETE], [INSERT]], [(1, None, True, False)]),
    ],
)
def test_a_tombstone_marks_its_row_and_replays_change_nothing(
    bronze: Any, run_target: Make, flushes: list[list[Any]], expected: list[Any]
) -> None:
    for flush in flushes:
        assert run_target([log_schema(), *flush]).exit_code == 0

    assert rows(bronze) == expected


def test_a_tombstone_that_is_delivered_again_writes_nothing(bronze: Any, run_target: Make) -> None:
    run_target([log_schema(), INSERT])
    first = run_target([log_schema(), DELETE])
    before = bronze.query("select xmin::text, loaded_at from ipai_bronze_core.raw_singer_things")
    second = run_target([log_schema(), DELETE])

    updated = [sum(e.get("updated", 0) for e in done.of("flushed")) for done in (first, second)]
    assert updated == [1, 0]
    assert before == bronze.query(
        "select xmin::text, loaded_at from ipai_bronze_core.raw_singer_things"
    )


@pytest.mark.parametrize("together", [True, False])
def test_a_tombstone_without_a_cursor_is_judged_by_its_time(
    bronze: Any, run_target: Make, together: bool
) -> None:
    gone = change(2, id=1, _sdc_deleted_at=GONE)
    stale = change(0, id=2, _sdc_deleted_at=GONE)
    back = change(3, id=1, name="a", _sdc_lsn=10, _sdc_deleted_at=None)

    for flush in [[INSERT, OTHER, gone, stale]] if together else [[INSERT, OTHER], [gone, stale]]:
        run_target([log_schema(), *flush])
    assert rows(bronze) == [(1, "a", True, False), (2, "b", False, False)]

    run_target([log_schema(), back])
    assert rows(bronze) == [(1, "a", False, False), (2, "b", False, False)]


@pytest.mark.parametrize("batch_size_rows", [1, 1000])
def test_appended_versions_are_marked_one_by_one(
    bronze: Any, run_target: Make, batch_size_rows: int
) -> None:
    lines = [log_schema(), INSERT, DELETE, AGAIN]

    assert run_target(lines, load_method="append", batch_size_rows=batch_size_rows).exit_code == 0

    assert sorted(rows(bronze), key=str) == [
        (1, "a", False, False),
        (1, "c", False, False),
        (1, None, True, False),
    ]


def test_the_members_of_the_tombstone_are_added_to_the_last_ones(
    bronze: Any, run_target: Make
) -> None:
    run_target([log_schema(), INSERT, DELETE])

    (record,) = bronze.query("select record::text from ipai_bronze_core.raw_singer_things")[0]
    assert json.loads(record) == {
        "id": 1,
        "name": "a",
        "_sdc_lsn": 20,
        "_sdc_deleted_at": GONE,
    }
