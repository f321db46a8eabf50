# SPDX-License-Identifier: Apache-2.0
"""Key, cursor and hash of a block of records at once, as `ipai_kit.bronze` makes them one by one.

Only what is usual is done here, with loops that run in C. A block with anything else (a line that
is no object, a key that is neither text nor integer, a key too long) gets None, and the caller
takes its records one by one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from ipai_kit.bronze import (
    MAX_KEY_BYTES,
    NO_HASH,
    PLAIN_KEYS,
    UNPICKABLE,
    UTC_SECONDS_LENGTH,
    UTC_SECONDS_MARKS,
    Picker,
    RecordRejectedError,
    Row,
    StreamPlan,
    new_record_hash,
    sortable_cursor,
)

_MARK_POSITIONS: Final = range(4, UTC_SECONDS_LENGTH, 3)
_END_OF_SECONDS: Final = UTC_SECONDS_MARKS[-1]
_NINE_DECIMALS: Final = f".000000000{_END_OF_SECONDS}"
_SECONDS_LINE: Final = UTC_SECONDS_LENGTH + 1

_NO_HASHES: Final = repeat(NO_HASH)

_encode_lines = msgspec.json.Encoder(order="deterministic").encode_lines


@dataclass(frozen=True)
class RecordBlock:
    """The columns of some records that a target computes; all of the same length."""

    records: Sequence[bytes]
    keys: Sequence[bytes]
    cursors: Sequence[str | None]
    hashes: Iterable[bytes]

    def rows(self, emitted: Iterable[int]) -> list[Row]:
        """What a target buffers, one row for each record; `emitted` may go on without end."""
        return list(zip(self.keys, self.records, emitted, self.cursors, self.hashes, strict=False))


class BlockDecoder(NamedTuple):
    """Decodes whole lines; `attributes` of each are its keys and its cursor, in this order."""

    decode_lines: Callable[[bytes], list[Any]]
    attributes: Sequence[str]


class BlockExtract(Protocol):
    """Takes whole lines apart, given as a block.

    Where they are at hand, also one by one; then each is known to begin and end with a brace.
    """

    def __call__(
        self, block: bytes, records: Sequence[bytes] | None = None, /
    ) -> RecordBlock | None:
        """The columns of the records; None for lines that must be looked at alone."""


def compile_block_extract(
    plan: StreamPlan,
    *,
    hashed: bool,
    decoder: BlockDecoder | None = None,
    check: Callable[[bytes], object] | None = None,
) -> BlockExtract:
    """Build the function that takes whole lines apart; it returns None for an unusual block.

    `check` raises for a block that holds a record which must be looked at alone.
    """
    if not plan.key_properties:
        return leave_alone  # a key of the whole content is no usual key
    width = len(plan.key_properties)
    has_cursor = plan.cursor_property is not None
    decode_lines, attributes = decoder or _picking(plan)
    getters = [attrgetter(attribute) for attribute in attributes]

    def extract(block: bytes, records: Sequence[bytes] | None = None, /) -> RecordBlock | None:
        records = _objects(block) if records is None else records
        if not records:
            return None
        try:
            picked = decode_lines(block)
            if len(picked) != len(records):
                return None
            if check is not None:
                check(block)
            values = [list(map(getter, picked)) for getter in getters]
            keys = _keys(values[:width])
            cursors = _cursors(values[width]) if has_cursor else [None] * len(records)
        except (*UNPICKABLE, RecordRejectedError):
            return None
        if keys is None:
            return None
        hashes = _hashes(records) if hashed else _NO_HASHES
        return RecordBlock(records, keys, cursors, hashes)

    return extract


def leave_alone(block: bytes, records: Sequence[bytes] | None = None, /) -> None:
    """Take every record of a stream one by one."""


def _picking(plan: StreamPlan) -> BlockDecoder:
    names, cursor = list(plan.key_properties), plan.cursor_property
    picker = Picker(names, [cursor] if cursor else [], plan.properties)
    return BlockDecoder(picker.decode_lines, picker.attributes)


def _objects(block: bytes) -> list[bytes] | None:
    """The lines, if each is exactly one object without anything around it.

    A value cannot go on in the next line: what follows a line's end is an opening brace.
    """
    if not (block.startswith(b"{") and block.endswith(b"}\n")):
        return None
    lines = block.split(b"\n")
    del lines[-1]
    return lines if b"}\n{".join([line[1:-1] for line in lines]) == block[1:-2] else None


def _hashes(records: Sequence[bytes]) -> list[bytes]:
    hashes = []
    for record in records:
        digest = new_record_hash()
        digest.update(record)
        hashes.append(digest.digest())
    return hashes


def _keys(columns: Sequence[Sequence[Any]]) -> list[bytes] | None:
    """Canonical JSON arrays, if every value is a text or an integer."""
    if not set(map(type, chain.from_iterable(columns))) <= PLAIN_KEYS:
        return None
    if len(columns) == 1:  # a tuple for each value costs three times what encoding it does
        values = _encode_lines(columns[0])[:-1].replace(b"\n", b"]\n[")
        keys = (b"[%b]" % values).split(b"\n")
    else:
        keys = _encode_lines(list(zip(*columns, strict=True))).split(b"\n")
        del keys[-1]
    return keys if max(map(len, keys)) <= MAX_KEY_BYTES else None


def _cursors(values: Sequence[Any]) -> Sequence[str | None]:
    joined = _utc_seconds(values)
    if joined is None:
        return [None if value is None else sortable_cursor(value) for value in values]
    return joined.replace(_END_OF_SECONDS, _NINE_DECIMALS).split("\n")


def _utc_seconds(values: Sequence[Any]) -> str | None:
    """The values, a line each, if all are times with their marks in place and the only Z last."""
    try:
        joined = "\n".join(values)
    except TypeError:
        return None
    count = len(values)
    if len(joined) != count * _SECONDS_LINE - 1 or joined.count(_END_OF_SECONDS) != count:
        return None
    ends = joined[UTC_SECONDS_LENGTH::_SECONDS_LINE]
    is_even = joined.count("\n") == count - 1 and ends == "\n" * (count - 1)
    marks = zip(_MARK_POSITIONS, UTC_SECONDS_MARKS, strict=True)
    if is_even and all(joined[place::_SECONDS_LINE] == mark * count for place, mark in marks):
        return joined
    return None
