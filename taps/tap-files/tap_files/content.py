# SPDX-License-Identifier: Apache-2.0
"""The bytes of a file: unpacked by what they begin with, whatever the name says."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import shutil
import tempfile
from typing import Any, BinaryIO, cast

from ipai_kit.exceptions import ConfigurationError

__all__ = ["peeked", "seekable", "unpacked"]

_BUFFER = 1 << 18
_IN_MEMORY = 1 << 24
_ZSTD = b"\x28\xb5\x2f\xfd"


class _Prefixed(io.RawIOBase):
    """Some bytes that were read already, then the rest of a stream."""

    def __init__(self, prefix: bytes, rest: BinaryIO) -> None:
        self._prefix = memoryview(prefix)
        self._rest = rest

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer."""
        target = memoryview(buffer).cast("B")
        part: Any = self._prefix[: len(target)]
        if self._prefix:
            self._prefix = self._prefix[len(target) :]
        else:
            part = self._rest.read(len(target))
        size = len(memoryview(part))
        target[:size] = part
        return size


def peeked(content: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """Return the first bytes, and a stream that still begins with them."""
    parts, left = [], size
    while left and (part := content.read(left)):
        parts.append(part)
        left -= len(part)
    sample = b"".join(parts)
    return sample, cast("BinaryIO", io.BufferedReader(_Prefixed(sample, content), _BUFFER))


def unpacked(content: BinaryIO) -> BinaryIO:
    """Return what a gzip, bzip2, xz or zstd file holds; other files as they are."""
    magic, stream = peeked(content, 6)
    if magic.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    if magic.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(stream))
    if magic.startswith(b"\xfd7zXZ\x00"):
        return cast("BinaryIO", lzma.LZMAFile(stream))
    if magic.startswith(_ZSTD):
        return _zstd(stream)
    return stream


def seekable(content: BinaryIO) -> BinaryIO:
    """Return a stream that can go back; what cannot is copied, to a file when it is large."""
    if content.seekable():
        return content
    copy = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - lives as long as its reader
    shutil.copyfileobj(content, copy, _BUFFER)
    copy.seek(0)
    return cast("BinaryIO", copy)


def _zstd(stream: BinaryIO) -> BinaryIO:
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return cast("BinaryIO", importlib.import_module(module).ZstdFile(stream))
        except ImportError:
            continue
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        message = "A zstd file cannot be unpacked: no library for it is installed."
        raise ConfigurationError(message, next_step="Install zstandard.") from error
    reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return cast("BinaryIO", io.BufferedReader(reader, _BUFFER))
