# SPDX-License-Identifier: Apache-2.0
"""Dead letters: what was delivered but could not be landed, kept to be replayed."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]

from ipai_kit.landing.batch import DeadLetter
from target_bronze_lake.data_file import DataFile, day_name
from target_bronze_lake.lake_table import Attempt, LakeTable
from target_bronze_lake.row_format import (
    DAY_MICROS,
    DEAD_LETTERS,
    TIME,
    integers,
    plain_values,
    repeated,
    strings,
)

PATH: Final = "ipai_bronze_core/dead_letters"


@dataclass
class LetterFlush:
    """Letters of one flush on their way."""

    letters: Sequence[DeadLetter]
    attempt: Attempt = field(default_factory=Attempt)
    files: list[DataFile] | None = None
    ids: set[bytes] = field(default_factory=set)


@dataclass
class DeadLetterTable:
    """The letters of all streams of the lake; the same letter is not stored twice."""

    table: LakeTable
    instance_id: str
    run_id: str | None
    _known: set[bytes] = field(default_factory=set)

    def bury(self, flush: LetterFlush) -> None:
        """Commit the letters of a flush, unless an attempt before got through."""
        if self.table.open():
            self._known = self._waiting()
        if not self.table.has_committed(flush.attempt):
            if flush.files is None:
                flush.files = self._write(flush)
            if flush.files:
                app_id = f"ipai:{self.instance_id}:dead_letters"
                self.table.commit(flush.attempt, app_id, flush.files)
        self._known |= flush.ids

    def _waiting(self) -> set[bytes]:
        """Ids of the letters that nobody has replayed yet."""
        found: set[bytes] = set()
        for file in self.table.log.files():
            for batch in self.table.read(file, ["id", "replayed_at"]):
                ids, replayed = (plain_values(column) for column in batch.columns)
                pairs = zip(ids, replayed, strict=True)
                found.update(key.encode() for key, moment in pairs if moment is None)
        return found

    def _write(self, flush: LetterFlush) -> list[DataFile]:
        letters = {self._id(letter): letter for letter in flush.letters}
        flush.ids = letters.keys() - self._known
        new = {key: letter for key, letter in letters.items() if key in flush.ids}
        if not new:
            return []
        now = time.time_ns() // 1000
        return [self.table.write(day_name(now // DAY_MICROS), [self._batch(new, now)])]

    def _id(self, letter: DeadLetter) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.instance_id, letter.source, letter.stream, letter.reason):
            digest.update(part.encode("utf-8", "replace") + b"\0")
        digest.update(letter.raw)
        return digest.hexdigest().encode()

    def _batch(self, letters: dict[bytes, DeadLetter], now: int) -> pa.RecordBatch:
        count = len(letters)
        texts = {
            name: strings(
                [getattr(letter, name).encode("utf-8", "replace") for letter in letters.values()]
            )
            for name in ("source", "stream", "reason", "error")
        }
        columns = [
            strings(list(letters)),
            repeated(self.instance_id, count),
            repeated(self.run_id, count),
            *texts.values(),
            strings([letter.raw for letter in letters.values()], pa.binary()),
            integers([now] * count, TIME),
            integers([None] * count, TIME),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=DEAD_LETTERS.schema)
