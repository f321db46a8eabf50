# SPDX-License-Identifier: Apache-2.0
"""ACTIVATE_VERSION: a full-table generation replaces the one before it."""

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def activate(version: int, stream: str = "things") -> dict[str, Any]:
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}


def alive(bronze: Any, stream: str = "things") -> list[int]:
    query = f"""select (record->'id')::int from ipai_bronze_core.raw_singer_{stream}
        where deleted_at is null order by 1"""
    return [row[0] for row in bronze.query(query)]


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
def test_rows_that_a_new_generation_lacks_are_marked_deleted(
    each_bronze: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    state: Make,
    style: Any,
    batch_size_rows: int,
) -> None:
    def run(version: int, ids: Any) -> Any:
        lines = style(schema, record, state, version, ids)
        return run_target(lines, into=each_bronze, batch_size_rows=batch_size_rows)

    run(1, [1, 2, 3])
    assert alive(each_bronze) == [1, 2, 3]
    second = run(2, [2, 3, 4])
    assert alive(each_bronze) == [2, 3, 4]
    third = run(3, [1, 4])

    assert alive(each_bronze) == [1, 4]
    assert len(each_bronze.rows("things")) == 4
    assert [sum(e.get("retired", 0) for e in done.of("flushed")) for done in (second, third)] == [
        1,
        2,
    ]
    assert each_bronze.value("select count(*) from ipai_bronze_core.ipai_generation_keys") == 0


@pytest.mark.parametrize("style", STYLES)
def test_identical_rows_of_a_new_generation_are_not_rewritten(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make, style: Any
) -> None:
    run_target(style(schema, record, state, 1, [1, 2, 3]))
    before = bronze.rows("things", "record_key, xmin::text")

    run_target(style(schema, record, state, 2, [1, 2, 3]))

    assert bronze.rows("things", "record_key, xmin::text") == before


@pytest.mark.parametrize("style", STYLES)
def test_hard_delete_removes_the_rows(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make, style: Any
) -> None:
    run_target(style(schema, record, state, 1, [1, 2, 3]))

    run_target(style(schema, record, state, 2, [3]), hard_delete=True)

    assert [key for key, _ in bronze.rows("things")] == ["[3]"]


def test_readers_never_see_an_empty_table(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    first = start_target()
    first.send(singer_sdk_style(schema, record, state, 1, range(10)))
    first.finish()
    target = start_target(flush_seconds=0.1)
    target.send([schema(), activate(2), state(0)])

    assert target.read_state() == 0
    assert alive(bronze) == list(range(10))
    target.send([*(record(id=number, version=2) for number in range(5, 15)), state(1)])
    assert target.read_state() == 1
    assert alive(bronze) == list(range(15))
    target.finish()
    assert alive(bronze) == list(range(5, 15))


def test_a_tap_that_dies_after_opening_a_generation_retires_nothing(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2, 3]))

    run_target([schema(), activate(2)])
    run_target([schema(), activate(2), state(0), record(id=1, version=2)])
    run_target([schema(), activate(2), record(id=1, version=2), state(0), b'{"type":"REC'])

    assert alive(bronze) == [1, 2, 3]


def test_a_generation_is_completed_by_a_later_run(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    """A tap that resumes the same version must not lose what the first run delivered."""
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2, 3]))
    run_target([schema(), activate(2), record(id=1, version=2)])

    run_target([schema(), record(id=2, version=2), activate(2), state(2)])

    assert alive(bronze) == [1, 2]


def test_a_source_that_became_empty_retires_everything(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2]))

    run_target([schema(), activate(2), activate(2), state(2)])

    assert alive(bronze) == []


def test_an_incremental_tap_that_activates_its_version_every_run_keeps_its_rows(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    for number in range(3):
        run_target([schema(), activate(7), record(id=number, version=7), state(number)])

    assert alive(bronze) == [0, 1, 2]


def test_a_deleted_row_comes_back_when_it_is_delivered_again_but_not_by_an_old_reading(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2]))
    run_target(singer_sdk_style(schema, record, state, 2, [2]))

    run_target([schema(), record(id=1, at="2024-01-01T00:00:00Z")])
    assert alive(bronze) == [2]
    run_target([schema(), record(id=1)])

    assert alive(bronze) == [1, 2]


def test_an_unstorable_record_keeps_its_row_in_the_generation(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2, 3]))
    bad = [
        '{"type":"RECORD","stream":"things","version":2,"record":{"id":1,"v":"\\u0000"}}',
        '{"type":"RECORD","stream":"things","version":2,"record":{"id":2,"v":1e999999}}',
    ]

    run_target([schema(), activate(2), *bad, state(2)])

    assert alive(bronze) == [1, 2]


def test_rows_of_another_instance_or_stream_are_not_retired(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_sdk_style(schema, record, state, 1, [1, 2]), instance_id="other")
    run_target([schema("b"), record("b", id=1)])

    run_target(singer_sdk_style(schema, record, state, 2, [2]))

    assert alive(bronze) == [1, 2, 2]
    assert alive(bronze, "b") == [1]


def test_append_keeps_every_generation(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    for version in (1, 2):
        run_target(
            singer_sdk_style(schema, record, state, version, [version]), load_method="append"
        )

    assert alive(bronze) == [1, 2]


def test_a_version_may_be_written_as_a_float(
    bronze: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    run_target(singer_python_style(schema, record, state, 1, [1, 2]))
    line = '{"type":"RECORD","stream":"things","version":2.0,"record":{"id":1}}'

    run_target([schema(), line, '{"type":"ACTIVATE_VERSION","stream":"things","version":2.0}'])

    assert alive(bronze) == [1]
