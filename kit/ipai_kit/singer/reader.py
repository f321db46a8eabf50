# SPDX-License-Identifier: Apache-2.0
"""The fast lane in: Singer messages out of a byte stream, records left as bytes.

A block of whole lines is decoded in one call. Only when that fails (or a message is not exactly one
line) is the block taken line by line, to tell a record that cannot be landed from a broken input.
"""

import contextlib
import fcntl
import json
import os
import re
import select
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Annotated, Any, Final, Protocol

import msgspec

from ipai_kit.bronze import RejectionReason
from ipai_kit.exceptions import ConnectorError

BLOCK_BYTES: Final = 1 << 17
"""Small enough to stay in the processor's cache until its records are taken apart."""
PIPE_BYTES: Final = 1 << 20
LARGE_LINE_BYTES: Final = 1 << 24
"""What a line takes while it is read and landed is several times its size."""
_JOINED_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 1 << 30
_HEAD_LENGTH: Final = 80
_PROTOCOL_WORDS: Final = frozenset(
    (
        *("type", "stream", "record", "value", "version", "schema", "time_extracted"),
        *("key_properties", "bookmark_properties", "encoding", "manifest"),
        *("RECORD", "STATE", "SCHEMA", "ACTIVATE_VERSION", "BATCH"),
    )
)
_WORD: Final = re.compile(r"\w+")
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""Of UTF-8, and of UTF-16 as some shells write it when they redirect."""
_NOTHING: Final = msgspec.Raw(b"")
NUL_ESCAPE: Final = b"\\u0000"


class InputError(ConnectorError):
    """The input is not a Singer stream that can be landed."""

    exit_code = 65


_Bigint = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_WholeFloat = Annotated[float, msgspec.Meta(ge=-(2.0**63), lt=2.0**63)]


class Message(msgspec.Struct, gc=False):
    """Any Singer message; what only some of them have stays undecoded."""

    type: str
    stream: str = ""
    record: msgspec.Raw = _NOTHING
    time_extracted: str | None = None
    version: _Bigint | _WholeFloat | None = None
    schema: msgspec.Raw = _NOTHING
    value: msgspec.Raw = _NOTHING
    key_properties: list[str] | None = None
    bookmark_properties: list[str] | str | None = None
    encoding: msgspec.Raw = _NOTHING
    manifest: msgspec.Raw = _NOTHING


class RejectedMessage(Message, gc=False):
    """A RECORD whose line is not strict JSON; `record` is the whole line as it came."""

    reason: RejectionReason = RejectionReason.INVALID_JSON
    error: str = ""


@dataclass(frozen=True)
class DecodedBlock:
    """Messages in order with their line numbers, and what ended them, if anything did.

    `may_hold_nul`: an escaped NUL character, which neither jsonb nor text of Postgres can hold, may
    be in a record; looking for it costs next to nothing per block.
    """

    messages: Sequence[Message]
    lines: Sequence[int]
    may_hold_nul: bool
    fault: InputError | None = None


@dataclass
class MessageDecoder:
    """Decodes blocks of whole lines, counting lines."""

    line_count: int = 0

    def decode(self, block: bytes, *, is_cut_off: bool = False) -> DecodedBlock:
        """Messages of a block; `is_cut_off` says that the input ended without a newline."""
        first = self.line_count + 1
        expected = block.count(b"\n") + is_cut_off
        try:
            messages = _decode_lines(block)
        except _UNDECODABLE:
            return self._decode_each(block, is_cut_off=is_cut_off)
        if len(messages) != expected:
            return self._decode_each(block, is_cut_off=is_cut_off)
        self.line_count += expected
        return DecodedBlock(messages, range(first, first + expected), NUL_ESCAPE in block)

    def _decode_each(self, block: bytes, *, is_cut_off: bool) -> DecodedBlock:
        messages: list[Message] = []
        lines: list[int] = []
        texts = block.split(b"\n") if is_cut_off else block.split(b"\n")[:-1]
        for position, text in enumerate(texts, 1):
            self.line_count += 1
            if not text.strip():
                continue
            try:
                messages.append(_decode_one(text))
            except _UNDECODABLE as error:
                ended = is_cut_off and position == len(texts)
                fault = malformed_line(self.line_count, text, str(error), is_cut_off=ended)
                return DecodedBlock(messages, lines, NUL_ESCAPE in block, fault)
            lines.append(self.line_count)
        return DecodedBlock(messages, lines, NUL_ESCAPE in block)


@dataclass
class LineBlocks:
    """Joins chunks of a byte stream into blocks that end with a newline."""

    _parts: list[bytes | bytearray] = field(default_factory=list)
    _size: int = 0

    def feed(self, chunk: bytes) -> bytes | None:
        """The longest block of whole lines now complete, or None."""
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            self._keep(chunk)
            return None
        parts, self._parts, self._size = self._parts, [], 0
        block = b"".join((*parts, memoryview(chunk)[:cut])) if parts else chunk[:cut]
        if cut < len(chunk):
            self._keep(chunk[cut:])
        return block

    @property
    def is_large(self) -> bool:
        """Whether a line that has only begun is a large one."""
        return self._size > LARGE_LINE_BYTES

    def rest(self) -> bytes:
        """Hand over what followed the last newline; it is not kept: it may be large."""
        parts, self._parts, self._size = self._parts, [], 0
        return b"".join(parts)

    def _keep(self, chunk: bytes) -> None:
        if self._size > _JOINED_BYTES:  # many small parts would leave their memory in pieces
            if not isinstance(self._parts[0], bytearray):
                self._parts = [bytearray().join(self._parts)]
            self._parts[0] += chunk
        else:
            self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_LINE_BYTES:
            message = f"A line of the input is longer than {MAX_LINE_BYTES} bytes."
            raise InputError(
                message, next_step="No record of this size can be stored: look at the tap."
            )


class ByteSource(Protocol):
    """Where the messages come from."""

    def wait(self, seconds: float | None) -> bool:
        """Whether there is something to read (or the end) within this time."""

    def read(self) -> bytes:
        """Some bytes; none at the end of the input."""


@dataclass
class FileDescriptorSource:
    """A pipe or file read without buffering, watched together with a descriptor that interrupts."""

    descriptor: int
    wake_descriptor: int

    def __post_init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(self.descriptor, select.POLLIN)
        self._poll.register(self.wake_descriptor, select.POLLIN)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def wait(self, seconds: float | None) -> bool:
        """Whether the input is ready; False after the time or when woken."""
        timeout = None if seconds is None else max(0, int(seconds * 1000))
        ready = {descriptor for descriptor, _ in self._poll.poll(timeout)}
        if self.wake_descriptor in ready:
            os.read(self.wake_descriptor, BLOCK_BYTES)
            return False
        return self.descriptor in ready

    def read(self) -> bytes:
        """Up to one block."""
        return os.read(self.descriptor, BLOCK_BYTES)


@dataclass
class TextSource:
    """A text file object without a descriptor."""

    stream: IO[str] | IO[bytes]

    def wait(self, seconds: float | None) -> bool:  # noqa: ARG002 - a file is always ready
        """Always ready."""
        return True

    def read(self) -> bytes:
        """Up to one block."""
        data = self.stream.read(BLOCK_BYTES)
        return data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data


def open_source(stream: IO[str] | IO[bytes], wake_descriptor: int) -> ByteSource:
    """Read a file object by its descriptor where it has one."""
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):
        return TextSource(stream)
    return FileDescriptorSource(descriptor, wake_descriptor)


def malformed_line(line: int, text: bytes, error: str, *, is_cut_off: bool = False) -> InputError:
    """The error for a line that is no Singer message; shows its shape but none of its values."""
    if line == 1 and text.startswith(_BYTE_ORDER_MARKS):
        return InputError(
            "The input starts with a byte order mark (BOM), which no Singer message has.",
            next_step="Have the tap, or what wrote its output to a file, write UTF-8 without it.",
        )
    what = "ends inside a message" if is_cut_off else "is not a Singer message"
    return InputError(
        f"Line {line} of the input {what}: {error}. It starts with {redacted_head(text)!r}",
        stream=_stream_of(text),
        next_step="Look at the tap: nothing but messages may go to its standard output.",
    )


def redacted_head(line: bytes) -> str:
    """The start of a line with every word that is not Singer's own masked."""
    text = line[: _HEAD_LENGTH * 2].decode("utf-8", "replace")[:_HEAD_LENGTH]
    return _WORD.sub(
        lambda word: word[0] if word[0] in _PROTOCOL_WORDS else "x" * len(word[0]), text
    )


