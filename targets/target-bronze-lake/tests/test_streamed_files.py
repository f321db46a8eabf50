# SPDX-License-Identifier: Apache-2.0
"""Files reach their place as they are made: never whole in memory, never half in sight."""

import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from target_bronze_lake import compaction, storage
from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.row_format import BRONZE
from target_bronze_lake.settings import read_settings

Make = Callable[..., Any]
FILES, RECORD_BYTES = 12, 1 << 19
KILLED = """
import os, signal, sys
from target_bronze_lake.settings import read_settings
from target_bronze_lake.storage import open_storage

def pieces():
    yield bytes(100_000)
    os.kill(os.getpid(), signal.SIGKILL)

open_storage(read_settings({"lake_url": sys.argv[1]}, {})).write("day/part.parquet", pieces())
"""


@pytest.fixture
def place(lake: Any) -> storage.Storage:
    """A lake's folder."""
    return storage.open_storage(read_settings({"lake_url": lake.url}, {}))


@pytest.fixture
def table(
    place: storage.Storage, run_target: Make, schema: Make, record: Make, form: str
) -> LakeTable:
    """A table of files of half a megabyte each: hexadecimal digits of chance."""
    dice = random.Random(1)
    values = [dice.randbytes(RECORD_BYTES // 2).hex() for _ in range(2 * FILES)]
    lines = [schema(), *(record(id=number, v=value) for number, value in enumerate(values))]
    run_target(lines, batch_size_rows=2, optimize_after=0)
    table = LakeTable.at(place, "ipai_bronze_core/raw_singer_things", BRONZE, form)
    table.open()
    return table


@pytest.fixture
def pool() -> Iterator[Any]:
    """Arrow's memory during the test."""
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    yield counted
    pa.set_memory_pool(usual)


def unseen(lake: Any) -> list[Path]:
    """Files of the table that no reader sees."""
    seen = set(lake.files(lake.path()))
    return [path for path in lake.path().rglob("part-*") if path not in seen]


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_compaction_never_holds_the_file_that_it_makes(
    table: LakeTable, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_GROUP_BYTES", RECORD_BYTES)
    [*_, size] = sorted(file.size for file in table.log.files())

    done = compaction.compact(table, 1 << 30)

    assert (done.replaced, done.written) == (FILES, 1)
    [joined] = table.log.files()
    assert joined.size > (FILES - 1) * size
    assert pool.max_memory() < joined.size


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_compaction_that_the_disk_refuses_leaves_everything_as_it_was(
    table: LakeTable, lake: Any
) -> None:
    before = lake.rows()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * RECORD_BYTES, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            compaction.compact(table, 1 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert unseen(lake) == []
    assert lake.rows() == before


def test_what_fails_while_it_is_made_leaves_no_file(place: storage.Storage, lake: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        assert not (lake.folder / "day/part.parquet").exists()
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        place.write("day/part.parquet", pieces())

    assert list((lake.folder / "day").iterdir()) == []
    assert place.write("day/part.parquet", iter([b"wh", b"ole"])) == 5
    assert place.read("day/part.parquet") == b"whole"


def test_who_is_killed_while_writing_leaves_a_name_that_no_reader_takes_for_a_file(
    lake: Any,
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, lake.url], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in (lake.folder / "day").iterdir()] == ["part.parquet.unfinished"]


@pytest.mark.parametrize("count", [1, 30])
def test_what_fails_while_it_is_made_leaves_no_object_and_no_upload(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1000)
    monkeypatch.setattr(storage, "_PART_BYTES", 20_000)
    data = random.Random(1).randbytes(7_000 * count)
    whole = [data[start : start + 7_000] for start in range(0, len(data), 7_000)]

    def broken() -> Iterator[bytes]:
        yield from whole
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        bucket.storage.write("ipai_bronze_core/part", broken())

    assert (bucket.objects(), bucket.open_uploads()) == ([], 0)
    assert bucket.storage.write("ipai_bronze_core/part", iter(whole)) == len(data)
    assert bucket.storage.read("ipai_bronze_core/part") == data
    assert bucket.open_uploads() == 0


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_an_upload_in_parts_is_made_of_what_is_read_from_the_same_store(
    bucket: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1000)
    monkeypatch.setattr(storage, "_PART_BYTES", 20_000)
    monkeypatch.setattr(compaction, "_GROUP_BYTES", 20_000)
    dice = random.Random(1)
    lines = [schema(), *(record(id=n, v=dice.randbytes(15_000).hex()) for n in range(8))]

    done = run_target(lines, batch_size_rows=1, optimize_after=8, **bucket.config)

    assert [event["written"] for event in done.of("optimized")] == [1]
    assert len(bucket.records(form)) == 8
    assert bucket.open_uploads() == 0
