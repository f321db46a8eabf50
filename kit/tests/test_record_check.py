# SPDX-License-Identifier: Apache-2.0
"""Checking records as they are landed: the same whichever way they come, and as jsonschema says."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipai_kit.landing.batch import FlushBatch, StreamReport
from ipai_kit.landing.deviations import Deviation, DriftKind
from ipai_kit.landing.drift import Drift
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.program import Landing
from ipai_kit.landing.run import TargetRun
from ipai_kit.landing.settings import LandingSettings
from ipai_kit.landing.stop_signal import StopSignal
from ipai_kit.singer.reader import TextSource

TYPES = [
    {},
    {"type": "integer"},
    {"type": ["number", "null"]},
    {"type": "string"},
    {"type": "array", "items": {"type": "boolean"}},
    {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
    {"type": "object", "additionalProperties": {"type": "integer"}},
]
RULES = [{"enum": [1, "text"]}, {"minimum": 2}, {"anyOf": [{"type": "string"}, {"minimum": 1}]}]
VALUES = st.sampled_from(
    [None, 1, 1.0, 1.5, 2**70, "text", True, [], [True], [1], {}, {"x": "y"}, {"x": 1}, {"z": 2}]
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2), max_size=12)


class Memory:
    """A store that keeps what it is given."""

    def __init__(self) -> None:
        self.landed: list[tuple[bytes, str | None]] = []
        self.buried: list[bytes] = []

    def open(self) -> None:
        """Nothing to connect to."""

    def commit(self, batch: FlushBatch) -> list[StreamReport]:
        for stream in batch.streams.values():
            self.landed += [(row[0], row[3]) for row in stream.to_write()]
        self.buried += [letter.raw for letter in batch.dead_letters]
        return []

    def finish(self) -> None:
        """Nothing to tidy up."""

    def close(self) -> None:
        """Nothing to hang up."""


@dataclass(frozen=True)
class Told(EventLog):
    """Remembers the events of drift."""

    drift: list[dict[str, Any]] = field(default_factory=list)

    def emit(self, event: str, *, level: str = "info", **fields: Any) -> None:
        if event == "drift":
            self.drift.append(fields)


def land(lines: list[bytes], **given_settings: Any) -> tuple[Memory, list[dict[str, Any]]]:
    """Land lines in memory; returns what landed and the drift that was told."""
    own = {"source": None, "domain": None, "instance_id": "i", "run_id": None}
    limits = {"batch_size_rows": 1000, "batch_size_bytes": 1 << 20, "dead_letter_limit": 1000}
    times = {"flush_seconds": 60, "retry_seconds": 0, "keeps_every_version": False}
    checked = LandingSettings(**(own | limits | times | given_settings))
    store, events, stop = Memory(), Told("test"), StopSignal()
    run = TargetRun(Landing(checked, lambda *_: store), events, stop)
    run.read(TextSource(io.BytesIO(b"".join(line + b"\n" for line in lines))))
    run.finish()
    run.close()
    stop.close()
    return store, events.drift


def lines_of(schema: dict[str, Any], records: list[bytes], *, usual: bool) -> Iterator[bytes]:
    """Messages in the usual order of their members, or in another that nobody writes."""
    keys = {"key_properties": ["id"], "bookmark_properties": ["id"]}
    yield json.dumps({"type": "SCHEMA", "stream": "s", "schema": schema, **keys}).encode()
    shape = b'{"type": "RECORD", "stream": "s", "record": %s}'
    odd = b'{"record": %s, "stream": "s", "type": "RECORD"}'
    for record in records:
        yield (shape if usual else odd) % record


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(TYPES),
    st.sampled_from(TYPES + RULES),
    RECORDS,
    st.sampled_from(["types", "full"]),
)
def test_exactly_what_jsonschema_refuses_is_buried_whichever_way_it_comes(
    a: dict[str, Any], b: dict[str, Any], records: list[dict[str, Any]], validate: str
) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "integer"}, "a": a, "b": b}}
    validator = jsonschema.Draft7Validator(schema)
    texts = [json.dumps({"id": number, **one}).encode() for number, one in enumerate(records)]
    refused = [text for text in texts if not validator.is_valid(json.loads(text))]

    drifts = []
    for usual in (True, False):
        lines = list(lines_of(schema, texts, usual=usual))
        store, _ = land(lines, validate=validate, on_invalid="dead_letter")
        buried = store.buried
        if validate == "full" or b not in RULES:
            assert buried == refused
        else:
            assert set(buried) <= set(refused)
        assert len(store.landed) == len(texts) - len(buried)
        store, told = land(lines, validate=validate, on_invalid="land")
        assert (len(store.landed), store.buried) == (len(texts), [])
        assert bool(buried) == any(one["kind"] != "unknown_field" for one in told)
        drifts.append(told)
    assert drifts[0] == drifts[1]


@pytest.mark.parametrize("validate", ["types", "full", "off"])
def test_key_and_cursor_are_the_same_whatever_is_checked(validate: str) -> None:
    schema = {"properties": {"id": {"type": "integer"}, "t": {"type": "string", "pattern": "^t"}}}
    records = [b'{"id": 1, "t": "text"}', b'{"id": 2.0, "t": 5}', b'{"id": "3"}']

    for usual in (True, False):
        store, _ = land(list(lines_of(schema, records, usual=usual)), validate=validate)
        assert store.landed == [
            (b"[1]", "00000000000000000001"),
            (b"[2]", "00000000000000000002"),
            (b'["3"]', "3"),
        ]


def test_drift_of_more_places_than_anybody_reads_is_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    drift = Drift(EventLog("test"))

    for number in range(510):
        drift.note("s", Deviation(DriftKind.UNKNOWN_FIELD, f"f{number}", "nothing", "null"), b"[1]")
    drift.tell_totals(is_end=True)

    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert (events.count("drift"), events.count("drift_not_counted")) == (100, 1)