def _stream_of(line: bytes) -> str | None:
    """The stream of a line that at least begins like a message."""
    start = line[:_AROUND].partition(b'"record"')[0]
    stream = _STREAM.search(start)
    return stream[1].decode("utf-8", "replace") if stream and _MESSAGE_TYPE.search(start) else None


def _decode_one(line: bytes) -> Message:
    try:
        return _decode(line)
    except msgspec.ValidationError:
        raise
    except _UNDECODABLE as error:
        rejected = _rejected_record(line, error)
        if rejected is None:
            raise
        return rejected


def _rejected_record(line: bytes, error: Exception) -> RejectedMessage | None:
    """The RECORD that a lenient reader sees in the line (NaN, lone surrogates, too deep)."""
    head = _nested_too_deep(line) if isinstance(error, RecursionError) else _lenient(line)
    stream = head.get("stream")
    if head.get("type") != "RECORD" or not isinstance(stream, str) or "record" not in head:
        return None
    return RejectedMessage("REJECTED", stream, msgspec.Raw(line), error=_why_refused(line, error))


def _why_refused(line: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "The record is nested too deep to be read."
    if b"\\ud" in line.lower() and ("surrogate" in str(error) or "truncated" in str(error)):
        return "A text holds half of a surrogate pair, which is no character."
    return str(error)


def _lenient(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _nested_too_deep(line: bytes) -> dict[str, Any]:
    """Type and stream of a line that no parser here can walk through, from around the record."""
    start = line.find(b'"record"')
    if start < 0:
        return {}
    around = line[max(0, start - _AROUND) : start] + line[-_AROUND:]
    stream = _STREAM.search(around)
    if not _RECORD_TYPE.search(around) or stream is None:
        return {}
    return {"type": "RECORD", "stream": stream[1].decode("utf-8", "replace"), "record": None}


_AROUND: Final = 1024
_MESSAGE_TYPE: Final = re.compile(rb'^\s*\{\s*"type"\s*:\s*"[A-Z_]+"')
_RECORD_TYPE: Final = re.compile(rb'"type"\s*:\s*"RECORD"')
_STREAM: Final = re.compile(rb'"stream"\s*:\s*"([^"\\]+)"')
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_decoder = msgspec.json.Decoder(Message)
_decode = _decoder.decode
_decode_lines = _decoder.decode_lines
