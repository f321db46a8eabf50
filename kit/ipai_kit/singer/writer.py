# SPDX-License-Identifier: Apache-2.0
"""The fast lane out: Singer messages to standard output, whole pages at a time."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, TypeAlias

import msgspec
from singer_sdk.io_base import GenericSingerWriter
from singer_sdk.singerlib.encoding.simple import Message

from ipai_kit.exceptions import TargetClosedError

Buffer: TypeAlias = bytes | memoryview | msgspec.Raw

__all__ = ["Buffer", "FastWriter", "record_line_parts"]

_FLUSH_BYTES = 256 * 1024
_BLANK_OR_BRACE = b" \t\r\n{"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.datetime | datetime.date) else str(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")


class _RecordLine(msgspec.Struct, tag_field="type", tag="RECORD", omit_defaults=True):
    """A RECORD message whose record is any JSON value."""

    stream: str
    record: Any
    time_extracted: str | None = None
    version: int | None = None


def record_line_parts(stream: str, extracted_at: str, version: int | None) -> tuple[bytes, bytes]:
    """Return what stands before and after the record's own bytes in a RECORD line."""
    head = b'{"type":"RECORD","stream":' + _encoder.encode(stream) + b',"record":'
    tail = b',"time_extracted":' + _encoder.encode(extracted_at)
    if version is not None:
        tail += b',"version":' + _encoder.encode(version)
    return head, tail + b"}\n"


class FastWriter(GenericSingerWriter[bytes, Message]):
    """Buffers RECORD lines; a STATE line always leaves together with everything before it."""

    def __init__(self, output: BinaryIO | None = None) -> None:
        self._output = output
        self._buffer: list[bytes] = []
        self._buffered = 0

    def serialize_message(self, message: Message) -> bytes:
        """Encode one message as a line; numbers keep every digit."""
        return _encoder.encode(message.to_dict()) + b"\n"

    def write_message(self, message: Message) -> None:
        """Write a message; anything but a RECORD is passed on at once."""
        self.write_lines(self.serialize_message(message))
        if message.type != "RECORD":
            self.flush()

    def write_lines(self, lines: bytes) -> None:
        """Write whole lines that are already encoded."""
        self._buffer.append(lines)
        self._buffered += len(lines)
        if self._buffered >= _FLUSH_BYTES:
            self.flush()

    def write_raw_records(
        self,
        stream: str,
        records: Sequence[Buffer],
        extracted_at: str,
        *,
        version: int | None = None,
        extra: bytes = b"",
    ) -> None:
        """Write records that are JSON objects in bytes; `extra` members are put at their end."""
        if not records:
            return
        head, tail = record_line_parts(stream, extracted_at, version)
        if extra:
            tail = extra + b"}" + tail
            records = [_opened(memoryview(record)[:-1]) for record in records]
        self.write_lines(head + (tail + head).join(records) + tail)

    def write_dict_records(
        self,
        stream: str,
        records: Iterable[Any],
        extracted_at: str | None = None,
        *,
        version: int | None = None,
    ) -> None:
        """Write records that are Python values."""
        lines = [_RecordLine(stream, record, extracted_at, version) for record in records]
        if lines:
            self.write_lines(_encoder.encode_lines(lines))

    def flush(self) -> None:
        """Hand everything to the reader of standard output."""
        if not self._buffer:
            return
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        output = self._output or _standard_output()
        try:
            output.write(data)
            output.flush()
        except BrokenPipeError as error:
            _silence_standard_output()
            raise TargetClosedError from error


def _opened(body: memoryview) -> bytes:
    """Return an object without its closing brace, ready for one more member."""
    if body[-1] in _BLANK_OR_BRACE and bytes(body).rstrip() == b"{":
        return b"{"
    return bytes(body) + b","


def _standard_output() -> BinaryIO:
    sys.stdout.flush()
    return sys.stdout.buffer


def _silence_standard_output() -> None:
    """Keep the interpreter from failing once more when it closes standard output."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), descriptor)
