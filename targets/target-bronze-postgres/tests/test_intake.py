# SPDX-License-Identifier: Apache-2.0
"""Filling batches, without a database."""

import json
from typing import Any

from ipai_kit.landing.batch import FlushBatch
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.intake import Intake
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
