# SPDX-License-Identifier: Apache-2.0
"""Which rows are gone: the keys of a table now, compared with those that were delivered.

STATE holds the keys: whole numbers as ranges, which stay short however many there are; other keys
as compressed text, which is why their number is limited.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.database import Block, Position

__all__ = ["KeyReader", "decode_keys", "encode_keys"]

_MOST_KEYS = 200_000
_MOST_CHARACTERS = 4_000_000


class KeyReader:
    """Takes the keys out of blocks without building the records."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = key
        fields = [(f"k{n}", Any, msgspec.field(name=name)) for n, name in enumerate(key)]
        shape = msgspec.defstruct("Key", fields)
        self._decode = msgspec.json.Decoder(shape).decode_lines
        self._fields = [f"k{n}" for n in range(len(key))]

    def keys(self, block: Block) -> Iterator[Position]:
        """Yield the key of each row."""
        for row in block.rows:
            yield tuple(row[name] for name in self._key)
        if block.lines:
            for record in self._decode(block.lines):
                yield tuple(getattr(record, name) for name in self._fields)


def encode_keys(keys: Iterable[Position], stream: str) -> str:
    """Return the keys as text for STATE."""
    found = set(keys)
    if all(len(key) == 1 and type(key[0]) is int for key in found):
        text = "r:" + ",".join(_ranges(sorted(key[0] for key in found)))
    elif len(found) > _MOST_KEYS:
        text = ""
    else:
        listed = sorted(msgspec.json.encode(key) for key in found)
        text = "z:" + base64.b85encode(zlib.compress(b"\n".join(listed))).decode()
    if not text or len(text) > _MOST_CHARACTERS:
        message = f"The {len(found)} keys of {stream!r} are too many to compare."
        raise ConfigurationError(
            message,
            stream=stream,
            next_step="Use replication_method FULL_TABLE with emit_activate_version_messages.",
        )
    return text


def decode_keys(text: str) -> set[Position]:
    """Return the keys that STATE holds."""
    kind, _, body = text.partition(":")
    if kind == "z":
        lines = zlib.decompress(base64.b85decode(body)).splitlines()
        return {tuple(msgspec.json.decode(line)) for line in lines}
    found: set[Position] = set()
    for part in filter(None, body.split(",")):
        first, _, count = part.partition("+")
        start = int(first)
        found.update((number,) for number in range(start, start + int(count or 0) + 1))
    return found


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """Yield `first` or `first+more` for each run of numbers without a gap."""
    begin = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            more = place - 1 - begin
            yield f"{numbers[begin]}+{more}" if more else str(numbers[begin])
            begin = place
