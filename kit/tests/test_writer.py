# SPDX-License-Identifier: Apache-2.0
"""The fast lane out, and streams that come from a Python iterator."""

from __future__ import annotations

import io
import json
import os
import signal
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from singer_sdk.singerlib import RecordMessage, SchemaMessage, StateMessage

from ipai_kit.exceptions import StoppedError, TargetClosedError
from ipai_kit.local import LocalStream
from ipai_kit.singer.writer import FastWriter

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "at": {"type": ["string", "null"], "format": "date-time"},
        "amount": {"type": ["number", "null"]},
    },
}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.decimals(allow_nan=False, allow_infinity=False, places=18)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
records = st.lists(st.dictionaries(st.text(min_size=1), values, max_size=4), min_size=1, max_size=5)


class Sink(io.BytesIO):
    """Counts how often it is written to."""

    def __init__(self):
        super().__init__()
        self.writes = 0

    def write(self, data):
        self.writes += 1
        return super().write(data)

    def messages(self):
        return [json.loads(line, parse_float=Decimal) for line in self.getvalue().splitlines()]


@given(records=records)
def test_dicts_come_back_with_every_digit(records):
    sink = Sink()
    writer = FastWriter(sink)
    writer.write_dict_records("s", records, "2026-01-01T00:00:00+00:00")
    writer.flush()

    assert [one["record"] for one in sink.messages()] == records


@given(records=records, extra=st.booleans())
def test_raw_records_come_back_as_they_were(records, extra):
    sink = Sink()
    writer = FastWriter(sink)
    encoder = msgspec.json.Encoder(decimal_format="number")
    raws = [msgspec.Raw(encoder.encode(one)) for one in records]
    writer.write_raw_records("s", raws, "now", version=3, extra=b'"_x":1' if extra else b"")
    writer.flush()
    expected = [{**one, "_x": 1} if extra else one for one in records]

    assert [one["record"] for one in sink.messages()] == expected
    assert {(one["stream"], one["version"]) for one in sink.messages()} == {("s", 3)}


def test_records_wait_and_a_state_takes_them_along():
    sink = Sink()
    writer = FastWriter(sink)
    writer.write_dict_records("s", [{"id": 1}])
    assert sink.writes == 0

    writer.write_message(StateMessage(value={"bookmarks": {}}))
    assert sink.writes == 1
    assert [one["type"] for one in sink.messages()] == ["RECORD", "STATE"]


def test_a_full_buffer_is_handed_on():
    sink = Sink()
    writer = FastWriter(sink)
    writer.write_dict_records("s", [{"text": "x" * 300_000}])

    assert sink.writes == 1


def test_messages_of_the_sdk_are_written_in_order():
    sink = Sink()
    writer = FastWriter(sink)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    writer.write_message(SchemaMessage("s", {"properties": {}}, ["id"], None))
    writer.write_message(RecordMessage("s", {"n": Decimal("1.10"), "at": moment}, 1, moment))
    writer.flush()
    schema, record = sink.messages()

    assert schema["type"] == "SCHEMA"
    assert record["record"] == {"n": Decimal("1.10"), "at": "2026-01-01T00:00:00Z"}
    assert record["time_extracted"] == "2026-01-01T00:00:00Z"


def test_nothing_is_written_for_no_records():
    sink = Sink()
    writer = FastWriter(sink)
    writer.write_raw_records("s", [], "now")
    writer.write_dict_records("s", [])
    writer.flush()

    assert sink.writes == 0


