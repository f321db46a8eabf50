# SPDX-License-Identifier: Apache-2.0
"""Records of JSON lines and JSON documents; their bytes stay as they are, every digit of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from ipai_kit.exceptions import ConfigurationError
from tap_files.content import peeked
from tap_files.encoding import SAMPLE_BYTES, TextLines, detect_encoding
from tap_files.exceptions import UnreadableFileError, ValueTooLongError
from tap_files.patterns import Pattern
from tap_files.rows import Rejected, Row

__all__ = ["read_json_document", "read_json_lines"]

_HEAD = 1024
_UTF8 = {"utf-8", "utf-8-sig", "ascii"}
_MARK = b"\xef\xbb\xbf"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_whole = msgspec.json.Decoder(msgspec.Raw).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_syntax = msgspec.json.Decoder(msgspec.defstruct("_Object", [])).decode
"""Goes through an object without building any of it."""
_INVALID = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_json_lines(content: BinaryIO, pattern: Pattern, longest: int) -> Iterator[Row | Rejected]:
    """Yield one record a line; a line that is no JSON object is rejected."""
    sample, stream = peeked(content, SAMPLE_BYTES)
    encoding = detect_encoding(sample, pattern.encoding)
    lines = _byte_lines if encoding in _UTF8 else _text_lines
    for number, line in lines(stream, encoding, longest):
        if isinstance(line, Rejected):
            yield line
            continue
        if pattern.append_only and not line.endswith(b"\n"):
            return  # not complete yet: the next run reads it
        record = line.strip()
        if record:
            yield _checked(number, record)


def read_json_document(
    content: BinaryIO, pattern: Pattern, longest: int
) -> Iterator[Row | Rejected]:
    """Yield the records of an array, or the one object, at `records_path`."""
    data = content.read(longest + 1)
    if len(data) > longest:
        message = f"The document is longer than 'max_value_bytes', {longest}."
        raise UnreadableFileError(message, next_step="Raise the setting, or deliver JSON lines.")
    encoding = detect_encoding(data[:SAMPLE_BYTES], pattern.encoding)
    try:
        text = data.removeprefix(_MARK)
        if encoding not in _UTF8:
            text = data.decode(encoding).removeprefix("\ufeff").encode()
        records = _found(text, pattern)
    except (*_INVALID, UnicodeError) as error:
        message = f"It is no JSON document: {error}."
        raise UnreadableFileError(message, next_step=_advice(data)) from error
    for number, record in enumerate(records, 1):
        yield _checked(number, bytes(record))


def _found(text: bytes, pattern: Pattern) -> list[msgspec.Raw]:
    place = _whole(text.strip())
    for name in filter(None, pattern.records_path.split(".")):
        try:
            members = _members(place)
        except msgspec.ValidationError:
            members = {}
        if name not in members:
            message = f"The document has no member {name!r} of {pattern.records_path!r}."
            raise ConfigurationError(
                message, stream=pattern.name, next_step="Correct 'records_path'."
            )
        place = members[name]
    return _items(place) if bytes(place)[:1] == b"[" else [place]


def _checked(number: int, record: bytes) -> Row | Rejected:
    try:
        _syntax(record)
        if not record.isascii():
            record.decode()
    except msgspec.ValidationError:
        return Rejected(number, f"Record {number} is no JSON object.", record)
    except _INVALID as error:
        return Rejected(number, f"Record {number} is no JSON: {error}.", record)
    return number, record


def _byte_lines(
    content: BinaryIO, encoding: str, longest: int
) -> Iterator[tuple[int, bytes | Rejected]]:
    del encoding
    number = 0
    while line := content.readline(longest + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_MARK)
        if len(line) > longest:
            head = line[:_HEAD]
            while line and not line.endswith(b"\n"):
                line = content.readline(1 << 18)
            yield number, _too_long(number, head)
        else:
            yield number, line


def _text_lines(
    content: BinaryIO, encoding: str, longest: int
) -> Iterator[tuple[int, bytes | Rejected]]:
    lines = TextLines(content, encoding, longest)
    while True:
        number = lines.begin()
        try:
            line = next(lines)
        except StopIteration:
            return
        except ValueTooLongError as error:
            yield number, _too_long(number, error.head.encode("utf-8", "replace"))
            continue
        if lines.has_stray_bytes:
            reason = f"Line {number} has bytes that are not {encoding}. Set 'encoding'."
            yield number, Rejected(number, reason, lines.taken_bytes)
        else:
            yield number, line.removeprefix("\ufeff").encode()


def _too_long(number: int, head: bytes) -> Rejected:
    reason = f"Line {number} is longer than 'max_value_bytes'; this is its start."
    return Rejected(number, reason, head)


def _advice(data: bytes) -> str:
    lines = data[:SAMPLE_BYTES].lstrip().split(b"\n", 2)
    try:
        _members(lines[0])
    except (*_INVALID, msgspec.ValidationError):
        return "Deliver it anew."
    return "It looks like JSON lines: set 'format' to 'jsonl'."
