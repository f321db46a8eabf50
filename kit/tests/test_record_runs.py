# SPDX-License-Identifier: Apache-2.0
"""Lines taken apart without decoding each message land what decoding each would have landed."""

import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipai_kit.exceptions import ConnectorError
from ipai_kit.landing.batch import FlushBatch
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.intake import Intake
from ipai_kit.landing.settings import LandingSettings
from ipai_kit.singer.reader import MessageDecoder
from ipai_kit.singer.record_runs import RecordRun, split_runs

SCHEMA = {
    "type": "SCHEMA",
    "stream": "a",
    "schema": {"properties": {"id": {"type": "integer"}, "at": {"type": ["string", "null"]}}},
    "key_properties": ["id"],
    "bookmark_properties": ["at"],
}


def lines_of(*messages: Any, compact: bool = True) -> bytes:
    separators = (",", ":") if compact else (", ", ": ")
    texts = [
        one if isinstance(one, bytes) else json.dumps(one, separators=separators).encode()
        for one in messages
    ]
    return b"\n".join(texts) + b"\n"


def record(number: int, stream: str = "a", **more: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": stream, "record": {"id": number, "at": "x"}, **more}


def settings(**changes: Any) -> LandingSettings:
    values: dict[str, Any] = {
        "source": None,
        "domain": None,
        "instance_id": "i",
        "run_id": None,
        "keeps_every_version": False,
        "batch_size_rows": 1000,
        "batch_size_bytes": 1 << 20,
        "flush_seconds": 60.0,
        "retry_seconds": 0.0,
        "dead_letter_limit": 1000,
    }
    return LandingSettings(**values | changes)


def landed(block: bytes, *, by_runs: bool, **changes: Any) -> Any:
    """What lands of a block, and the error that ends it."""
    batches: list[FlushBatch] = []
    intake = Intake(settings(**changes), batches.append, EventLog("test"))
    decoder, error = MessageDecoder(), None
    intake.take(decoder.decode(lines_of(SCHEMA)))
    try:
        for part in split_runs(block) if by_runs else [block]:
            if isinstance(part, bytes):
                intake.take(decoder.decode(part))
            elif intake.take_run(part):
                decoder.line_count += len(part.records)
            else:
                intake.take(decoder.decode(part.text))
    except ConnectorError as caught:
        error = str(caught)
    intake.flush()
    read = None if error else decoder.line_count
    return error, read, intake.counts, [_content(batch) for batch in batches]


def _content(batch: FlushBatch) -> Any:
    streams = {
        name: (
            [
                (key, bytes(text), emitted, cursor, digest)
                for key, text, emitted, cursor, digest in stream.to_write()
            ],
            *(stream.received, stream.size, stream.dead, stream.generation_keys),
        )
        for name, stream in batch.streams.items()
    }
    return streams, batch.dead_letters, batch.state


def runs_of(block: bytes) -> Sequence[RecordRun]:
    return [part for part in split_runs(block) if isinstance(part, RecordRun)]


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    ("more", "version", "times"),
    [
        ({}, None, (None,)),
        ({"time_extracted": "2026-01-01T00:00:00Z"}, None, ("2026-01-01T00:00:00Z",)),
        ({"version": 7}, 7, (None,)),
        ({"version": 7, "time_extracted": "2026-01-01T00:00:00Z"}, 7, ("2026-01-01T00:00:00Z",)),
    ],
)
def test_lines_of_one_shape_are_one_run(
    compact: bool, more: dict[str, Any], version: int | None, times: tuple[str | None, ...]
) -> None:
    block = lines_of(*(record(number, **more) for number in range(5)), compact=compact)

    [run] = runs_of(block)

    assert (run.stream, run.version, tuple(run.times)) == ("a", version, times)
    assert [json.loads(text)["id"] for text in run.records] == [0, 1, 2, 3, 4]
    assert (run.text, run.block) == (block, b"\n".join(run.records) + b"\n")


def test_times_of_one_length_may_differ_from_line_to_line() -> None:
    moments = [f"2026-01-01T00:00:0{second}.500000+00:00" for second in range(5)]
    block = lines_of(*(record(1, time_extracted=moment) for moment in moments))

    [run] = runs_of(block)

    assert list(run.times) == moments


@pytest.mark.parametrize(
    "other",
    [
        {"type": "STATE", "value": {"a": 1}},
        SCHEMA,
        record(9, stream="b"),
        record(9, version=3),
        record(9, time_extracted="2026-01-01T00:00:00Z"),
        {"record": {"id": 9}, "type": "RECORD", "stream": "a"},
        b"not a message",
        b"",
    ],
)
def test_what_differs_ends_a_run(other: Any) -> None:
    block = lines_of(record(1), record(2), other, record(3))

    parts = list(split_runs(block))

    texts = [part if isinstance(part, bytes) else part.text for part in parts]
    assert b"".join(texts) == block


def test_long_lines_are_left_to_the_decoder() -> None:
    block = lines_of({**record(1), "record": {"id": 1, "text": "x" * 2_000_000}})
    assert list(split_runs(block)) == [block]


odd_lines = st.sampled_from(
    [
        b'{"type":"RECORD","stream":"a","record":{"id":1},"foo":{"a":1}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1},"record":{"id":2}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1}}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1} {"id":2}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1,"time_extracted":"2026"}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1,"version":3}}',
        b'{"type":"RECORD","stream":"a","record":{"id":"text"}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1.0,"at":null}}',
        b'{"type":"RECORD","stream":"a","record":{"at":"no key"}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1,"at":"\\u0000"}}',
        b'{"type":"RECORD","stream":"a","record":{"id":1,"at":"\xff"}}',
        b'{"type":"RECORD","stream":"a","record":[1]}',
        b'{"type":"RECORD","stream":"a","record":{"id":1},"time_extracted":"never"}',
        b'{"type":"RECORD","stream":"unknown","record":{"id":1}}',
        b'{"type":"STATE","value":{"x":1}}',
        b"  ",
        b"{",
    ]
)
plain_lines = st.builds(
    lambda number, at, more: lines_of(
        {"type": "RECORD", "stream": "a", "record": {"id": number, "at": at}, **more}
    )[:-1],
    st.integers(0, 5) | st.integers(2**63, 2**70),
    st.none() | st.text(max_size=5) | st.just("2026-01-01T00:00:00Z"),
    st.sampled_from(
        [
            {"time_extracted": "2026-01-01T00:00:00Z"},
            {"time_extracted": "2026-01-02T00:00:00Z"},
            {"version": 3, "time_extracted": "2026-01-02T00:00:00Z"},
        ]
    ),
)


@given(
    lines=st.lists(plain_lines, min_size=1, max_size=8)
    | st.lists(plain_lines | odd_lines, min_size=1, max_size=8),
    keeps_all=st.booleans(),
    refuses_nul=st.booleans(),
    rows=st.integers(1, 6),
)
def test_runs_land_what_decoding_every_message_lands(
    lines: list[bytes], keeps_all: bool, refuses_nul: bool, rows: int
) -> None:
    block = b"\n".join(lines) + b"\n"
    options = {"keeps_every_version": keeps_all, "refuses_nul": refuses_nul}
    options["batch_size_rows"] = rows

    with patch("ipai_kit.landing.intake.emitted_micros", return_value=1):  # the clock stands still
        found = landed(block, by_runs=True, **options)
        expected = landed(block, by_runs=False, **options)

    assert found == expected
