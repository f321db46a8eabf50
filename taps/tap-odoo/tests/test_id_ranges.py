# SPDX-License-Identifier: Apache-2.0
"""Sets of ids as spans behave as sets do."""

from hypothesis import given
from hypothesis import strategies as st

from tap_odoo.id_ranges import IdRanges

some_ids = st.sets(st.integers(min_value=1, max_value=200))


@given(some_ids)
def test_text_brings_the_same_ids_back(ids: set[int]) -> None:
    found = IdRanges.parse(IdRanges.of(sorted(ids)).text)

    assert sorted(ids) == list(found)
    assert len(ids) == len(found)


@given(some_ids, some_ids)
def test_sets_combine_as_sets_do(ones: set[int], others: set[int]) -> None:
    one, other = IdRanges.of(sorted(ones)), IdRanges.of(sorted(others))

    assert sorted(ones | others) == list(one.union(others))
    assert sorted(ones - others) == list(one.without(other))
    assert sorted(ones & others) == list(one.overlap(other))
    assert [number in one for number in range(202)] == [number in ones for number in range(202)]


def test_a_million_ids_without_gaps_are_a_few_characters() -> None:
    assert IdRanges.of(range(1, 1_000_001)).text == "1+lflr"
