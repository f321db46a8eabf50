# SPDX-License-Identifier: Apache-2.0
"""The bytes of a file: unpacked by what they begin with, whatever the name says."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import pyarrow as pa  # type: ignore[import-untyped]

__all__ = ["copied", "peeked", "seekable", "unpacked"]

_BUFFER = 1 << 18
_IN_MEMORY = 1 << 24
_ZSTD = b"\x28\xb5\x2f\xfd"


class _Prefixed(io.RawIOBase):
    """Some bytes that were read already, then the rest of a stream, or the error it ended with."""

    def __init__(self, prefix: bytes, rest: BinaryIO, error: Exception | None = None) -> None:
        self._prefix = memoryview(prefix)
        self._read = getattr(rest, "read1", rest.read)
        self._rest = rest  # else it might be closed
        self._error = error

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer."""
        target = memoryview(buffer).cast("B")
        part: Any = self._prefix[: len(target)]
        if self._prefix:
            self._prefix = self._prefix[len(target) :]
        elif self._error is not None:
            raise self._error
        else:
            part = self._read(len(target))
        size = len(memoryview(part))
        target[:size] = part
        return size


class _Parts(io.RawIOBase):
    """Compressed parts one behind the other; Python's own readers drop a damaged one silently."""

    def __init__(self, packed: BinaryIO, begin: Callable[[], Any]) -> None:
        self._packed = packed
        self._begin = begin
        self._part = begin()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer."""
        target = memoryview(buffer).cast("B")
        while True:
            data = b""
            if self._part.eof:
                data = self._next_part()
                if not data:
                    return 0
                self._part = self._begin()
            elif self._part.needs_input:
                data = self._packed.read(_BUFFER)
                if not data:
                    message = "it ends too early"
                    raise EOFError(message)
            if found := self._part.decompress(data, len(target)):
                target[: len(found)] = found
                return len(found)

    def _next_part(self) -> bytes:
        """Return the beginning of the next part; parts may be padded with NULs."""
        data: bytes = self._part.unused_data.lstrip(b"\0")
        while not data and (more := self._packed.read(_BUFFER)):
            data = more.lstrip(b"\0")
        return data


def peeked(content: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """Return the first bytes, and a stream that still begins with them.

    Damage behind them is met where it is, not before what comes ahead of it was read.
    """
    read = getattr(content, "read1", content.read)
    parts: list[bytes] = []
    left, damage = size, None
    try:
        while left and (part := read(left)):
            parts.append(part)
            left -= len(part)
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        damage = error
    sample = b"".join(parts)
    raw = _Prefixed(sample, content, damage)
    return sample, cast("BinaryIO", io.BufferedReader(raw, _BUFFER))


def unpacked(content: BinaryIO) -> BinaryIO:
    """Return what a gzip, bzip2, xz or zstd file holds; other files as they are."""
    magic, stream = peeked(content, 6)
    if magic.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    if magic.startswith(b"BZh"):
        return cast("BinaryIO", io.BufferedReader(_Parts(stream, bz2.BZ2Decompressor), _BUFFER))
    if magic.startswith(b"\xfd7zXZ\x00"):
        return cast("BinaryIO", io.BufferedReader(_Parts(stream, lzma.LZMADecompressor), _BUFFER))
    if magic.startswith(_ZSTD):
        return _zstd(stream)
    return stream


def seekable(content: BinaryIO) -> BinaryIO:
    """Return a stream that can go back; what cannot is copied, to a file when it is large."""
    return content if content.seekable() else copied(content)


def copied(content: BinaryIO) -> BinaryIO:
    """Return a copy that can go back."""
    copy = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - lives as long as its reader
    shutil.copyfileobj(content, copy, _BUFFER)
    copy.seek(0)
    return cast("BinaryIO", copy)


def _zstd(stream: BinaryIO) -> BinaryIO:
    """By Arrow: the usual binding takes a cut-off file for a whole one."""
    reader = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    return cast("BinaryIO", io.BufferedReader(_Prefixed(b"", reader), _BUFFER))
