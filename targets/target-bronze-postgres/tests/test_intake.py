# SPDX-License-Identifier: Apache-2.0
"""Filling batches, without a database."""

import json
from typing import Any

from ipai_kit.bronze import RecordRejectedError, RejectionReason, StreamPlan
from ipai_kit.landing.batch import FlushBatch
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.intake import Intake, RecordCheck
from ipai_kit.singer.reader import MessageDecoder
from target_bronze_postgres.settings import read_settings

SCHEMA = {
    "type": "SCHEMA",
    "stream": "a",
    "schema": {"properties": {"id": {}}},
    "key_properties": ["id"],
}


def take(intake: Intake, *messages: dict[str, Any]) -> None:
    text = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    intake.take(MessageDecoder().decode(text))


def record(**fields: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": "a", "record": fields}


def test_a_check_chosen_by_the_plan_may_bury_a_record() -> None:
    def no_negative_ids(plan: StreamPlan) -> RecordCheck:
        assert plan.stream == "a"

        def check(data: bytes) -> None:
            if b"-" in bytes(data):
                raise RecordRejectedError(RejectionReason.REJECTED_BY_SERVER, "negative")

        return check

    flushed: list[FlushBatch] = []
    settings = read_settings({"database_url": "unused"}, {})
    intake = Intake(settings, flushed.append, EventLog("a"), no_negative_ids)

    take(intake, SCHEMA, record(id=1), record(id=-1), record(id=2))
    intake.flush()

    [batch] = flushed
    assert list(batch.streams["a"].rows) == [b"[1]", b"[2]"]
    assert [(letter.raw, letter.error) for letter in batch.dead_letters] == [
        (b'{"id": -1}', "negative")
    ]


def test_a_batch_waits_until_its_deadline_and_an_empty_one_for_nothing() -> None:
    flushed: list[FlushBatch] = []
    intake = Intake(read_settings({"database_url": "unused"}, {}), flushed.append, EventLog("a"))

    assert intake.deadline is None
    intake.flush()
    assert flushed == []
    take(intake, SCHEMA)
    assert intake.deadline is not None
    intake.flush()

    assert intake.deadline is None
    assert list(flushed[0].streams) == ["a"]
