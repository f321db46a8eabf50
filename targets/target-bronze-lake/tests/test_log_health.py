# SPDX-License-Identifier: Apache-2.0
"""Delta's log over time: summed up, cleaned up, and left alone where somebody else needs more."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.maintenance import maintain
from target_bronze_lake.row_format import BRONZE
from target_bronze_lake.settings import read_settings
from target_bronze_lake.storage import open_storage
from target_bronze_lake.table_log import Commit

Make = Callable[..., Any]
PATH = "ipai_bronze_core/raw_singer_things"


@pytest.fixture
def look(lake: Any) -> Callable[[], LakeTable]:
    """Open the table as a process that has never seen it does."""

    def open_table() -> LakeTable:
        storage = open_storage(read_settings({"lake_url": lake.url}, {}))
        table = LakeTable.at(storage, PATH, BRONZE, "delta")
        table.open()
        return table

    return open_table


def commit_until(lake: Any, version: int) -> None:
    """Commits of somebody who counts, up to a version of the table."""
    log = lake.path() / "_delta_log"
    info = json.dumps({"commitInfo": {"timestamp": int(time.time() * 1000)}})
    for number in range(lake.table().version() + 1, version + 1):
        counted = json.dumps({"txn": {"appId": "somebody", "version": number}})
        (log / f"{number:020}.json").write_text(f"{info}\n{counted}")


def forget_commits(lake: Any) -> None:
    """What the log's own clean-up does in time: no commit before the checkpoint is left."""
    log = lake.path() / "_delta_log"
    summed_up = json.loads((log / "_last_checkpoint").read_bytes())["version"]
    for path in log.glob("*.json"):
        if int(path.stem) < summed_up:
            path.unlink()


def test_the_log_is_summed_up_by_the_compaction_that_makes_the_hundredth_commit(
    lake: Any, run_target: Make, schema: Make, record: Make, look: Callable[[], LakeTable]
) -> None:
    run_target([schema(), *(record(id=n) for n in range(4))], batch_size_rows=1, optimize_after=0)
    commit_until(lake, 98)
    table = look()
    [one, *rest] = table.log.files()

    table.log.commit(Commit((), {}, "compaction", frozenset({one.path})))

    last = json.loads((lake.path() / "_delta_log/_last_checkpoint").read_bytes())
    assert last["version"] == 99
    forget_commits(lake)
    assert look().log.files() == rest
    assert pl.scan_delta(str(lake.path())).select(pl.len()).collect().item() == 3


def test_what_was_committed_is_known_after_the_log_was_summed_up_and_cleaned(
    lake: Any, run_target: Make, schema: Make, record: Make, look: Callable[[], LakeTable]
) -> None:
    activate = {"type": "ACTIVATE_VERSION", "stream": "things", "version": 7}
    lines = [schema(), *(record(id=n, version=7) for n in range(3)), activate]
    run_target(lines)
    before, owners = (
        lake.rows(),
        ("ipai:default:singer:things", "ipai-generation:default:singer:things"),
    )
    reached = [look().log.transaction(owner) for owner in owners]
    commit_until(lake, 98)
    look().log.commit(Commit((), {"somebody": 99}, "another flush"))
    forget_commits(lake)

    again = run_target(lines)
    [late] = run_target([schema(), record(id=0, version=6), {**activate, "version": 6}]).of(
        "flushed"
    )

    assert [look().log.transaction(owner) for owner in owners][1] == reached[1] == 7
    assert [event["inserted"] for event in again.of("flushed")] == [0]
    assert late["inserted"] == 1
    assert lake.rows()[:3] == before
    assert len(lake.newest()) == 3
    assert look().log.transaction(owners[0]) > reached[0]


PROTOCOLS: dict[str, tuple[dict[str, Any], str]] = {
    "newer": ({"minReaderVersion": 4, "minWriterVersion": 8}, "Unsupported minimum reader"),
    "unheard of": (
        {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["quantum"],
            "writerFeatures": ["quantum"],
        },
        "quantum",
    ),
    "deletion vectors": (
        {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"],
            "writerFeatures": ["deletionVectors"],
        },
        "deletionVectors",
    ),
    "mapped columns": ({"minReaderVersion": 2, "minWriterVersion": 5}, "writer version 5"),
    "row ids": (
        {
            "minReaderVersion": 1,
            "minWriterVersion": 7,
            "writerFeatures": ["rowTracking", "domainMetadata"],
        },
        "domainMetadata, rowTracking",
    ),
}


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_a_table_that_needs_more_than_is_known_here_is_left_alone(
    lake: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    kind: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    protocol, words = PROTOCOLS[kind]
    for stream in ("things", "zebras"):
        lines = [schema(stream), *(record(stream, id=number) for number in range(2))]
        run_target(lines, batch_size_rows=1, optimize_after=0)
    log = lake.path() / "_delta_log"
    changed = log / f"{len(list(log.glob('*.json'))):020}.json"
    changed.write_text(
        json.dumps({"commitInfo": {"timestamp": int(time.time() * 1000)}})
        + "\n"
        + json.dumps({"protocol": protocol})
    )
    config = tmp_path / "care.json"
    config.write_text(json.dumps({"lake_url": lake.url}))

    refused = run_target([schema(), record(id=2)], retry_seconds=0)
    capfd.readouterr()
    code = maintain(["optimize", "--config", str(config)])
    printed = capfd.readouterr()

    assert (refused.exit_code, code) == (78, 78)
    assert words in refused.error
    assert words in printed.err
    assert [json.loads(line)["table"] for line in printed.out.splitlines()] == [
        "ipai_bronze_core/raw_singer_zebras"
    ]
    assert max(log.glob("*.json")) == changed


@pytest.mark.parametrize("partition_by", [[], ["emitted_date"]])
def test_a_table_of_other_columns_is_left_alone(
    lake: Any, run_target: Make, schema: Make, record: Make, partition_by: list[str]
) -> None:
    day = pa.array(["2024-05-01"]).cast(pa.date32())
    theirs = pa.table({"record_key": pa.array([1]), "emitted_date": day})
    write_deltalake(lake.path(), theirs, partition_by=partition_by)

    refused = run_target([schema(), record(id=1)])

    assert refused.exit_code == 78
    assert "has no column 'instance_id'" in refused.error
    assert lake.table().version() == 0
