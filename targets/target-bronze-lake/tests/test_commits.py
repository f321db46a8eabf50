# SPDX-License-Identifier: Apache-2.0
"""Commits: one per flush, counted per instance, side by side with others, whole on a full disk."""

import errno
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from target_bronze_lake import storage
from target_bronze_lake.lake_table import Attempt, LakeTable
from target_bronze_lake.row_format import BRONZE
from target_bronze_lake.settings import read_settings
from target_bronze_lake.table_log import CommitConflictError

Make = Callable[..., Any]
BOTH = pytest.mark.parametrize("form", ["delta", "parquet"])


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


@BOTH
def test_two_writers_of_one_instance_never_count_the_same_version_twice(
    lake: Any, run_target: Make, schema: Make, form: str
) -> None:
    run_target([schema()])
    place = storage.open_storage(read_settings({"lake_url": lake.url}, {}))
    one, other = (
        LakeTable.at(place, "ipai_bronze_core/raw_singer_things", BRONZE, form) for _ in range(2)
    )
    one.open()
    other.open()
    first, second = Attempt(), Attempt()
    one.commit(first, "me", [])

    with pytest.raises(CommitConflictError):
        other.commit(second, "me", [])

    assert not other.has_committed(second)
    other.commit(second, "me", [])
    assert other.log.transaction("me") == 1
    assert other.has_committed(second)


@BOTH
def test_instances_write_the_same_table_at_the_same_time(
    lake: Any, start_target: Make, schema: Make, record: Make, state: Make, form: str
) -> None:
    targets = [start_target(instance_id=f"i{n}", batch_size_rows=20) for n in range(3)]
    lines = [schema(), *(record(id=number) for number in range(100)), state(1)]
    outcomes: list[Any] = []

    def feed(target: Any) -> None:
        target.send(lines)
        outcomes.append(target.finish())

    threads = [threading.Thread(target=feed, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [(done.exit_code, done.states) for done in outcomes] == [(0, [1])] * 3
    assert len(lake.rows()) == 300
    assert [len(lake.newest(instance=f"i{n}")) for n in range(3)] == [100] * 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@BOTH
def test_a_full_disk_ends_the_run_and_the_next_one_completes_it(
    small_disk: Path, lake: Any, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    lake.folder = small_disk / "lake"
    ballast = small_disk / "ballast"
    lines = [schema()]
    for number in range(6):
        lines += [record(id=number, v=os.urandom(60_000).hex()), state(number)]
    ballast.write_bytes(bytes(800_000))

    broken = run_target(lines, lake_url=lake.url, batch_size_rows=1, retry_seconds=0)

    promised = broken.states[-1] if broken.states else -1
    assert broken.exit_code == 75
    assert "no space left" in broken.error
    assert len(lake.newest()) in {promised + 1, promised + 2}
    ballast.unlink()
    done = run_target(lines, lake_url=lake.url, batch_size_rows=1)
    assert (done.exit_code, done.states[-1]) == (0, 5)
    assert sorted(lake.newest()) == [f"[{number}]" for number in range(6)]
    assert len(lake.rows()) == 6


@BOTH
@pytest.mark.parametrize(
    ("number", "exit_code", "words"),
    [(errno.ENOSPC, 75, "no space left"), (errno.EACCES, 77, "refuses access")],
)
def test_an_error_of_the_file_system_is_told_and_leaves_no_file(
    lake: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    exit_code: int,
    words: str,
) -> None:
    run_target([schema()])

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "fsync", fail)
        broken = run_target([schema(), record(id=1)], retry_seconds=0)

    assert (broken.exit_code, words in broken.error) == (exit_code, True)
    assert list(lake.path().rglob("*.parquet")) == []
    assert run_target([schema(), record(id=1)]).exit_code == 0


@BOTH
def test_a_stopped_run_commits_what_it_read(
    lake: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    target = start_target(flush_seconds=0.1)
    target.send([schema(), record(id=1), state(1)])
    assert target.read_state() == 1
    target.send([record(id=2), state(2)])
    target.process.terminate()

    done = target.finish()

    assert done.exit_code == 143
    assert json.loads(lake.newest()["[1]"]) == {"id": 1}
    assert len(lake.newest()) == 1 + len(done.states)
