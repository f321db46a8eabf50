# SPDX-License-Identifier: Apache-2.0
"""The fast lane out: Singer messages to standard output, whole pages at a time.

With a folder for batch files the records go there, and BATCH messages take their places.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, TypeAlias

import msgspec
from singer_sdk.io_base import GenericSingerWriter
from singer_sdk.singerlib.encoding.simple import Message
from singer_sdk.singerlib.messages import RecordMessage

from ipai_kit.exceptions import InternalError, TargetClosedError
from ipai_kit.singer.batch_files import BatchFolder, HandedFile
from ipai_kit.singer.output import standard_output, write_whole

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


class _BatchLine(msgspec.Struct, tag_field="type", tag="BATCH", omit_defaults=True):
    """A BATCH message."""

    stream: str
    encoding: dict[str, str]
    manifest: list[str]
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

    batches: BatchFolder | None = None
    """Where records go instead, if they are to be handed over in files."""

    def __init__(self, output: BinaryIO | None = None) -> None:
        self._output = output
        self._buffer: list[bytes | memoryview] = []
        self._buffered = 0

    def serialize_message(self, message: Message) -> bytes:
        """Encode one message as a line; numbers keep every digit."""
        return _encoder.encode(message.to_dict()) + b"\n"

    def write_message(self, message: Message) -> None:
        """Write a message; anything but a RECORD is passed on at once, with what came before."""
        if self.batches is not None:
            if isinstance(message, RecordMessage):
                self.write_dict_records(message.stream, [message.record], version=message.version)
                return
            self._hand_over()
        self.write_lines(self.serialize_message(message))
        if message.type != "RECORD":
            self.flush()

    def write_lines(self, lines: bytes) -> None:
        """Write whole lines that are already encoded."""
        self._buffer.append(lines)
        self._buffered += len(lines)
        if self._buffered >= _FLUSH_BYTES:
            self._flush_lines()

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
        if self.batches is not None:
            head, tail = b"", b"\n"
        if extra:
            tail = extra + b"}" + tail
            records = [_opened(memoryview(record)[:-1]) for record in records]
        if self.batches is not None:
            lines = tail.join(records) + tail
            if self.batches.add_lines(stream, lines, len(records), version):
                self._hand_over(stream)
            return
        self.write_lines(head + (tail + head).join(records) + tail)

    def write_record_lines(
        self,
        stream: str,
        lines: bytes,
        count: int,
        extracted_at: str,
        *,
        version: int | None = None,
    ) -> None:
        """Write records that are JSON objects in bytes, each followed by the only newline."""
        if not lines:
            return
        if self.batches is not None:
            if self.batches.add_lines(stream, lines, count, version):
                self._hand_over(stream)
            return
        head, tail = record_line_parts(stream, extracted_at, version)
        framed = lines.replace(b"\n", tail + head)  # which begins one record too many
        self._buffer += (head, memoryview(framed)[: -len(head)])
        self._buffered += len(framed)
        if self._buffered >= _FLUSH_BYTES:
            self._flush_lines()

    def write_dict_records(
        self,
        stream: str,
        records: Iterable[Any],
        extracted_at: str | None = None,
        *,
        version: int | None = None,
    ) -> None:
        """Write records that are Python values."""
        if self.batches is not None:
            self._batch_dicts(stream, list(records), version)
            return
        lines = [_RecordLine(stream, record, extracted_at, version) for record in records]
        if lines:
            self.write_lines(_encoder.encode_lines(lines))

    def write_columns(self, stream: str, batch: Any, *, version: int | None = None) -> None:
        """Put a record batch of Arrow into the stream's Parquet file."""
        if self.batches is None or self.batches.format != "parquet":
            message = f"Columns of {stream!r} arrived, but no Parquet files are wanted."
            raise InternalError(message, stream=stream)
        if self.batches.add_columns(stream, batch, version):
            self._hand_over(stream)

    def write_file(self, stream: str, file: HandedFile, version: int | None = None) -> None:
        """Hand a complete file over."""
        encoding = {"format": file.format, "compression": file.compression}
        line = _BatchLine(stream, encoding, [file.path.as_uri()], version)
        self.write_lines(_encoder.encode(line) + b"\n")

    def _batch_dicts(self, stream: str, records: list[Any], version: int | None) -> None:
        batches = self.batches
        if batches is None or not records:
            return
        if batches.format == "parquet":
            is_full = batches.add_rows(stream, records, version)
        else:
            lines = _encoder.encode_lines(records)
            is_full = batches.add_lines(stream, lines, len(records), version)
        if is_full:
            self._hand_over(stream)

    def _hand_over(self, stream: str | None = None) -> None:
        if self.batches is not None:
            for name, version, file in self.batches.finish(stream):
                self.write_file(name, file, version)

    def discard(self) -> None:
        """Remove the files that are not complete; their records were never handed over."""
        if self.batches is not None:
            self.batches.discard()

    def flush(self) -> None:
        """Hand everything to the reader of standard output, open files as well."""
        self._hand_over()
        self._flush_lines()

    def _flush_lines(self) -> None:
        if not self._buffer:
            return
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        try:
            write_whole(self._output or standard_output(), data)
        except BrokenPipeError as error:
            _silence_standard_output()
            raise TargetClosedError from error


def _opened(body: memoryview) -> bytes:
    """Return an object without its closing brace, ready for one more member."""
    if body[-1] in _BLANK_OR_BRACE and bytes(body).rstrip() == b"{":
        return b"{"
    return bytes(body) + b","


def _silence_standard_output() -> None:
    """Keep the interpreter from failing once more when it closes standard output."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), descriptor)
