# SPDX-License-Identifier: Apache-2.0
"""Text out of bytes: byte order mark, else strict UTF-8, else what the bytes look like.

Bytes that do not fit the encoding are kept as lone surrogates, so that the row they are in can be
rejected with its very bytes and the others go on.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

import charset_normalizer

from ipai_kit.exceptions import ConfigurationError
from tap_files.exceptions import ValueTooLongError

__all__ = ["SAMPLE_BYTES", "TextLines", "detect_encoding", "holds_stray_bytes"]

SAMPLE_BYTES = 1 << 20
_GUESS_BYTES = 1 << 16
_CHUNK = 1 << 18
_HEAD = 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MANY_NULS = 0.2
_ASCII = 127
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_STRAY = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_ENOUGH_TO_GUESS = 32
_WESTERN = {"cp1250", "cp1252", "cp1254", "latin_1", "iso8859_1", "iso8859_15", "mac_roman"}


def detect_encoding(sample: bytes, wanted: str = "") -> str:
    """Return the encoding of a file by its first bytes, or the wanted one if it exists."""
    mark = next((name for bom, name in _MARKS if sample.startswith(bom)), "")
    if wanted:
        return _known(wanted, mark)
    if mark:
        return mark
    if wide := _without_mark(sample) or _wide_script(sample):
        return wide
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(sample, final=False)
    except UnicodeDecodeError as error:
        return _guessed(sample, error.start)
    return "utf-8"


def _known(wanted: str, mark: str) -> str:
    try:
        name = codecs.lookup(wanted).name
    except LookupError as error:
        message = f"There is no encoding {wanted!r}."
        raise ConfigurationError(
            message, next_step="Use a name like utf-8, cp1252, utf-16."
        ) from error
    return mark if mark and name.replace("_", "-").startswith(mark.removesuffix("-sig")) else name


def _without_mark(sample: bytes) -> str:
    """UTF-16 without a mark has NULs in every other place where it is mostly Latin text."""
    head = sample[:4096]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if len(head) < 4 or max(even, odd) < _MANY_NULS * len(head) or min(even, odd) * 10 > len(head):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _guessed(sample: bytes, first: int) -> str:
    """A few bad bytes make no other encoding of UTF-8; western text is taken for cp1252."""
    if _is_mostly_utf8(sample):
        return "utf-8"
    if sum(byte > _ASCII for byte in sample[first : first + _GUESS_BYTES]) < _ENOUGH_TO_GUESS:
        return "cp1252"
    start = max(0, first - _GUESS_BYTES // 2)
    best = charset_normalizer.from_bytes(sample[start : start + _GUESS_BYTES]).best()
    if best is None or best.encoding in _WESTERN or best.encoding.startswith("utf"):
        return "cp1252"
    return best.encoding


def _wide_script(sample: bytes) -> str:
    """UTF-16 without a mark in any script: read as such it has lines and no control characters."""
    if b"\0" in sample:
        for name in ("utf-16-le", "utf-16-be"):
            try:
                text = codecs.getincrementaldecoder(name)("strict").decode(sample, final=False)
            except UnicodeDecodeError:
                continue
            if ("\n" in text or "\r" in text) and not _CONTROL.search(text):
                return name
    return ""


def _is_mostly_utf8(sample: bytes) -> bool:
    """Whether more characters are whole ones of UTF-8 than there are bytes that fit nowhere."""
    text = sample.decode("utf-8", "surrogateescape")
    stray = len(_STRAY.findall(text))
    return len(_BEYOND_ASCII.findall(text)) > 2 * stray


class TextLines:
    r"""Gives lines with their own ends, which are \n, \r\n or \r, also mixed.

    `taken` holds the lines since `begin()`; they can be given back, to be read once more.
    """

    def __init__(self, content: BinaryIO, encoding: str, longest: int) -> None:
        errors = _errors(encoding)
        self._reader = io.TextIOWrapper(content, encoding, errors=errors, newline="")
        self._reader._CHUNK_SIZE = _CHUNK  # type: ignore[attr-defined]
        self._longest = longest
        self._again: deque[str] = deque()
        self.encoding = encoding
        self.number = 0
        self.taken: list[str] = []
        self.has_stray_bytes = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._reader.readline(self._longest + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > self._longest:
            self._pass_over(line)
        self.taken.append(line)
        if not line.isascii() and holds_stray_bytes(line):
            self.has_stray_bytes = True
        return line

    def begin(self) -> int:
        """Start a record; returns the number of its first line."""
        self.taken.clear()
        self.has_stray_bytes = False
        return self.number + 1

    def give_back_all_but_first(self) -> str:
        """Let the lines after the first come again; returns the first."""
        first, *rest = self.taken
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)
        return first

    def raw(self, text: str) -> bytes:
        """Return the bytes that a text of this file was made of."""
        name = self.encoding.removesuffix("-sig")
        return text.encode(name, _errors(name))

    @property
    def taken_bytes(self) -> bytes:
        """The bytes of the record under way."""
        return self.raw("".join(self.taken))

    def _pass_over(self, line: str) -> None:
        head = "".join(self.taken)[:_HEAD] + line[:_HEAD]
        while line and not line.endswith(("\n", "\r")):
            line = self._reader.readline(_CHUNK)
        raise ValueTooLongError(head)


def _errors(encoding: str) -> str:
    """How bytes that are no text are kept: half a pair of UTF-16 is a lone surrogate already."""
    return "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def holds_stray_bytes(line: str) -> bool:
    """Say whether the line has bytes that are no text in its file's encoding."""
    if line.isascii():
        return False
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
