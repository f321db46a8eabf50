# SPDX-License-Identifier: Apache-2.0
"""CSV and its kin, row by row; what cannot be read is rejected with its line, never dropped.

A quote that is never closed would swallow the rest of the file. Here it costs one line: the line
that opens it is rejected, and reading goes on with the next.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from tap_files.content import peeked
from tap_files.encoding import SAMPLE_BYTES, TextLines, detect_encoding
from tap_files.exceptions import UnreadableFileError, ValueTooLongError
from tap_files.headers import column_names, merged_headers
from tap_files.patterns import Pattern
from tap_files.rows import EXTRA, Rejected, Row
from tap_files.values import Convert, MismatchError, converter, kind_of

__all__ = ["Delimited", "Dialect", "find_delimiter"]

_DELIMITERS = ",;\t|"
_LINES_TO_TRY = 200
_SEPARATOR_LINE = "sep="
_LINE_END = re.compile(r"[\r\n]")


@dataclass(frozen=True)
class Dialect:
    """How a file is written; `separator_line` is Excel's own first line `sep=;`."""

    delimiter: str
    quote: str
    escape: str = ""
    separator_line: bool = False

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Return the rows of some lines; a malformed one raises csv.Error."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape or None,
            strict=True,
        )


def find_dialect(sample: str, pattern: Pattern) -> Dialect:
    """Return the dialect by the settings, and by the first lines where they are silent."""
    first = _LINE_END.split(sample, 1)[0]
    says = first.lower().startswith(_SEPARATOR_LINE) and len(first) == len(_SEPARATOR_LINE) + 1
    told = first[-1] if says else ""
    delimiter = pattern.delimiter or told or find_delimiter(sample, pattern.quote)
    return Dialect(delimiter, pattern.quote, pattern.escape, separator_line=says)


def find_delimiter(sample: str, quote: str = '"') -> str:
    """Return the character that cuts most lines into the same number of cells."""
    lines = sample.splitlines(keepends=True)[:_LINES_TO_TRY]
    return max(_DELIMITERS, key=lambda one: (_score(lines, one, quote), -_DELIMITERS.index(one)))


def _score(lines: list[str], delimiter: str, quote: str) -> float:
    rows = Dialect(delimiter, quote).reader(iter(lines))
    widths = []
    with contextlib.suppress(csv.Error):  # the sample may end within quotes: what came counts
        for row in rows:
            widths += [len(row)] if row else []
    if not widths:
        return 0
    usual = max(set(widths), key=widths.count)
    return widths.count(usual) / len(widths) if usual > 1 else 0


class Delimited:
    """The rows of one file."""

    def __init__(
        self,
        content: BinaryIO,
        pattern: Pattern,
        properties: Mapping[str, Mapping[str, Any]],
        longest: int,
    ) -> None:
        self._pattern = pattern
        self._properties = properties
        sample, content = peeked(content, SAMPLE_BYTES)
        self.encoding = detect_encoding(sample, pattern.encoding)
        text = sample.decode(self.encoding, "replace")
        self.dialect = find_dialect(text.removeprefix("\ufeff"), pattern)
        csv.field_size_limit(longest)
        self._lines = TextLines(content, self.encoding, longest)
        self._rows = self.dialect.reader(self._lines)
        self.names: list[str] = []

    def read(self) -> Iterator[Row | Rejected]:
        """Yield all rows below the header."""
        try:
            yield from self._below_header()
        except UnicodeError as error:
            message = f"Line {self._lines.number + 1} is not {self.encoding}: {error}."
            raise UnreadableFileError(message, next_step="Set 'encoding'.") from error

    def _below_header(self) -> Iterator[Row | Rejected]:
        early = list(self._read_header())
        yield from early
        convert = self._converters()
        width = len(self.names)
        for line, cells in self._records():
            if isinstance(cells, Rejected):
                yield cells
                continue
            if len(cells) > width and not width:
                self.names = column_names([""] * len(cells))
                convert, width = self._converters(), len(cells)
            row = self._row(cells, width)
            if convert and (reason := self._convert(row, convert)):
                yield Rejected(line, reason, self._lines.taken_bytes)
            else:
                yield line, row

    def _read_header(self) -> Iterator[Rejected]:
        """Take the lines above the rows; header rows that cannot be read are rejected."""
        pattern = self._pattern
        for _ in range(pattern.skip_rows + self.dialect.separator_line):
            self._lines.begin()
            next(self._lines, None)
        rows: list[list[str]] = []
        records = self._records() if pattern.header_rows else iter(())
        for _, cells in records:
            if isinstance(cells, Rejected):
                yield cells
                continue
            rows.append(cells)
            if len(rows) == pattern.header_rows:
                break
        header = merged_headers(rows) if rows else []
        given = [*pattern.columns, *header[len(pattern.columns) :]]
        self.names = column_names(given)

    def _records(self) -> Iterator[tuple[int, list[str] | Rejected]]:
        lines, rows = self._lines, self._rows
        while True:
            start = lines.begin()
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                if self._pattern.append_only and "unexpected end" in str(error):
                    return  # still being written
                yield start, self._spoiled(start, error)
                continue
            except ValueTooLongError as error:
                reason = f"Line {lines.number} is longer than 'max_value_bytes'; this is its start."
                yield start, Rejected(start, reason, lines.raw(error.head))
                continue
            if self._pattern.append_only and not lines.taken[-1].endswith(("\n", "\r")):
                return  # not complete yet: the next run reads it
            if lines.has_stray_bytes:
                reason = f"Line {start} has bytes that are not {self.encoding}. Set 'encoding'."
                yield start, Rejected(start, reason, lines.taken_bytes)
            elif cells:
                yield start, cells

    def _spoiled(self, start: int, error: csv.Error) -> Rejected:
        is_open = len(self._lines.taken) > 1 or "unexpected end" in str(error)
        why = "a quote opens here and is not closed well" if is_open else str(error)
        if "field larger" in str(error):
            why = "a value is longer than 'max_value_bytes'"
        first = self._lines.give_back_all_but_first()
        return Rejected(start, f"Line {start} is no row: {why}.", self._lines.raw(first))

    def _row(self, cells: list[str], width: int) -> dict[str, Any]:
        if len(cells) == width:
            return dict(zip(self.names, cells, strict=True))
        if len(cells) < width:
            missing = [None] * (width - len(cells))
            return dict(zip(self.names, [*cells, *missing], strict=True))
        return {**dict(zip(self.names, cells, strict=False)), EXTRA: cells[width:]}

    def _converters(self) -> list[tuple[str, Convert]]:
        pattern = self._pattern
        found = []
        for name in self.names:
            kind = kind_of(self._properties.get(name, {}))
            convert = converter(kind, pattern.null_values, decimal_comma=pattern.decimal_comma)
            if convert is not None:
                found.append((name, convert))
        return found

    def _convert(self, row: dict[str, Any], converters: Sequence[tuple[str, Convert]]) -> str:
        """Make values of texts; says what does not fit, if rows are to be rejected for that."""
        for name, convert in converters:
            text = row[name]
            if text is None:
                continue
            try:
                row[name] = convert(text)
            except MismatchError:
                if self._pattern.on_mismatch == "reject":
                    kind = kind_of(self._properties.get(name, {}))
                    return f"Column {name!r} is no {kind}."
        return ""
