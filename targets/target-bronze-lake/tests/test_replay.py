# SPDX-License-Identifier: Apache-2.0
"""What a killed run had committed is not stored again, unless that could hide something newer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import target_bronze_lake.lake
from target_bronze_lake import replay

Make = Callable[..., Any]
BOTH = pytest.mark.parametrize("form", ["delta", "parquet"])


def ids(lake: Any) -> list[int]:
    return [json.loads(text)["id"] for text in lake.records()]


@BOTH
@pytest.mark.parametrize("keys", [["id"], []])
@pytest.mark.parametrize("cursor", [None, "u"])
def test_a_replay_with_other_batches_and_other_reading_times_stores_only_what_is_new(
    lake: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    state: Make,
    keys: list[str],
    cursor: str | None,
) -> None:
    first = schema(keys=keys, cursor=cursor, u={})
    lines = [record(id=number, u=number // 2) for number in range(20)]

    run_target([first, *lines[:13]], batch_size_rows=3)
    done = run_target([first, *lines[5:], state(20)], batch_size_rows=4)

    assert ids(lake) == list(range(20))
    assert (done.total("inserted"), done.total("unchanged")) == (7, 8)


@BOTH
def test_a_record_that_went_back_to_an_old_value_is_stored(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    """Without a cursor only the newest version of a key may be left out."""
    run_target([schema(), record(id=1, v="a"), record(id=1, v="b")])
    run_target([schema(), record(id=1, v="a")])

    assert lake.newest() == {"[1]": '{"id": 1, "v": "a"}'}


@BOTH
def test_a_record_that_changes_and_changes_back_within_a_run_is_stored(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    run_target([schema(), record(id=1, v="a")])
    run_target([schema(), record(id=1, v="b"), record(id=1, v="a")])

    assert lake.newest() == {"[1]": '{"id": 1, "v": "a"}'}


def test_versions_of_a_key_with_a_cursor_are_all_kept_once(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    versions = [schema(cursor="u", u={}), *(record(id=1, u=number) for number in range(5))]

    run_target(versions)
    run_target(versions)

    assert len(lake.rows()) == 5


def test_an_older_row_of_a_later_reading_outside_the_window_is_not_hidden(
    lake: Any, run_target: Make, schema: Make, record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window knows the last file only; a row read later than everything in it lies outside."""
    monkeypatch.setattr(replay, "WINDOW_ROWS", 1)
    run_target([schema(), record(id=1, v="x", at="2024-06-01T00:00:00Z")])
    run_target([schema(), record(id=1, v="a", at="2024-01-01T00:00:00Z")])
    run_target([schema(), record(id=1, v="a", at="2024-12-01T00:00:00Z")])

    assert lake.newest() == {"[1]": '{"id": 1, "v": "a"}'}


def test_the_same_record_of_another_instance_is_stored(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    for instance in ("a", "b"):
        run_target([schema(), record(id=1)], instance_id=instance)

    assert len(lake.rows()) == 2


def test_the_window_is_given_up_once_as_many_new_rows_have_come(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    run_target([schema(), *(record(id=number) for number in range(3))])

    new = [record(id=number) for number in range(10, 13)]
    done = run_target([schema(), *new, record(id=0)], batch_size_rows=3)

    assert done.total("inserted") == 4


def test_a_replay_after_compaction_hides_nothing(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    first = schema(cursor="u", u={})
    run_target(
        [first, *(record(id=number % 3, u=number) for number in range(9))], batch_size_rows=2
    )
    before = lake.newest()
    lake.table().optimize.compact()

    run_target(
        [first, *(record(id=number % 3, u=number) for number in range(9))], batch_size_rows=4
    )

    assert (lake.newest(), len(lake.rows())) == (before, 9)


@BOTH
def test_a_replay_after_vacuum_took_the_files_away_stores_the_rows_again(
    lake: Any, run_target: Make, schema: Make, record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_target([schema(), record(id=1)])
    load = replay.ReplayWindow.load

    def load_and_vanish(window: replay.ReplayWindow) -> None:
        load(window)
        for path in lake.files(lake.path()):
            path.rename(path.with_suffix(".gone"))

    monkeypatch.setattr(replay.ReplayWindow, "load", load_and_vanish)
    done = run_target([schema(), record(id=1)])

    assert (done.exit_code, done.total("inserted")) == (0, 1)


def test_windows_of_many_streams_share_their_memory(
    lake: Any, run_target: Make, schema: Make, record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_bronze_lake.lake, "WINDOW_ROWS", 3)
    lines: list[Any] = []
    for name in ("a", "b", "c"):
        lines += [schema(name), *(record(name, id=number) for number in range(2))]

    run_target(lines)
    done = run_target([*lines, record("a", id=0), record("c", id=0)], batch_size_rows=6)

    assert {event["stream"]: event["inserted"] for event in done.of("flushed")[-2:]} == {
        "a": 1,
        "c": 0,
    }
