# SPDX-License-Identifier: Apache-2.0
"""ACTIVATE_VERSION: keys that a full-table generation lacks get a tombstone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from target_bronze_lake import generations

pytestmark = pytest.mark.parametrize("form", ["delta", "parquet"])

Make = Callable[..., Any]


def activate(version: int, stream: str = "things") -> dict[str, Any]:
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}


def alive(lake: Any, stream: str = "things", instance: str | None = None) -> list[int]:
    return sorted(json.loads(text)["id"] for text in lake.newest(stream, instance).values())


def singer_python_style(
    schema: Make, record: Make, state: Make, version: int, ids: Any
) -> list[Any]:
    """Records first, then the activation."""
    records = [record(id=number, version=version) for number in ids]
    return [schema(), *records, activate(version), state(version)]


def singer_sdk_style(schema: Make, record: Make, state: Make, version: int, ids: Any) -> list[Any]:
    """The activation first, then the records."""
    records = [record(id=number, version=version) for number in ids]
    return [schema(), activate(version), *records, state(version)]


def per_partition_style(
    schema: Make, record: Make, state: Make, version: int, ids: Any
) -> list[Any]:
    """The activation before each partition, one of them empty."""
    lines: list[Any] = []
    for number in ids:
        lines += [schema(), activate(version), record(id=number, version=version), state(number)]
        lines += [schema(), activate(version), state(-number)]
    return lines


STYLES = [singer_python_style, singer_sdk_style, per_partition_style]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("batch_size_rows", [1, 1000])
def test_keys_that_a_new_generation_lacks_are_retired(
    lake: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    state: Make,
    style: Any,
    batch_size_rows: int,
) -> None:
    def run(version: int, ids: Any) -> Any:
        lines = style(schema, record, state, version, ids)
        return run_target(lines, batch_size_rows=batch_size_rows)

    run(1, [1, 2, 3])
    assert alive(lake) == [1, 2, 3]
    second = run(2, [2, 3, 4])
    assert alive(lake) == [2, 3, 4]
    third = run(3, [1, 4])

    assert alive(lake) == [1, 4]
    assert [second.total("retired"), third.total("retired")] == [1, 2]
    tombstones = [row for row in lake.rows() if row["deleted_at"] is not None]
    assert sorted(row["record_key"] for row in tombstones) == ["[1]", "[2]", "[3]"]
    assert {row["record"] for row in tombstones} == {None}


def test_keys_are_retired_in_groups_where_there_are_many(
    lake: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    state: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generations, "_GROUP_ROWS", 7)
    keys = [*range(30), *(f"k{number}é" for number in range(10)), "é", "", ["x"]]

    def full(version: int, some: Any) -> list[Any]:
        return [
            schema(),
            activate(version),
            *(record(id=k, version=version) for k in some),
            state(1),
        ]

    run_target(full(1, keys))
    run_target(full(2, keys[::3]))

    assert len(lake.newest()) == len(keys[::3])


def test_a_tap_that_dies_after_opening_a_generation_retires_nothing(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2, 3]))

    run_target([schema(), activate(2)])
    run_target([schema(), activate(2), state(0), record(id=1, version=2)])
    run_target([schema(), activate(2), record(id=1, version=2), state(0), b'{"type":"REC'])

    assert alive(lake) == [1, 2, 3]


def test_a_generation_is_completed_by_a_later_run(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    """A tap that resumes the same version must not lose what the first run delivered."""
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2, 3]))
    run_target([schema(), activate(2), record(id=1, version=2)])

    run_target([schema(), record(id=2, version=2), activate(2), state(2)])

    assert alive(lake) == [1, 2]


def test_what_is_not_landed_again_still_belongs_to_its_generation(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    first = [schema(), activate(2), record(id=1, version=2), record(id=2, version=2)]
    run_target(first)

    done = run_target([*first, state(2)])

    assert (done.total("inserted"), alive(lake)) == (0, [1, 2])


def test_a_source_that_became_empty_retires_everything(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2]))

    run_target([schema(), activate(2), activate(2), state(2)])

    assert alive(lake) == []


def test_an_incremental_tap_that_activates_its_version_every_run_keeps_its_rows(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    for number in range(3):
        run_target([schema(), activate(7), record(id=number, version=7), state(number)])

    assert alive(lake) == [0, 1, 2]


def test_a_retired_key_comes_back_when_it_is_delivered_again_but_not_by_an_old_reading(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2]))
    run_target(singer_sdk_style(schema, record, state, 2, [2]))

    run_target([schema(), record(id=1, at="2024-01-01T00:00:00Z")])
    assert alive(lake) == [2]
    run_target([schema(), record(id=1)])

    assert alive(lake) == [1, 2]


def test_an_unstorable_record_keeps_its_key_in_the_generation(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2, 3]))
    bad = b'{"type":"RECORD","stream":"things","version":2,"record":{"id":1,"v":"\xff"}}'
    lines = [schema(), activate(2), bad, record(id=2, version=2), state(2)]

    done = run_target(lines, batch_size_rows=1)

    assert alive(lake) == [1, 2]
    (warned,) = done.of("dead_letter")
    assert (warned["stream"], warned["reason"]) == ("things", "invalid_encoding")
    assert warned["records"] == 1


def test_keys_of_another_instance_or_stream_are_not_retired(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2]), instance_id="other")
    run_target([schema("b"), record("b", id=1)])

    run_target(singer_sdk_style(schema, record, state, 2, [2]))

    assert alive(lake, instance="other") == [1, 2]
    assert alive(lake, instance="default") == [2]
    assert alive(lake, "b") == [1]


def test_a_version_may_be_written_as_a_float(
    lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_python_style(schema, record, state, 1, [1, 2]))
    line = '{"type":"RECORD","stream":"things","version":2.0,"record":{"id":1}}'

    run_target([schema(), line, '{"type":"ACTIVATE_VERSION","stream":"things","version":2.0}'])

    assert alive(lake) == [1]
