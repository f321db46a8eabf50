# SPDX-License-Identifier: Apache-2.0
"""What Bronze must hold after any messages: the rules of landing, without batches or a store."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Message = dict[str, Any]
_NO_VERSION: Final = -1


@dataclass
class ModelRow:
    """The newest version of a record."""

    record: Message
    rank: tuple[float, str]
    is_deleted: bool = False


@dataclass
class BronzeModel:
    """Takes runs one after the other; `revives` says that records are read after every deletion."""

    revives: bool = True
    rows: dict[tuple[str, str], ModelRow] = field(default_factory=dict)
    schemas: dict[str, Message] = field(default_factory=dict)
    delivered: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)

    def run(self, messages: Sequence[Message], *, is_complete: bool = True) -> None:
        """Land what one run delivers; only a complete input ends a version opened before it."""
        opened: dict[str, int] = {}
        settled: set[str] = set()
        seen: set[tuple[str, int]] = set()
        for message in messages:
            stream, version = message.get("stream", ""), message.get("version", _NO_VERSION)
            if message["type"] == "SCHEMA":
                self.schemas[stream] = message
            elif message["type"] == "STATE":
                settled |= self.schemas.keys()
            elif message["type"] == "RECORD":
                key = self._upsert(stream, message)
                if version != _NO_VERSION:
                    self.delivered.setdefault((stream, version), set()).add(key)
                    seen.add((stream, version))
                    settled.discard(stream)
            elif opened.get(stream) != version and (stream, version) in seen:
                self._retire(stream, version)
            else:
                (settled.add if opened.get(stream) == version else settled.discard)(stream)
                opened[stream] = version
        for stream in settled & opened.keys() if is_complete else ():
            self._retire(stream, opened[stream])

    def landed(self, stream: str, *, with_deleted: bool = True) -> list[tuple[str, bool]]:
        """Records of a stream as sorted JSON, each with whether it is deleted."""
        return sorted(
            (json.dumps(row.record, sort_keys=True), row.is_deleted)
            for (owner, _), row in self.rows.items()
            if owner == stream and (with_deleted or not row.is_deleted)
        )

    def _upsert(self, stream: str, message: Message) -> str:
        """Newest wins by (cursor, time); of equals the later; what is deleted may stay so."""
        record, schema = message["record"], self.schemas[stream]
        names = schema["key_properties"] or sorted(record)
        key = json.dumps([record[name] for name in names], sort_keys=True)
        cursor = record.get((schema.get("bookmark_properties") or [""])[0])
        rank = (float("-inf") if cursor is None else cursor, message["time_extracted"])
        old = self.rows.get((stream, key))
        if old is None or (rank >= old.rank and (self.revives or not old.is_deleted)):
            self.rows[stream, key] = ModelRow(record, rank)
        return key

    def _retire(self, stream: str, version: int) -> None:
        """Mark what a newer version of the stream did not deliver."""
        if self.active.get(stream, -1) >= version:
            return
        self.active[stream] = version
        kept = self.delivered.get((stream, version), set())
        for (owner, key), row in self.rows.items():
            row.is_deleted |= owner == stream and key not in kept
