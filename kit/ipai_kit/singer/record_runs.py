# SPDX-License-Identifier: Apache-2.0
"""Runs of RECORD lines that differ in nothing but the record and its time.

A tap writes all its lines in one shape: what stands before the record is the same in each, what
follows it has one length. Such lines need no decoder to find the record, only to check it: where
what is left between the two is exactly one JSON object, the line is exactly one message.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter, methodcaller
from typing import Final

_HEAD: Final = re.compile(
    rb'\{ ?"type": ?"RECORD", ?"stream": ?"([^"\\\x00-\x1f]+)", ?"record": ?\{'
)
_TAIL: Final = re.compile(
    rb'\}(?:, ?"version": ?([0-9]{1,18}))?(?:(, ?"time_extracted": ?")([ !#-\[\]-~]{1,40})")? ?\}\Z'
)
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]+")
_LONGEST_TAIL: Final = 128
_OPENING: Final = set(b"{")
_CLOSING: Final = set(b"}")
_first, _last = itemgetter(0), itemgetter(-1)
_LARGEST_BLOCK: Final = 1 << 20
"""Bytes: a larger block holds a line so long that copying it costs more than decoding it once."""


@dataclass(frozen=True)
class RecordRun:
    """Consecutive RECORD lines of one stream and version, not decoded.

    `records` holds what stands in the place of each record, from an opening to a closing brace;
    whether that is one JSON object is for the reader to find out, who falls back to decoding `text`
    where it is not.
    """

    stream: str
    version: int | None
    times: Sequence[str | None]
    """The `time_extracted` of each line, or a single one for all."""
    block: bytes
    """The records, a line each."""
    records: Sequence[bytes]
    text: bytes
    """The lines as they came."""


@dataclass(frozen=True)
class _Shape:
    """What the first line of a run shows."""

    head: bytes
    tail: re.Match[bytes]
    stream: str
    version: int | None

    @property
    def time(self) -> str | None:
        return None if self.tail[3] is None else self.tail[3].decode()


def split_runs(block: bytes) -> Iterator[RecordRun | bytes]:
    """Cut a block of whole lines into runs and, as they came, whatever lies between them."""
    if len(block) > _LARGEST_BLOCK:
        yield block
        return
    lines = block.split(b"\n")
    del lines[-1]
    whole = _equal_lines(block, lines)
    if whole is not None:
        yield whole
        return
    others: list[bytes] = []
    position = 0
    while position < len(lines):
        shape = _shape(lines[position])
        if shape is None:
            others.append(lines[position])
            position += 1
            continue
        part = _same_head(lines, position, shape.head)
        position += len(part)
        run = _run(shape, part)
        if run is None:
            others += part
            continue
        if others:
            yield _joined(others)
            others = []
        yield run
    if others:
        yield _joined(others)


def _shape(line: bytes) -> _Shape | None:
    head, tail = _HEAD.match(line), _TAIL.search(line[-_LONGEST_TAIL:])
    if head is None or tail is None:
        return None
    try:
        stream = head[1].decode()
    except UnicodeDecodeError:
        return None
    return _Shape(head[0], tail, stream, None if tail[1] is None else int(tail[1]))


def _equal_lines(block: bytes, lines: Sequence[bytes]) -> RecordRun | None:
    """The whole block, if every line has the same before and after its record."""
    shape = _shape(lines[0]) if lines else None
    if shape is None:
        return None
    records = _records(shape, lines)
    if not all(records):
        return None
    head, tail = shape.head[:-1], shape.tail[0][1:] + b"\n"
    if head + (tail + head).join(records) + tail != block or not _are_braced(records):
        return None
    return RecordRun(shape.stream, shape.version, (shape.time,), _joined(records), records, block)


def _are_braced(records: Sequence[bytes]) -> bool:
    return set(map(_first, records)) == _OPENING and set(map(_last, records)) == _CLOSING


def _records(shape: _Shape, lines: Sequence[bytes]) -> list[bytes]:
    start, end = len(shape.head) - 1, 1 - len(shape.tail[0])
    return [line[start:end] for line in lines] if end else [line[start:] for line in lines]


def _same_head(lines: Sequence[bytes], start: int, head: bytes) -> Sequence[bytes]:
    rest = lines[start:] if start else lines
    is_same = list(map(methodcaller("startswith", head), rest))
    return rest if all(is_same) else rest[: is_same.index(False)]


def _run(shape: _Shape, lines: Sequence[bytes]) -> RecordRun | None:
    times = _times(lines, shape)
    if times is None:
        return None
    records = _records(shape, lines)
    return RecordRun(shape.stream, shape.version, times, _joined(records), records, _joined(lines))


def _times(lines: Sequence[bytes], shape: _Shape) -> Sequence[str | None] | None:
    """The time of each line, one for all if it is the same; None where the tails differ."""
    tail = shape.tail
    if all(map(methodcaller("endswith", tail[0]), lines)):
        return (shape.time,)
    if tail[3] is None:
        return None
    end, before, after = len(tail[0]), tail.start(3) - tail.start(), tail.end() - tail.end(3)
    befores = set(map(itemgetter(slice(-end, before - end)), lines))
    afters = set(map(itemgetter(slice(-after, None)), lines))
    if befores != {tail[0][:before]} or afters != {tail[0][-after:]}:
        return None
    values = list(map(itemgetter(slice(before - end, -after)), lines))
    if not _PLAIN.fullmatch(b"".join(values)):
        return None
    return list(map(bytes.decode, values))


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"
