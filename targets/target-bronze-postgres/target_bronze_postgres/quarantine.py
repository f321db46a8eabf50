# SPDX-License-Identifier: Apache-2.0
"""Finds the records of a batch that the server cannot store, by asking it about halves."""

from collections.abc import Sequence
from typing import Final

import psycopg

from ipai_kit.bronze import RejectionReason, Row
from ipai_kit.landing.batch import FlushBatch, StreamBatch
from target_bronze_postgres.binary import text_array
from target_bronze_postgres.faults import Fate, fate_of
from target_bronze_postgres.landing_transaction import portions
from target_bronze_postgres.statements import statement
from target_bronze_postgres.tables import Connection

_REASONS: Final[dict[str, RejectionReason]] = {
    "22P05": RejectionReason.NUL_CHARACTER,
    "22021": RejectionReason.INVALID_ENCODING,
    "22P02": RejectionReason.INVALID_JSON,
    "22003": RejectionReason.NUMBER_OUT_OF_RANGE,
}
_EXPLANATIONS: Final[dict[RejectionReason, str]] = {
    RejectionReason.NUL_CHARACTER: "A text holds a NUL character, which jsonb cannot store.",
    RejectionReason.INVALID_ENCODING: "The record is not valid UTF-8.",
    RejectionReason.INVALID_JSON: "The record is not JSON that jsonb can store.",
    RejectionReason.NUMBER_OUT_OF_RANGE: "A number is beyond what jsonb can store.",
    RejectionReason.REJECTED_BY_SERVER: "The server refuses to store the record.",
}


def explanation(reason: RejectionReason) -> str:
    """What is wrong with a record, in words."""
    return _EXPLANATIONS.get(reason, reason)


def move_unstorable(connection: Connection, batch: FlushBatch) -> int:
    """Move what the server refuses to the dead letters; returns how many records that were."""
    return sum(_move(connection, batch, stream) for stream in batch.streams.values())


def _move(connection: Connection, batch: FlushBatch, stream: StreamBatch) -> int:
    moved = 0
    for part in portions(stream.to_write()):
        for row, sqlstate in _refused(connection, part):
            reason = _REASONS.get(sqlstate, RejectionReason.REJECTED_BY_SERVER)
            batch.quarantine(stream, row, reason, f"{explanation(reason)} ({sqlstate})")
            stream.remove(row)
            moved += 1
    return moved


def _refused(connection: Connection, rows: Sequence[Row]) -> list[tuple[Row, str]]:
    try:
        query = statement("storable_records")
        with connection.transaction():  # what went before it in a transaction stays
            connection.execute(query, {"records": text_array([row[1] for row in rows])})
    except psycopg.Error as error:
        if fate_of(error) is not Fate.EXAMINE_DATA:
            raise
        if len(rows) == 1:
            return [(rows[0], error.sqlstate or "")]
        middle = len(rows) // 2
        return _refused(connection, rows[:middle]) + _refused(connection, rows[middle:])
    return []