def test_a_reader_that_is_gone_has_an_error_of_its_own(monkeypatch):
    class Gone(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", io.StringIO())
    writer = FastWriter(Gone())
    writer.write_dict_records("s", [{}])

    with pytest.raises(TargetClosedError):
        writer.flush()


def test_a_write_that_a_signal_cuts_short_goes_on():
    class Unbuffered(Sink):
        def write(self, data):
            return super().write(data[:7])

    sink = Unbuffered()
    writer = FastWriter(sink)
    writer.write_dict_records("s", [{"id": 1}, {"id": 2}])
    writer.flush()

    assert [one["record"] for one in sink.messages()] == [{"id": 1}, {"id": 2}]


# -- local streams ------------------------------------------------------------------------------


def rows(count, day=lambda n: n % 28 + 1):
    return [
        {"id": n, "at": f"2024-01-{day(n):02}T00:00:00Z", "amount": Decimal("0.10"), "new": [n]}
        for n in range(count)
    ]


@pytest.fixture
def local(demo, run_demo):
    def run(records, *, config=None, state=None, attributes=None, select=None):
        class Things(LocalStream):
            name = "things"
            primary_keys = ("id",)
            replication_key = "at"
            schema = SCHEMA

            def get_records(self, context):
                start = self.get_starting_replication_key_value(context)
                yield from (one for one in records if not start or one["at"] >= start)

        for name, value in (attributes or {}).items():
            setattr(Things, name, value)

        class Tap(demo.Tap):
            stream_types = (Things,)

        return run_demo(tap_class=Tap, config=config, state=state, select=select)

    return run


def test_records_of_an_iterator_are_written_exactly(local):
    output = local(rows(2500))

    assert output.error is None
    assert len(output.records("things")) == 2500
    assert output.lines[1].endswith(b"}")
    assert b'"amount":0.10,"new":[0]' in output.lines[1]


def test_the_bookmark_is_the_latest_of_all_chunks(local):
    output = local(rows(2500, day=lambda n: 28 - n // 100))
    bookmark = output.state["bookmarks"]["things"]

    assert bookmark == {
        "replication_key": "at",
        "replication_key_value": "2024-01-28T00:00:00Z",
    }
    assert (
        len(local(rows(2500, day=lambda n: 28 - n // 100), state=output.state).records("things"))
        == 100
    )


def test_states_leave_on_the_way(local):
    output = local(
        rows(3000, day=lambda n: n // 200 + 1),
        attributes={"STATE_MSG_FREQUENCY": 1000, "is_sorted": True},
    )

    assert len(output.of("STATE")) >= 3


def test_partitions_have_bookmarks_and_fields(local):
    output = local(rows(3), attributes={"partitions": [{"region": "a"}, {"region": "b"}]})

    assert [one["region"] for one in output.records("things")] == ["a"] * 3 + ["b"] * 3
    partitions = output.state["bookmarks"]["things"]["partitions"]
    assert [one["context"]["region"] for one in partitions] == ["a", "b"]
    assert {one["replication_key_value"] for one in partitions} == {"2024-01-03T00:00:00Z"}


def test_a_full_table_has_no_bookmark(local):
    output = local(rows(3), attributes={"replication_key": None})

    assert output.state["bookmarks"] == {"things": {}}


def test_stream_maps_take_the_way_of_the_sdk(local):
    config = {"stream_maps": {"things": {"__alias__": "stuff", "__filter__": "id > 0"}}}
    output = local(rows(3), config=config)

    assert [one["id"] for one in output.records("stuff")] == [1, 2]
    assert output.state["bookmarks"]["things"]["replication_key_value"] == "2024-01-03T00:00:00Z"


def test_both_ways_remember_the_same(local):
    fast, slow = local(rows(50)), local(rows(50), config={"stream_maps": {"things": {"id": "id"}}})

    assert [one["id"] for one in fast.records("things")] == list(range(50))
    assert [one["id"] for one in slow.records("things")] == list(range(50))
    assert fast.state == slow.state


def test_a_stop_ends_an_iterator(local):
    def endless():
        while True:
            yield from rows(1000)

    class Stopping(list):
        def __iter__(self):
            for number, one in enumerate(endless()):
                if number == 5000:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield one

    output = local(Stopping())

    assert isinstance(output.error, StoppedError)
    assert output.of("STATE")
