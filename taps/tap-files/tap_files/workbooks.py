# SPDX-License-Identifier: Apache-2.0
"""Excel workbooks, row by row. Dates and times become text; errors such as `#DIV/0!` stay text."""

from __future__ import annotations

import datetime
import fnmatch
import itertools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, BinaryIO

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from ipai_kit.exceptions import ConfigurationError
from tap_files.cells import NotCalculated, cells_of, timedelta_text
from tap_files.encoding import holds_stray_bytes
from tap_files.exceptions import UnreadableFileError
from tap_files.headers import column_names, merged_headers
from tap_files.patterns import Pattern
from tap_files.rows import EXTRA, Rejected, Row

__all__ = ["SHEET", "read_workbook"]

SHEET = "_sdc_source_sheet"
_OLD = b"\xd0\xcf\x11\xe0"
_BROKEN = (  # openpyxl trips over what it does not expect in many ways
    zipfile.BadZipFile,
    InvalidFileException,
    AttributeError,
    LookupError,
    SyntaxError,
    TypeError,
    ValueError,
)
_NO_TEXT = "The row has a text that is no Unicode."


def read_workbook(
    content: BinaryIO, pattern: Pattern, properties: Mapping[str, Mapping[str, Any]]
) -> Iterator[Row | Rejected]:
    """Yield the rows of the wanted sheets, numbered through all of them."""
    book = _opened(content)
    try:
        before = 0
        for sheet in _wanted(book, pattern):
            last = before
            for line, row in _rows(sheet, pattern, properties):
                last = before + line
                row = {**row, SHEET: sheet.title} if pattern.sheet else row
                reason = _what_is_wrong(row, sheet.title)
                yield Rejected(last, reason, _raw(row)) if reason else (last, row)
            before = last
    finally:
        book.close()


def _opened(content: BinaryIO) -> Any:
    magic = content.read(4)
    content.seek(0)
    if magic == _OLD:
        message = "It is an old .xls workbook, or one that is locked with a password."
        raise UnreadableFileError(message, next_step="Save it as .xlsx without a password.")
    try:
        return openpyxl.load_workbook(content, read_only=True, data_only=True)
    except _BROKEN as error:
        message = f"It is no Excel workbook: {error}."
        raise UnreadableFileError(message, next_step="Deliver it anew.") from error


def _wanted(book: Any, pattern: Pattern) -> list[Any]:
    sheets = [one for one in book.worksheets]  # noqa: C416 - chart sheets hold no rows
    if not pattern.sheet:
        shown_first = sorted(sheets, key=lambda one: one.sheet_state != "visible")
        return list(itertools.islice((one for one in shown_first if _holds_anything(one)), 1))
    found = [one for one in sheets if fnmatch.fnmatchcase(one.title, pattern.sheet)]
    if not found:
        titles = ", ".join(repr(one.title) for one in sheets)
        message = f"No sheet fits {pattern.sheet!r}; there are {titles}."
        raise ConfigurationError(message, stream=pattern.name, next_step="Correct 'sheet'.")
    return found


def _what_is_wrong(row: Mapping[str, Any], sheet: str) -> str:
    """Half a character, as bad programs cut them, or a formula whose value nobody knows."""
    for name, cell in row.items():
        for one in cell if name == EXTRA else (cell,):
            if isinstance(one, str) and holds_stray_bytes(one):
                return _NO_TEXT
            if isinstance(one, NotCalculated):
                place = f"{one.place} of sheet {sheet!r}"
                return f"The formula in {place} has no value: calculate and save the workbook."
    return ""


def _raw(row: Mapping[str, Any]) -> bytes:
    """What is there of a row, for people: a workbook has no lines to show."""
    shown = {name: "" if isinstance(cell, NotCalculated) else cell for name, cell in row.items()}
    return repr(shown).encode("utf-8", "backslashreplace")


def _holds_anything(sheet: Any) -> bool:
    return any(cell is not None for _, row in _all_rows(sheet) for cell in row)


def _rows(
    sheet: Any, pattern: Pattern, properties: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    first = pattern.skip_rows + pattern.header_rows + 1
    rows = _all_rows(sheet)
    header = [[""]] * pattern.header_rows
    for number, cells in rows:
        if number >= first:
            rows = itertools.chain([(number, cells)], rows)
            break
        if number > pattern.skip_rows:
            header[number - pattern.skip_rows - 1] = [_text(cell) for cell in cells]
    top = _without_blank_end(merged_headers(header)) if header else []
    names = column_names([*pattern.columns, *top[len(pattern.columns) :]])
    for number, cells in rows:
        if all(cell is None for cell in cells):
            continue
        if not names:
            names = column_names([""] * len(cells))
        yield number, _row(names, cells, pattern, properties)


def _all_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    try:
        yield from cells_of(sheet)
    except _BROKEN as error:
        message = f"Sheet {sheet.title!r} cannot be read: {error}."
        raise UnreadableFileError(message, next_step="Deliver the workbook anew.") from error


def _row(
    names: Sequence[str],
    cells: list[Any],
    pattern: Pattern,
    properties: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    wide = [*cells, *[None] * (len(names) - len(cells))]
    row = {
        name: _value(cell, pattern, properties.get(name))
        for name, cell in zip(names, wide, strict=False)
    }
    if any(cell is not None for cell in wide[len(names) :]):
        row[EXTRA] = [_plain(cell) for cell in wide[len(names) :]]
    return row


def _value(cell: Any, pattern: Pattern, schema: Mapping[str, Any] | None) -> Any:
    if cell is None or (isinstance(cell, str) and cell in pattern.null_values):
        return None
    if isinstance(cell, NotCalculated):
        return cell
    wants_text = schema is not None and schema.get("type") in ("string", ["null", "string"])
    if pattern.types == "text" or (wants_text and not isinstance(cell, str)):
        return _text(cell)
    return _plain(cell)


def _plain(cell: Any) -> Any:
    return cell if isinstance(cell, str | int | float | NotCalculated | None) else _text(cell)


def _text(cell: Any) -> str:
    if cell is None or isinstance(cell, NotCalculated):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return timedelta_text(cell)
    if isinstance(cell, float):
        return f"{Decimal(int(cell) if cell.is_integer() else repr(cell)):f}"
    return str(cell)


def _without_blank_end(header: list[str]) -> list[str]:
    while header and not header[-1].strip():
        header = header[:-1]
    return header
