# SPDX-License-Identifier: Apache-2.0
"""A lake in an S3 bucket does all that one in a folder does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from target_bronze_lake.maintenance import maintain

Make = Callable[..., Any]
BOTH = pytest.mark.parametrize("form", ["delta", "parquet"])


def ids(bucket: Any, form: str) -> list[int]:
    return sorted(json.loads(text)["id"] for text in bucket.records(form) if text is not None)


@BOTH
def test_records_land_once_replays_and_generations_included(
    bucket: Any, run_target: Make, schema: Make, record: Make, state: Make, form: str
) -> None:
    one = [schema(), *(record(id=number, version=1) for number in range(5))]
    activate = {"type": "ACTIVATE_VERSION", "stream": "things", "version": 2}
    two = [schema(), *(record(id=number, version=2) for number in (1, 2)), activate, state(2)]

    run_target([*one, state(1)], batch_size_rows=2, **bucket.config)
    again = run_target([*one, state(1)], batch_size_rows=3, **bucket.config)
    last = run_target(two, **bucket.config)

    assert (again.states, again.total("inserted"), again.total("unchanged")) == ([1], 0, 5)
    assert (last.exit_code, last.total("retired")) == (0, 3)
    assert ids(bucket, form) == [0, 1, 1, 2, 2, 3, 4]
    assert bucket.open_uploads() == 0


@BOTH
def test_dead_letters_are_kept_beside(
    bucket: Any, run_target: Make, schema: Make, record: Make, form: str
) -> None:
    done = run_target([schema(), record(id=1), record(v=1)], **bucket.config)

    assert (done.exit_code, done.total("dead")) == (0, 1)
    assert any("ipai_bronze_core/dead_letters/" in path for path in bucket.objects())


@BOTH
def test_is_kept_in_shape(
    bucket: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    form: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = [schema(), *(record(id=number) for number in range(6))]
    run_target(lines, batch_size_rows=1, **bucket.config)
    config = tmp_path / "target.json"
    config.write_text(json.dumps({**bucket.config, "retention_hours": 0}))

    assert [maintain([verb, "--config", str(config)]) for verb in ("check", "optimize")] == [0, 0]
    assert maintain(["vacuum", "--config", str(config)]) == 0

    printed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert printed[0]["conditional_puts"] is True
    assert (printed[2]["replaced"], printed[2]["written"], printed[3]["removed"]) == (6, 1, 6)
    assert ids(bucket, form) == list(range(6))
    assert len([path for path in bucket.objects() if path.endswith(".parquet")]) == 1


def test_polars_reads_it_with_keys_and_endpoint(
    bucket: Any, run_target: Make, schema: Make, record: Make
) -> None:
    run_target([schema(), record(id=1)], **bucket.config)
    table = f"{bucket.config['lake_url']}/ipai_bronze_core/raw_singer_things"

    options = {
        "aws_endpoint_url": bucket.config["endpoint_url"],
        "aws_access_key_id": bucket.config["access_key_id"],
        "aws_secret_access_key": bucket.config["secret_access_key"],
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }
    found = pl.scan_delta(table, storage_options=options).collect()

    assert found["record"].to_list() == ['{"id": 1}']


@BOTH
@pytest.mark.parametrize(
    ("change", "exit_code", "words"),
    [
        ({"lake_url": "s3://there-is-no-such-bucket/x"}, 78, "The lake was not found"),
        ({"endpoint_url": "https://no-such-host.invalid"}, 78, "The lake was not found"),
        ({"endpoint_url": "http://127.0.0.1:1"}, 75, "The store at 'http://127.0.0.1:1' failed"),
    ],
)
def test_a_store_that_cannot_be_reached_is_told_before_anything_is_read(
    bucket: Any,
    run_target: Make,
    schema: Make,
    form: str,
    change: dict[str, Any],
    exit_code: int,
    words: str,
) -> None:
    done = run_target([schema()], **{**bucket.config, "retry_seconds": 0, **change})

    assert (done.exit_code, done.states) == (exit_code, [])
    assert words in done.error
