# SPDX-License-Identifier: Apache-2.0
"""Whatever is fed, in batches of whatever size: the tables are what the model says."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ipai_kit.exceptions import InternalError
from ipai_kit.testing.bronze_model import BronzeModel, Message
from ipai_kit.testing.singer_sequences import (
    GENERATION_FEEDS,
    SCHEMAS,
    STREAMS,
    Delivery,
    Feed,
    feeds,
    source_messages,
)
from target_bronze_postgres.database import Database

Make = Callable[..., Any]

_numbers = count()

WITH_DATABASE: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
    # making a failing feed smaller takes minutes of runs
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],
}


def landed(bronze: Any, stream: str, instance: str) -> list[tuple[str, bool]]:
    """As `BronzeModel.landed`."""
    query = f"""select record, deleted_at is not null
        from ipai_bronze_core.raw_singer_{stream} where instance_id = %s"""
    rows = bronze.query(query, instance)
    return sorted((json.dumps(record, sort_keys=True), deleted) for record, deleted in rows)


def lands_as_modelled(bronze: Any, run_target: Make, feed: Feed, sizes: list[int]) -> None:
    instance = f"example {next(_numbers)}"
    for delivery, size in zip(feed.deliveries, sizes, strict=False):
        done = run_target(delivery.data(), instance_id=instance, batch_size_rows=size)
        assert done.exit_code == (65 if delivery.breaks_off else 0), done.error
        assert (done.states[-1] if done.states else None) == delivery.last_state

    model = feed.model()
    for stream in STREAMS:
        assert landed(bronze, stream, instance) == model.landed(stream)


@settings(max_examples=30, **WITH_DATABASE)
@given(feeds(), st.lists(st.integers(1, 12), min_size=9, max_size=9))
def test_any_sequence_lands_as_the_model_says(
    bronze: Any, run_target: Make, feed: Feed, sizes: list[int]
) -> None:
    lands_as_modelled(bronze, run_target, feed, sizes)


@pytest.mark.parametrize("name", GENERATION_FEEDS)
@pytest.mark.parametrize("size", [1, 100])
def test_generations_land_as_the_model_says(
    bronze: Any, run_target: Make, name: str, size: int
) -> None:
    feed, _ = GENERATION_FEEDS[name]

    lands_as_modelled(bronze, run_target, feed, [size] * len(feed.deliveries))


class Dying:
    """Ends a run at some commit, just before it or just after it, as a kill would."""

    def __init__(self, patch: pytest.MonkeyPatch, commits: int, *, is_after: bool) -> None:
        self.left = commits
        commit = Database.commit

        def commit_or_die(database: Database, batch: Any) -> Any:
            self.left -= 1
            reports = commit(database, batch) if self.left >= 0 or is_after else None
            if self.left < 0:
                message = "killed"
                raise InternalError(message)
            return reports

        patch.setattr(Database, "commit", commit_or_die)


def modelled(messages: list[Message]) -> BronzeModel:
    model = BronzeModel()
    model.run([*SCHEMAS, *messages])
    return model


@settings(max_examples=25, **WITH_DATABASE)
@given(
    source_messages(with_versions=False),
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 9)), max_size=3),
)
def test_state_is_never_ahead_of_the_rows_and_a_last_run_makes_them_whole(
    bronze: Any, run_target: Make, source: list[Message], deaths: list[tuple[int, bool, int]]
) -> None:
    instance = f"example {next(_numbers)}"
    start = 0
    for commits, is_after, size in deaths:
        with pytest.MonkeyPatch.context() as patch:
            Dying(patch, commits, is_after=is_after)
            delivery = Delivery((*SCHEMAS, *source[start:]))
            done = run_target(delivery.data(), instance_id=instance, batch_size_rows=size)
        start = max([start, *(value + 1 for value in done.states)])
        present = {text for stream in STREAMS for text, _ in landed(bronze, stream, instance)}
        actual = modelled(
            [m for m in source if json.dumps(m.get("record"), sort_keys=True) in present]
        )
        for key, row in modelled(source[:start]).rows.items():
            assert actual.rows[key].rank >= row.rank

    last = Delivery((*SCHEMAS, *source[start:]))
    assert run_target(last.data(), instance_id=instance).exit_code == 0

    for stream in STREAMS:
        assert landed(bronze, stream, instance) == modelled(source).landed(stream)
