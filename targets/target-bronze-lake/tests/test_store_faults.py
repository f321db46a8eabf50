# SPDX-License-Identifier: Apache-2.0
"""S3 that fails in every way: nothing half visible, a clear error, and a re-run completes."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from target_bronze_lake import storage

pytestmark = pytest.mark.parametrize("form", ["delta", "parquet"])

Make = Callable[..., Any]
Run = Callable[..., Any]
LOG = {"delta": "/_delta_log/0", "parquet": "/_manifests/0"}


@pytest.fixture
def stream(schema: Make, record: Make, state: Make) -> list[Any]:
    """Nine records with a STATE after every third."""
    lines = [schema()]  # a batch of three is committed before the STATE behind it is read
    for number in range(9):
        lines.append(record(id=number))
        if number % 3 == 2:
            lines.append(state(number))
    return lines


@pytest.fixture
def run(faulty: Any, run_target: Run, stream: list[Any]) -> Callable[..., Any]:
    def start(**config: Any) -> Any:
        return run_target(stream, **{**faulty.bucket.config, "batch_size_rows": 3, **config})

    return start


def ids(faulty: Any, form: str) -> list[int]:
    return sorted(json.loads(text)["id"] for text in faulty.bucket.records(form))


@pytest.mark.parametrize(
    ("method", "place", "how", "skip"),
    [
        ("PUT", "part-", "500", 0),
        ("PUT", "part-", "503", 1),
        ("PUT", "part-", "cut", 0),
        ("PUT", "part-", "cut_after", 0),
        ("PUT", "log", "500", 1),
        ("PUT", "log", "412", 1),
        ("PUT", "log", "cut", 1),
        ("PUT", "log", "cut_after", 0),
        ("PUT", "log", "cut_after", 1),
        ("PUT", "log", "cut_after", 2),
        ("GET", "log", "500", 0),
        ("GET", "log", "cut", 1),
    ],
)
def test_a_passing_fault_costs_nothing_and_doubles_nothing(
    faulty: Any, run: Run, form: str, fault: Make, method: str, place: str, how: str, skip: int
) -> None:
    faulty.faults.append(fault(method, LOG[form] if place == "log" else place, how, skip=skip))

    done = run()

    assert (done.exit_code, done.states) == (0, [2, 5, 8])
    assert ids(faulty, form) == list(range(9))
    assert faulty.faults[0].left == 0 or method == "GET"


@pytest.mark.parametrize("place", ["part-", "log"])
@pytest.mark.parametrize(
    ("how", "exit_code", "words"),
    [
        ("403", 77, "refuses access"),
        ("500", 75, "The store at 'http://127.0.0.1:"),
        ("cut", 75, "The store"),
    ],
)
def test_a_lasting_fault_ends_the_run_and_the_next_one_completes_it(
    faulty: Any, run: Run, form: str, fault: Make, place: str, how: str, exit_code: int, words: str
) -> None:
    where = LOG[form] if place == "log" else place
    faulty.faults.append(fault("PUT", where, how, left=10_000, skip=1 + (place == "log")))

    broken = run(retry_seconds=0)

    assert (broken.exit_code, broken.states) == (exit_code, [])
    assert words in broken.error
    assert ids(faulty, form) == [0, 1, 2]
    faulty.faults.clear()
    done = run()
    assert (done.exit_code, done.states) == (0, [2, 5, 8])
    assert ids(faulty, form) == list(range(9))


def test_a_store_that_does_not_answer_in_time_is_tried_again_later(
    faulty: Any, run: Run, form: str, fault: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_TIMEOUT", 1)
    monkeypatch.setattr(storage, "_RETRIES", 0)
    faulty.faults.append(fault("PUT", "part-", "slow", left=10_000, skip=1))

    broken = run(retry_seconds=0)

    assert (broken.exit_code, broken.states) == (75, [])
    assert ids(faulty, form) == [0, 1, 2]


def test_a_store_that_ignores_conditional_puts_is_refused(
    faulty: Any, run: Run, form: str, fault: Make
) -> None:
    faulty.faults.append(fault("PUT", "", "unconditional", left=10_000))

    refused = run()

    assert (refused.exit_code, refused.states) == (78, [])
    assert "ignores conditional puts" in refused.error
    assert faulty.bucket.objects() == []


def test_an_upload_in_parts_that_is_cut_leaves_nothing_behind(
    faulty: Any,
    run_target: Run,
    form: str,
    fault: Make,
    schema: Make,
    record: Make,
    state: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1000)
    monkeypatch.setattr(storage, "_PART_BYTES", 20_000)
    lines = [schema(), record(id=1, v=random.Random(1).randbytes(100_000).hex()), state(1)]
    faulty.faults.append(fault("PUT", "partNumber", "403", left=10_000, skip=2))

    broken = run_target(lines, **{**faulty.bucket.config, "retry_seconds": 0})

    assert (broken.exit_code, broken.states) == (77, [])
    assert faulty.bucket.open_uploads() == 0
    assert not [path for path in faulty.bucket.objects() if "part-" in path]
    faulty.faults.clear()
    done = run_target(lines, **faulty.bucket.config)
    assert (done.exit_code, done.states) == (0, [1])
    assert [request for request in faulty.seen if "partNumber" in request]
    assert len(faulty.bucket.records(form)) == 1
