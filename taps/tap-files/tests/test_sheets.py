# SPDX-License-Identifier: Apache-2.0
"""Cells of workbooks as other programs write them: exact, or told."""

import datetime
import io
import re
import zipfile

import openpyxl
import pytest

FORMATS = ["[h]:mm", "h:mm", "yyyy-mm-dd", "0.00%", "[Red][h]:mm:ss", 'd"h"/m', "General", "mmm"]


def workbook(rows, *, date1904=False):
    """The bytes of a workbook with cells of XML; style n is the n-th of FORMATS."""
    plain = io.BytesIO()
    book = openpyxl.Workbook()
    for place, code in enumerate(FORMATS, 1):
        book.active.cell(place, 1).number_format = code
        book.active.cell(place, 1).value = 1
    book.save(plain)
    body = "".join(f'<row r="{n}">{"".join(row)}</row>' for n, row in enumerate(rows, 1))
    made = io.BytesIO()
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            text = old.read(name).decode()
            if name.endswith("sheet1.xml"):
                text = re.sub("<sheetData>.*</sheetData>", f"<sheetData>{body}</sheetData>", text)
            if name.endswith("workbook.xml") and date1904:
                text = re.sub("<workbookPr[^>]*>", '<workbookPr date1904="1"/>', text)
            new.writestr(name, text)
    return made.getvalue()


def cell(value, style=0, kind="n", formula=""):
    # "General" takes no style of its own.
    number = {"": 0, **{code: n for n, code in enumerate(FORMATS, 1)}}[style or ""]
    number -= number > FORMATS.index("General")
    function = f"<f>{formula}</f>" if formula else ""
    return f'<c s="{number}" t="{kind}">{function}<v>{value}</v></c>'


HEADER = ["<c t='inlineStr'><is><t>v</t></is></c>"]


@pytest.mark.parametrize(
    ("style", "number", "value"),
    [
        ("[h]:mm", "1.5", "36:00:00"),
        ("[h]:mm", "0.5", "12:00:00"),
        ("[h]:mm", "1.0416666666666667", "25:00:00"),
        ("[h]:mm", "0", "00:00:00"),
        ("[h]:mm", "-0.25", "-06:00:00"),
        ("[Red][h]:mm:ss", "0.000011574074074074", "00:00:01"),
        ("[h]:mm", "36526.123456789", "876626:57:46.667"),
        ("h:mm", "0.5", "12:00:00"),
        ("h:mm", "1.0416666666666667", "25:00:00"),
        ("yyyy-mm-dd", "45000", "2023-03-15T00:00:00"),
        ("yyyy-mm-dd", "59", "1900-02-28T00:00:00"),
        ("yyyy-mm-dd", "61", "1900-03-01T00:00:00"),
        ("yyyy-mm-dd", "1", "1900-01-01T00:00:00"),
        ("yyyy-mm-dd", "99999999", 99999999),
        ('d"h"/m', "45000", "2023-03-15T00:00:00"),
        ("mmm", "45000", "2023-03-15T00:00:00"),
        ("0.00%", "0.125", 0.125),
        ("", "12345678901234567890", 12345678901234567890),
        ("", "1e400", "1e400"),
        ("", "0.1", 0.1),
    ],
)
def test_numbers_dates_and_durations_arrive_by_the_format_of_their_cell(read, style, number, value):
    (row,) = read(workbook([HEADER, [cell(number, style)]]), "rows.xlsx").rows()

    assert row == {"v": value}
    assert type(row["v"]) is type(value)


def test_workbooks_of_1904_count_from_there(read):
    content = workbook(
        [HEADER, *([cell(number, "yyyy-mm-dd")] for number in ("0", "59", "43538"))], date1904=True
    )

    assert [row["v"] for row in read(content, "rows.xlsx").rows()] == [
        "1904-01-01T00:00:00",
        "1904-02-29T00:00:00",
        "2023-03-15T00:00:00",
    ]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (cell("1", kind="b"), True),
        (cell("0", kind="b"), False),
        (cell("#N/A", kind="e"), "#N/A"),
        (cell("#DIV/0!", kind="e", formula="1/0"), "#DIV/0!"),
        (cell("2026-01-02T03:04:05", kind="d"), "2026-01-02T03:04:05"),
        (cell("3", formula="1+2"), 3),
        (cell("two_x000D_\nlines", kind="str"), "two\r\nlines"),
        (cell("_x005F_x000D_", kind="str"), "_x000D_"),
    ],
)
def test_values_of_other_types_and_escaped_texts(read, content, value):
    (row,) = read(workbook([HEADER, [content]]), "rows.xlsx").rows()

    assert row["v"] == value
    assert type(row["v"]) is type(value)


def test_a_formula_that_was_never_calculated_is_rejected_and_an_empty_result_is_not(read):
    names = [f"<c t='inlineStr'><is><t>{name}</t></is></c>" for name in "ab"]
    rows = [
        names,
        [cell(1), cell("", formula="A2+1")],
        ['<c t="n"><f>A2</f></c>'],
        [cell(3), cell("", kind="str", formula='""')],
    ]
    found = read(workbook(rows), "rows.xlsx")

    assert [row["a"] for row in found.rows()] == [3]
    assert [line for line, _, _ in found.rejected()] == [2, 3]
    assert "formula in B2 of sheet 'Sheet' has no value" in found.rejected()[0][1]


def test_hidden_sheets_are_read_only_by_name(read, tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["hidden"])
    book.active.append([1])
    book.active.sheet_state = "hidden"
    shown = book.create_sheet("Shown")
    shown.append(["at"])
    shown.append([datetime.timedelta(hours=30, minutes=5)])
    book.save(tmp_path / "rows.xlsx")

    assert read(None, "rows.xlsx").rows() == [{"at": "30:05:00"}]
    assert read(None, "rows.xlsx", sheet="Sheet").rows() == [{"hidden": 1}]


def test_numbers_as_text_have_no_exponent(read):
    content = workbook([HEADER, [cell("0.00001")], [cell("1E+22")], [cell("1.50")]])

    assert [row["v"] for row in read(content, "rows.xlsx", types="text").rows()] == [
        "0.00001",
        "10000000000000000000000",
        "1.5",
    ]
