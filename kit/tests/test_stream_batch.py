# SPDX-License-Identifier: Apache-2.0
"""Rows that wait for a commit: the newest of each key, however they came."""

from hypothesis import given
from hypothesis import strategies as st

from ipai_kit.bronze import NO_HASH, Row, is_superseded, plan_stream
from ipai_kit.landing.batch import StreamBatch, ascend

PLAN = plan_stream("s", {"properties": {"id": {}}}, key_properties=["id"])
Delivery = list[tuple[int, int]]


def row(number: int, emitted: int) -> Row:
    return (b"[%d]" % number, b'{"id":%d}' % number, emitted, None, NO_HASH)


def newest_of(rows: list[Row]) -> list[Row]:
    """The same, in the plainest way."""
    kept: dict[bytes, Row] = {}
    for one in rows:
        if one[0] not in kept or is_superseded(kept[one[0]], one):
            kept[one[0]] = one
    return list(kept.values())


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.tuples(st.integers(0, 120), st.integers(0, 3)))),
        max_size=4,
    )
)
def test_the_newest_of_each_key_is_written_whichever_way_rows_came(
    deliveries: list[tuple[bool, Delivery]],
) -> None:
    batch, all_rows = StreamBatch(PLAN), []
    for in_block, delivery in deliveries:
        rows = [row(*one) for one in delivery]
        if in_block:
            batch.add(rows)
        else:
            for one in rows:  # as the intake takes records one by one
                old = batch.rows.setdefault(one[0], one)
                batch.rows[one[0]] = one if is_superseded(old, one) else old
        all_rows += rows
    assert batch.to_write() == newest_of(all_rows)
    assert list(batch.rows.values()) == newest_of(all_rows)


def test_rows_that_ascend_are_written_as_they_came() -> None:
    batch = StreamBatch(PLAN)
    batch.add([row(8, 1), row(9, 1)])
    batch.add([row(10, 1), row(11, 1)])
    assert batch.to_write() is batch.versions
    batch.remove(row(10, 1))
    assert [one[0] for one in batch.to_write()] == [b"[8]", b"[9]", b"[11]"]


def test_keys_ascend_only_where_none_comes_twice() -> None:
    for numbers, expected in (
        ([], True),
        ([7], True),
        ([9, 10, 99, 100], True),
        ([1, 1], False),
        ([10, 9], False),
        ([2, 1], False),
    ):
        assert ascend([row(number, 0) for number in numbers]) is expected
