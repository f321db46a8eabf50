# SPDX-License-Identifier: Apache-2.0
"""Rows that a tap could not read become dead letters of the stream they belong to."""

import json
from typing import Any

import pytest

from ipai_kit.landing.batch import FlushBatch
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.intake import Intake
from ipai_kit.landing.settings import LandingSettings
from ipai_kit.singer.reader import MessageDecoder

SETTINGS = LandingSettings(
    source=None,
    domain=None,
    instance_id="i",
    run_id=None,
    keeps_every_version=False,
    batch_size_rows=1000,
    batch_size_bytes=10**6,
    flush_seconds=60,
    retry_seconds=1,
    dead_letter_limit=10,
)
MARKS = {"source": "files", "domain": "core"}


def schema(stream: str, *, more: str = "id", **marks: Any) -> dict[str, Any]:
    content = {"type": "object", "properties": {more: {}}, "x-ipai": {**MARKS, **marks}}
    return {"type": "SCHEMA", "stream": stream, "schema": content, "key_properties": []}


def record(stream: str, content: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": stream, "record": content}


def landed(*messages: dict[str, Any]) -> list[FlushBatch]:
    flushed: list[FlushBatch] = []
    intake = Intake(SETTINGS, flushed.append, EventLog("a"))
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    intake.take(MessageDecoder().decode(lines))
    intake.finish(is_complete=True)
    intake.check_keys()
    return flushed


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"reason": "Line 7 has no end."}, "Line 7 has no end."),
        ({"reason": 7}, "The tap could not read this row."),
        ({}, "The tap could not read this row."),
    ],
)
def test_a_rejected_row_is_a_dead_letter_of_its_stream(content: Any, error: str) -> None:
    (batch,) = landed(
        schema("orders"),
        schema("orders_rejected", rejects="orders"),
        record("orders", {"id": 1}),
        record("orders_rejected", content),
    )

    (letter,) = batch.dead_letters
    assert (letter.source, letter.stream, letter.reason) == ("files", "orders", "rejected_by_tap")
    assert (letter.error, json.loads(letter.raw)) == (error, content)
    assert list(batch.streams) == ["orders"]
    assert (batch.streams["orders"].received, batch.streams["orders"].dead) == (2, 1)


def test_a_new_plan_of_the_stream_holds_for_its_rejected_rows_too() -> None:
    *_, batch = landed(
        schema("orders"),
        schema("orders_rejected", rejects="orders"),
        schema("orders", more="name"),
        record("orders_rejected", {"reason": "no"}),
    )

    assert batch.streams["orders"].plan.properties == {"name"}
    assert batch.streams["orders"].dead == 1


@pytest.mark.parametrize("marks", [{"rejects": "unknown"}, {"rejects": 5}, {}])
def test_without_a_stream_to_belong_to_the_rows_land(marks: dict[str, Any]) -> None:
    (batch,) = landed(schema("a", **marks), record("a", {"reason": "no"}))

    assert batch.dead_letters == []
    assert len(batch.streams["a"].rows) == 1
