# SPDX-License-Identifier: Apache-2.0
"""Cells of a sheet as they stand in the workbook: no value is rounded, guessed or left out.

openpyxl makes up to three Python types of one column of times, by the size of each, takes a formula
that was never calculated for an empty cell and a date beyond the calendar for an error. Here the
format of the cell decides, and what has no value is told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from openpyxl.styles.numbers import BUILTIN_FORMATS, BUILTIN_FORMATS_MAX_SIZE
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import CALENDAR_MAC_1904, from_excel
from openpyxl.utils.escape import unescape
from openpyxl.worksheet._reader import FORMULA_TAG, VALUE_TAG, WorkSheetParser

from tap_files.durations import duration_text

__all__ = ["NotCalculated", "cells_of", "timedelta_text"]

_MILLISECONDS = 1000
_DAY = 24 * 60 * 60 * _MILLISECONDS
_NOT_CODE = re.compile(r'"[^"]*"|\\.|\[(?!h+\]|m+\]|s+\])[^\]]*\]|[_*].')
_ESCAPED = re.compile(r"_x[0-9A-Fa-f]{4}_")


class NotCalculated:
    """Stands for the value of a formula that no program has calculated yet."""

    def __init__(self, place: str) -> None:
        self.place = place


def cells_of(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield number and cells of the rows that the sheet holds."""
    book = sheet.parent
    with sheet._get_source() as source:
        parser = _Parser(source, sheet._shared_strings, data_only=True, epoch=book.epoch)
        parser.is_time = {style: _is_time(book, style) for style in book._date_formats}
        for number, row in parser.parse():
            cells: list[Any] = [None] * max((cell["column"] for cell in row), default=0)
            for cell in row:
                cells[cell["column"] - 1] = cell["value"]
            yield number, cells


class _Parser(WorkSheetParser):
    """Takes the raw number of a date, which openpyxl's own conversion would hide."""

    is_time: Mapping[int, bool]
    """Styles of dates and times; true for those that show no day."""

    def parse_cell(self, element: Any) -> dict[str, Any]:
        """Return what is known about a cell."""
        cell: dict[str, Any] = super().parse_cell(element)
        value = cell["value"]
        if value is None:
            if _lacks_result(element):
                cell["value"] = NotCalculated(f"{get_column_letter(cell['column'])}{cell['row']}")
        elif isinstance(value, str):
            if "_x" in value and _ESCAPED.search(value):
                cell["value"] = unescape(value)
        elif cell["data_type"] == "n":
            cell["value"] = self._number(value, cell["style_id"], element)
        return cell

    def _number(self, value: float, style: int, element: Any) -> Any:
        if not math.isfinite(value):
            return element.findtext(VALUE_TAG)
        is_time = self.is_time.get(style)
        if is_time is None:
            return value
        if is_time:
            return duration_text(round(value * _DAY), _MILLISECONDS)
        if self.epoch == CALENDAR_MAC_1904 and 0 <= value < 1:
            return self.epoch + timedelta(milliseconds=round(value * _DAY))
        try:
            return from_excel(value, self.epoch)
        except (OverflowError, ValueError):
            return value  # no day of the calendar: the number itself


def timedelta_text(value: timedelta) -> str:
    """Return a duration that the workbook holds as ISO text."""
    return duration_text(value // timedelta(microseconds=1), 1_000_000)


def _lacks_result(element: Any) -> bool:
    """A formula with an empty text as its result is of type `str`."""
    return element.find(FORMULA_TAG) is not None and element.get("t", "n") == "n"


def _is_time(book: Any, style: int) -> bool:
    code = _NOT_CODE.sub("", _format_of(book, style)).lower().partition(";")[0]
    return "y" not in code and "d" not in code and ("h" in code or "s" in code or "[m" in code)


def _format_of(book: Any, style: int) -> str:
    number = book._cell_styles[style].numFmtId
    if number < BUILTIN_FORMATS_MAX_SIZE:
        return str(BUILTIN_FORMATS.get(number, ""))
    return str(book._number_formats[number - BUILTIN_FORMATS_MAX_SIZE])
