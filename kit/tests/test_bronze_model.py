# SPDX-License-Identifier: Apache-2.0
"""The model itself, against what its few rules are known to give."""

import json

import pytest

from ipai_kit.testing.singer_sequences import GENERATION_FEEDS, scripted_feed


@pytest.mark.parametrize("name", GENERATION_FEEDS)
def test_a_generation_retires_what_it_did_not_deliver_and_nothing_else(name: str) -> None:
    feed, expected = GENERATION_FEEDS[name]

    landed = feed.model().landed("a")
    assert [json.loads(record)["id"] for record, is_deleted in landed if is_deleted] == expected
    assert len(feed.model().landed("a", with_deleted=False)) == len(landed) - len(expected)


def test_the_newest_version_of_a_key_stays() -> None:
    [(record, is_deleted)] = scripted_feed("1 1 .", "1").model().landed("a")

    assert (json.loads(record)["v"], is_deleted) == (200, False)


def test_a_delivery_ends_in_the_middle_of_a_line_if_it_breaks_off() -> None:
    whole, cut = scripted_feed("1 .", "1 /").deliveries

    assert (whole.data()[-1:], cut.data()[-1:]) == (b"\n", b"O")
    assert (whole.last_state, cut.last_state) == (101, None)
