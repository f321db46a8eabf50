# SPDX-License-Identifier: Apache-2.0
"""Which rows are gone: the keys of a table now, compared with those that were delivered.

STATE holds the keys: whole numbers as ranges, which stay short however many there are; other keys
as compressed text, which is why their number is limited. In memory numbers are bits, so that ten
million of them take little.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.database import Block, Position

__all__ = ["KeyReader", "KeySet"]

_MOST_KEYS = 200_000
_MOST_CHARACTERS = 4_000_000
_BITS = 12
_MASK = (1 << _BITS) - 1


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


class KeySet:
    """Keys; those of one whole number are kept as bits."""

    def __init__(self, text: str = "") -> None:
        self._bits: dict[int, int] = {}
        self._others: set[Position] = set()
        kind, _, body = text.partition(":")
        if kind == "z":
            lines = zlib.decompress(base64.b85decode(body)).splitlines()
            self.update(tuple(msgspec.json.decode(line)) for line in lines)
        for part in filter(None, body.split(",") if kind == "r" else ()):
            first, _, more = part.partition("+")
            self.update((n,) for n in range(int(first), int(first) + int(more or 0) + 1))

    def update(self, keys: Iterable[Position]) -> None:
        """Add keys."""
        bits = self._bits
        for key in keys:
            if len(key) == 1 and type(key[0]) is int:
                block = key[0] >> _BITS
                bits[block] = bits.get(block, 0) | 1 << (key[0] & _MASK)
            else:
                self._others.add(key)

    def without(self, other: KeySet) -> Iterator[Position]:
        """Yield the keys that the other set lacks."""
        left = KeySet()
        for block, bits in self._bits.items():
            rest = bits & ~other._bits.get(block, 0)
            if rest:
                left._bits[block] = rest
        yield from ((number,) for number in left._numbers())
        yield from sorted(self._others - other._others, key=repr)

    def __len__(self) -> int:
        return len(self._others) + sum(bits.bit_count() for bits in self._bits.values())

    def _numbers(self) -> Iterator[int]:
        for block in sorted(self._bits):
            bits, first = self._bits[block], block << _BITS
            while bits:
                lowest = bits & -bits
                yield first + lowest.bit_length() - 1
                bits ^= lowest

    def _ranges(self) -> Iterator[str]:
        """Yield `first` or `first+more` for each run of numbers without a gap."""
        begin = last = None
        for number in self._numbers():
            if begin is None or last is None:
                begin = number
            elif number != last + 1:
                yield f"{begin}+{last - begin}" if last != begin else str(begin)
                begin = number
            last = number
        if begin is not None and last is not None:
            yield f"{begin}+{last - begin}" if last != begin else str(begin)

    def encode(self, stream: str) -> str:
        """Return the keys as text for STATE."""
        text = ""
        if not self._others:
            text = "r:" + ",".join(self._ranges())
        elif len(self) <= _MOST_KEYS:
            keys = [*((number,) for number in self._numbers()), *self._others]
            listed = sorted(msgspec.json.encode(key) for key in keys)
            text = "z:" + base64.b85encode(zlib.compress(b"\n".join(listed))).decode()
        if not text or len(text) > _MOST_CHARACTERS:
            message = f"The {len(self)} keys of {stream!r} are too many to compare."
            raise ConfigurationError(
                message,
                stream=stream,
                next_step="Use replication_method FULL_TABLE with emit_activate_version_messages.",
            )
        return text
