# SPDX-License-Identifier: Apache-2.0
"""Whatever is fed, in batches of whatever size: newest-wins readers see what the model says."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ipai_kit.testing.singer_sequences import GENERATION_FEEDS, STREAMS, Feed, feeds

pytestmark = pytest.mark.parametrize("form", ["delta", "parquet"])

Make = Callable[..., Any]

_numbers = count()


def lands_as_modelled(lake: Any, run_target: Make, feed: Feed, sizes: list[int]) -> None:
    instance = f"example {next(_numbers)}"
    for delivery, size in zip(feed.deliveries, sizes, strict=False):
        done = run_target(delivery.data(), instance_id=instance, batch_size_rows=size)
        assert done.exit_code == (65 if delivery.breaks_off else 0), done.error
        assert (done.states[-1] if done.states else None) == delivery.last_state

    model = feed.model()
    for stream in STREAMS:
        seen = lake.newest(stream, instance).values()
        texts = sorted(json.dumps(json.loads(text), sort_keys=True) for text in seen)
        assert texts == [text for text, _ in model.landed(stream, with_deleted=False)]


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(feed=feeds(), sizes=st.lists(st.integers(2, 12), min_size=9, max_size=9))
def test_any_sequence_lands_as_the_model_says(
    lake: Any, run_target: Make, form: str, feed: Feed, sizes: list[int]
) -> None:
    lands_as_modelled(lake, run_target, feed, sizes)


@pytest.mark.parametrize("name", GENERATION_FEEDS)
def test_generations_land_as_the_model_says(
    lake: Any, run_target: Make, form: str, name: str
) -> None:
    feed, _ = GENERATION_FEEDS[name]

    for size in (1, 100):
        lands_as_modelled(lake, run_target, feed, [size] * len(feed.deliveries))
