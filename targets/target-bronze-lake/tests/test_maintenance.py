# SPDX-License-Identifier: Apache-2.0
"""optimize, vacuum and check, by themselves and at the end of a run."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from target_bronze_lake import compaction, vacuum
from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.maintenance import maintain
from target_bronze_lake.row_format import BRONZE
from target_bronze_lake.settings import read_settings
from target_bronze_lake.storage import open_storage
from target_bronze_lake.table_log import Commit

pytestmark = pytest.mark.parametrize("form", ["delta", "parquet"])

Make = Callable[..., Any]


@pytest.fixture
def command(
    lake: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[Any], str]]:
    """Perform a verb on the lake."""

    def perform(verb: str, *options: str, **config: Any) -> tuple[int, list[Any], str]:
        path = tmp_path / "maintenance.json"
        path.write_text(json.dumps({"lake_url": lake.url, **config}))
        capfd.readouterr()
        code = maintain([verb, "--config", str(path), *options])
        printed = capfd.readouterr()
        return code, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return perform


@pytest.fixture
def many_small_files(
    run_target: Make, schema: Make, record: Make
) -> Callable[..., list[dict[str, Any]]]:
    def write(**config: Any) -> list[dict[str, Any]]:
        lines = [schema(), *(record(id=number, v="x" * 50) for number in range(20))]
        return run_target(lines, batch_size_rows=2, optimize_after=0, **config)

    return write


def parquet_files(lake: Any) -> list[Path]:
    return sorted(lake.path().rglob("*.parquet"))


def test_small_files_become_one_and_the_old_ones_are_vacuumed_later(
    lake: Any, command: Make, many_small_files: Make
) -> None:
    many_small_files()
    before = lake.rows()
    table = "ipai_bronze_core/raw_singer_things"

    optimized = command("optimize")
    kept = command("vacuum")

    assert optimized[:2] == (0, [{"table": table, "replaced": 10, "written": 1}])
    assert kept[:2] == (0, [{"table": table, "removed": 0}])
    assert len(parquet_files(lake)) == 11
    assert command("vacuum", retention_hours=0)[1] == [{"table": table, "removed": 10}]
    assert parquet_files(lake) == lake.files(lake.path())
    assert lake.rows() == before


def test_files_are_compacted_to_the_size_that_is_wanted(
    lake: Any, command: Make, many_small_files: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_GROUP_ROWS", 3)
    many_small_files()
    before = lake.rows()
    size = max(path.stat().st_size for path in parquet_files(lake))

    command("optimize", target_file_bytes=5 * size)

    assert 2 <= len(lake.files(lake.path())) <= 4
    assert lake.rows() == before


def test_a_run_that_left_many_small_files_compacts_them_at_its_end(
    lake: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [schema(), *(record(id=number) for number in range(8))]

    done = run_target(lines, batch_size_rows=1, optimize_after=8, retention_hours=0)

    [event] = done.of("optimized")
    assert (event["replaced"], event["written"], event["removed"]) == (8, 1, 8)
    assert len(parquet_files(lake)) == 1
    assert sorted(lake.newest()) == [f"[{number}]" for number in range(8)]


def test_a_run_after_compaction_goes_on(
    lake: Any, command: Make, many_small_files: Make, run_target: Make, schema: Make, record: Make
) -> None:
    many_small_files()
    command("optimize")
    command("vacuum", retention_hours=0)

    run_target([schema(), record(id=3, v="new"), record(id=99)])

    assert len(lake.newest()) == 21
    assert '"new"' in lake.newest()["[3]"]


@pytest.mark.parametrize("ending", ["", ".unfinished"])
def test_files_that_no_commit_speaks_of_are_vacuumed_when_they_are_old(
    lake: Any, command: Make, many_small_files: Make, ending: str
) -> None:
    many_small_files()
    orphan = parquet_files(lake)[0].with_name(f"part-of-a-killed-run.zstd.parquet{ending}")
    orphan.write_bytes(b"half")

    assert command("vacuum")[1][0]["removed"] == 0
    two_weeks_ago = time.time() - 14 * 86_400
    os.utime(orphan, (two_weeks_ago, two_weeks_ago))

    assert command("vacuum")[1][0]["removed"] == 1
    assert not orphan.exists()


def test_a_file_that_a_writer_is_about_to_commit_outlives_a_vacuum_without_retention(
    lake: Any, command: Make, many_small_files: Make, form: str
) -> None:
    many_small_files()
    command("optimize")
    storage = open_storage(read_settings({"lake_url": lake.url}, {}))
    writer = LakeTable.at(storage, "ipai_bronze_core/raw_singer_things", BRONZE, form)
    writer.open()
    [file] = writer.log.files()
    fresh = writer.write(file.day, compaction._row_groups(writer, [file]))

    removed = command("vacuum", retention_hours=0)[1][0]["removed"]
    writer.log.refresh()
    writer.log.commit(Commit((fresh,), {"writer": 1}, "flush"))

    assert removed == 10
    assert len(lake.rows()) == 40


def test_others_may_commit_while_files_are_compacted(
    lake: Any, many_small_files: Make, form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    many_small_files()
    before = lake.rows()
    storage = open_storage(read_settings({"lake_url": lake.url}, {}))
    mine, other = (
        LakeTable.at(storage, "ipai_bronze_core/raw_singer_things", BRONZE, form) for _ in range(2)
    )
    mine.open()
    other.open()
    other.log.commit(Commit((), {"another": 1}, "f"))

    done = compaction.compact(mine, 1 << 20)

    assert (done.replaced, done.written) == (10, 1)
    assert lake.rows() == before
    assert mine.log.transaction("another") == 1


def test_two_that_compact_at_once_store_no_row_twice(
    lake: Any, many_small_files: Make, form: str, run_target: Make, schema: Make, record: Make
) -> None:
    many_small_files()
    storage = open_storage(read_settings({"lake_url": lake.url}, {}))
    mine, other = (
        LakeTable.at(storage, "ipai_bronze_core/raw_singer_things", BRONZE, form) for _ in range(2)
    )
    mine.open()
    other.open()
    before = lake.rows()

    compaction.compact(mine, 1 << 20)
    late = compaction.compact(other, 1 << 20)

    assert (late.replaced, late.written) == (0, 0)
    assert lake.rows() == before
    assert run_target([schema(), record(id=999)]).exit_code == 0
    assert len(lake.rows()) == len(before) + 1


def test_check_counts_and_names_what_is_wrong(
    command: Make, many_small_files: Make, lake: Any
) -> None:
    many_small_files()

    code, lines, _ = command("check")
    wrong = command("check", "--table", "nothing")

    assert code == 0
    assert lines[0] == {"lake_url": lake.url, "conditional_puts": True, "tables": 1}
    assert (lines[1]["files"], lines[1]["rows"]) == (10, 20)
    assert wrong[0] == 78
    assert "The lake has no table 'nothing'" in wrong[2]


def test_a_table_of_the_other_form_is_not_written_over(
    lake: Any, run_target: Make, many_small_files: Make, form: str, schema: Make
) -> None:
    many_small_files()
    other = {"delta": "parquet", "parquet": "delta"}[form]

    refused = run_target([schema()], format=other)

    assert refused.exit_code == 78
    assert "Set 'format' to" in refused.error


def test_compaction_waits_for_a_store_that_is_away_and_goes_on_where_it_was(
    faulty: Any,
    command: Make,
    run_target: Make,
    schema: Make,
    record: Make,
    fault: Make,
    form: str,
) -> None:
    config = faulty.bucket.config
    lines = [schema(), *(record(id=number, v="x" * 50) for number in range(8))]
    run_target(lines, batch_size_rows=1, optimize_after=0, **config)
    size = max(file.size for file in faulty.bucket.table(form).log.files())
    faulty.faults += [fault("PUT", "part-", "503", left=5, skip=1), fault("GET", "part-", "503", 4)]

    code, [line], events = command("optimize", **config, target_file_bytes=5 * size // 2)

    assert (code, line["replaced"], line["written"]) == (0, 8, 4)
    assert '"event":"retry"' in events
    assert len(faulty.bucket.records(form)) == 8


def test_compaction_gives_up_when_the_store_stays_away(
    faulty: Any,
    command: Make,
    run_target: Make,
    schema: Make,
    record: Make,
    fault: Make,
    form: str,
) -> None:
    config = {**faulty.bucket.config, "retry_seconds": 0}
    lines = [schema(), *(record(id=number, v="x" * 50) for number in range(8))]
    run_target(lines, batch_size_rows=1, optimize_after=0, **config)
    size = max(file.size for file in faulty.bucket.table(form).log.files())
    options = {**config, "target_file_bytes": 5 * size // 2}
    faulty.faults.append(fault("PUT", "part-", "503", left=1000, skip=1))

    code, lines_of_output, _ = command("optimize", **options)

    assert (code, lines_of_output) == (75, [])
    faulty.faults.clear()
    assert command("optimize", **options)[1][0]["replaced"] == 6
    assert len(faulty.bucket.records(form)) == 8


def test_a_manifest_says_of_files_only_what_is_asked_of_it(
    lake: Any, many_small_files: Make, form: str
) -> None:
    if form == "delta":
        pytest.skip("Delta has no manifests")
    many_small_files()

    [*_, newest] = sorted((lake.path() / "_manifests").iterdir())
    files = json.loads(newest.read_bytes())["files"]

    assert len(files) == 10
    assert {name for file in files for name in file["bounds"]} == {
        "instance_id",
        "emitted_at",
        "loaded_at",
    }


def test_old_manifests_go_but_not_those_a_writer_may_still_count_on(
    lake: Any, command: Make, many_small_files: Make, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "delta":
        pytest.skip("Delta keeps its log by itself")
    many_small_files()
    manifests = sorted((lake.path() / "_manifests").iterdir())
    two_days_ago = time.time() - 2 * 86_400
    for path in manifests[:4]:
        os.utime(path, (two_days_ago, two_days_ago))

    assert command("vacuum", retention_hours=1)[1][0]["removed"] == 4
    assert sorted((lake.path() / "_manifests").iterdir()) == manifests[4:]
    assert vacuum.SHORTEST_MEMORY.total_seconds() == 86_400
