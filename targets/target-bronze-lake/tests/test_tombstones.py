# SPDX-License-Identifier: Apache-2.0
"""Records with `_sdc_deleted_at`: a version that says that its key is gone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.parametrize("form", ["delta", "parquet"])

Make = Callable[..., Any]
GONE = "2026-11-01T10:00:00+00:00"
SCHEMA = {
    "type": "SCHEMA",
    "stream": "things",
    "schema": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "_sdc_lsn": {"type": ["integer", "null"]},
            "_sdc_deleted_at": {"type": ["string", "null"], "format": "date-time"},
        },
    },
    "key_properties": ["id"],
    "bookmark_properties": ["_sdc_lsn"],
}


def change(second: int, **members: Any) -> dict[str, Any]:
    return {
        "type": "RECORD",
        "stream": "things",
        "record": members,
        "time_extracted": f"2026-11-02T00:00:{second:02}Z",
    }


INSERT = change(1, id=1, _sdc_lsn=10, _sdc_deleted_at=None)
OTHER = change(1, id=2, _sdc_lsn=11, _sdc_deleted_at=None)
DELETE = change(2, id=1, _sdc_lsn=20, _sdc_deleted_at=GONE)
BARE = change(2, id=1, _sdc_deleted_at=GONE)
AGAIN = change(3, id=1, _sdc_lsn=30, _sdc_deleted_at=None)


def alive(lake: Any) -> list[int]:
    return sorted(json.loads(text)["id"] for text in lake.newest().values())


@pytest.mark.parametrize(
    ("flushes", "expected", "count"),
    [
        ([[INSERT, OTHER, DELETE]], [2], 3),
        ([[INSERT, OTHER], [DELETE]], [2], 3),
        ([[INSERT, OTHER], [DELETE], [DELETE]], [2], 3),
        ([[INSERT, OTHER], [BARE]], [2], 3),
        ([[INSERT, OTHER], [BARE], [BARE]], [2], 3),
        ([[INSERT, OTHER, BARE]], [2], 3),
        ([[INSERT, OTHER, DELETE, AGAIN]], [1, 2], 4),
        ([[INSERT, OTHER], [DELETE], [AGAIN]], [1, 2], 4),
        ([[INSERT, OTHER], [BARE], [AGAIN]], [1, 2], 4),
        ([[DELETE]], [], 1),
        ([[BARE]], [], 1),
    ],
)
def test_a_tombstone_ends_its_key_and_a_replay_adds_nothing(
    lake: Any, run_target: Make, form: str, flushes: list[Any], expected: list[int], count: int
) -> None:
    for flush in flushes:
        assert run_target([SCHEMA, *flush]).exit_code == 0

    assert alive(lake) == expected
    assert len(lake.rows()) == count
    assert sum(row["deleted_at"] is not None for row in lake.rows()) == 1
