# SPDX-License-Identifier: Apache-2.0
"""CSV: what other programs write, and what people break."""

import base64
import bz2
import csv
import gzip
import io
import json
import lzma
import subprocess
import zipfile

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tap_files.delimited import find_delimiter
from tap_files.encoding import detect_encoding
from tap_files.headers import column_names, merged_headers
from tap_files.values import infer_type

NAMES = "id,name\n"
GERMAN = "id;name;ort\n1;Müller;Köln\n2;Weiß;Füssen\n3;Jäger;Gößweinstein\n"
GERMAN_ROWS = [
    {"id": 1, "name": "Müller", "ort": "Köln"},
    {"id": 2, "name": "Weiß", "ort": "Füssen"},
    {"id": 3, "name": "Jäger", "ort": "Gößweinstein"},
]


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_finds_the_encoding(read, encoding):
    found = read(GERMAN.encode(encoding))

    assert found.rows() == GERMAN_ROWS
    assert found.rejected() == []


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp437", "n\nGötz\n"), ("shift_jis", "n\n日本\n"), ("koi8-r", "n\nЖэк\n")],
)
def test_takes_the_encoding_it_is_told(read, encoding, text):
    assert read(text.encode(encoding), encoding=encoding).rows() == [{"n": text.split()[1]}]


def test_guesses_other_encodings_by_their_bytes(read):
    text = "имя;город\n" + "Жуковский Александр;Санкт-Петербург\n" * 30

    assert read(text.encode("cp1251")).rows()[0] == {
        "имя": "Жуковский Александр",
        "город": "Санкт-Петербург",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_in_three_ways(read, end):
    text = GERMAN.replace("\n", end)
    found = read(text)

    assert found.rows() == GERMAN_ROWS
    assert found.lines() == [2, 3, 4]


def test_lines_end_differently_in_one_file_and_within_quotes(read):
    found = read(b'id,name\r1,a\r\n2,"x\ny\rz\r\nq"\n3,c\r\r\n4,d')

    assert found.rows() == [
        {"id": 1, "name": "a"},
        {"id": 2, "name": "x\ny\rz\r\nq"},
        {"id": 3, "name": "c"},
        {"id": 4, "name": "d"},
    ]
    assert found.lines() == [2, 3, 7, 9]


@pytest.mark.parametrize(
    ("text", "rows", "rejected"),
    [
        pytest.param(NAMES + '1,"a\n2,b\n3,c\n', [2, 3], [2], id="a quote that is never closed"),
        pytest.param(NAMES + '1,"a\n2,"b"\n3,c\n', [2, 3], [2], id="closed by the next line's"),
        pytest.param(NAMES + '1,"a"b\n2,b\n', [2], [2], id="text after a closing quote"),
        pytest.param(NAMES + '1,a\n2,"', [1], [3], id="an open quote at the end"),
        pytest.param('"id,name\n1,a\n', [], [1], id="an open quote in the header"),
        pytest.param(NAMES + "1,a\n\n\n2,b\n", [1, 2], [], id="blank lines"),
        pytest.param(NAMES, [], [], id="a header alone"),
        pytest.param("", [], [], id="nothing"),
        pytest.param("\n\n", [], [], id="blank lines alone"),
    ],
)
def test_every_line_becomes_a_row_or_is_rejected(read, text, rows, rejected):
    found = read(text, delimiter=",")

    assert [row["id"] for row in found.rows() if "id" in row] == rows
    assert [line for line, _, _ in found.rejected()] == rejected


def test_a_rejected_line_keeps_its_bytes_and_says_why(read):
    found = read(b'id,name\n1,a\n2,"x\n3,caf\xe9\n', encoding="utf-8")

    assert found.rejected() == [
        (3, found.rejected()[0][1], '2,"x\n'),
        (4, found.rejected()[1][1], base64.b64encode(b"3,caf\xe9\n").decode()),
    ]
    assert "rows.csv: Line 3 is no row: a quote opens here" in found.rejected()[0][1]
    assert "Line 4 has bytes that are not utf-8" in found.rejected()[1][1]


def test_rows_with_more_or_fewer_cells_lose_nothing(read):
    found = read("a,b\n1,2,3,4\n5\n")

    assert found.rows() == [{"a": 1, "b": 2, "_sdc_extra": ["3", "4"]}, {"a": 5, "b": None}]


def test_nul_bytes_stay(read):
    assert read(b"a,b\n1,x\x00y\n").rows() == [{"a": 1, "b": "x\0y"}]


def test_a_line_that_is_too_long_is_rejected_with_its_start_and_the_next_is_read(read):
    text = "a,b\n1," + "x" * 5000 + "\n2,ok\n" + '3,"' + ("y" * 100 + "\n") * 50 + '"\n4,ok\n'
    found = read(text, settings={"max_value_bytes": 2000})

    assert found.rows()[0] == {"a": "2", "b": "ok"}
    assert found.rows()[-1] == {"a": "4", "b": "ok"}
    assert [line for line, _, _ in found.rejected()][:2] == [2, 4]
    assert "longer than 'max_value_bytes'" in found.rejected()[0][1]
    assert found.rejected()[0][2] == "1," + "x" * 1022
    assert "longer than 'max_value_bytes'" in found.rejected()[1][1]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (["a", "a", "a_2", "a"], ["a", "a_3", "a_2", "a_4"]),
        (["", " ", "x"], ["column_1", "column_2", "x"]),
        (["", "column_1"], ["column_1_2", "column_1"]),
        (["two\nlines", " spaced  out ", "nul\0"], ["two lines", "spaced out", "nul"]),
        (["_sdc_source_file", "_sdc_extra"], ["_sdc_source_file_2", "_sdc_extra_2"]),
    ],
)
def test_columns_have_names_and_each_its_own(header, names):
    assert column_names(header) == names


def test_header_rows_are_joined_and_merged_cells_belong_to_their_group(read):
    found = read("2025,,2026,\nq1,q2,q1,q2\n1,2,3,4\n", header_rows=2)

    assert found.rows() == [{"2025 q1": 1, "2025 q2": 2, "2026 q1": 3, "2026 q2": 4}]
    assert merged_headers([["a"], ["b", "c"]]) == ["a b", "a c"]


def test_skips_rows_has_no_header_or_names_of_its_own(read):
    assert read("made by x\n\na,b\n1,2\n", skip_rows=2).rows() == [{"a": 1, "b": 2}]
    assert read("1,2\n3,4\n", header_rows=0).rows() == [
        {"column_1": 1, "column_2": 2},
        {"column_1": 3, "column_2": 4},
    ]
    assert read("a,b\n1,2\n", columns=["x"]).rows() == [{"x": 1, "b": 2}]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('a;b\n"x,y,z";1\n"x\ny";2\n', ";"),
        ("one\ntwo\n", ","),
        ("", ","),
    ],
)
def test_finds_the_delimiter(text, delimiter):
    assert find_delimiter(text) == delimiter


def test_obeys_what_excel_writes_about_the_delimiter(read):
    assert read("sep=|\na|b,c\n1|2\n").rows() == [{"a": 1, "b,c": 2}]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-2", "0"], "integer"),
        (["1", "2.50"], "number"),
        (["001", "2"], "text"),
        (["-0"], "text"),
        (["+4930123"], "text"),
        (["1e5"], "text"),
        (["1234567890123456"], "text"),
        (["123456789012345"], "integer"),
        (["12345678901.23456"], "text"),
        (["1_000"], "text"),
        (["٣"], "text"),
        (["1.", ".5"], "text"),
        (["true", "False"], "boolean"),
        (["2026-01-31"], "date"),
        (["2026-13-31"], "text"),
        (["2026-01-31T10:00:00Z", "2026-01-31 10:00:00.5+01:00"], "timestamp"),
        (["2026-01-31T10:00:00"], "text"),
        (["", ""], "text"),
        (["1", "", "2"], "integer"),
        (["NaN"], "text"),
    ],
)
def test_a_text_is_a_number_only_if_the_number_is_written_the_same(texts, kind):
    assert infer_type(texts) == kind


def test_numbers_keep_their_digits_and_decimal_commas_are_an_option(read):
    assert b'"a":12.50,"b":"0012"' in b"\n".join(read("a,b\n12.50,0012\n").run.lines)
    found = read("a;b\n1.234,50;1,5\n7;-2,25\n", decimal_comma=True)
    assert b'"a":1234.50,"b":1.5' in b"\n".join(found.run.lines)
    assert found.rows()[1] == {"a": 7, "b": -2.25}


def test_empty_cells_and_null_values(read):
    found = read("a,b,c\n1,,x\n,n/a,NULL\n", null_values=["n/a", "NULL"])

    assert found.rows() == [{"a": 1, "b": "", "c": "x"}, {"a": None, "b": None, "c": None}]


def test_everything_as_text(read):
    found = read("a,b\n1,true\n", types="text")

    assert found.rows() == [{"a": "1", "b": "true"}]
    assert found.properties() == {
        "a": {"type": ["null", "string"]},
        "b": {"type": ["null", "string"]},
    }


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("integer", "5", "05"),
        ("number", "5.5", "5,5"),
        ("boolean", "TRUE", "yes"),
        ("date", "2026-01-31", "31.01.2026"),
        ("timestamp", "2026-01-31T00:00:00Z", "2026-01-31"),
    ],
)
def test_a_value_of_another_type_lands_as_text_or_its_row_is_rejected(read, kind, good, bad):
    text = f"a;b\n{good};1\n{bad};2\n"
    landed = read(text, column_types={"a": kind})
    rejecting = read(text, column_types={"a": kind}, on_mismatch="reject")

    assert landed.rows()[1] == {"a": bad, "b": 2}
    assert [row["b"] for row in rejecting.rows()] == [1]
    assert [(line, raw) for line, _, raw in rejecting.rejected()] == [(3, f"{bad};2\n")]
    assert f"Column 'a' is no {kind}" in rejecting.rejected()[0][1]


def zstd(content):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(content)


PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
    "csv": gzip.compress,  # a name that says nothing of it
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_unpacks_by_the_first_bytes(read, suffix):
    name = "rows.csv" if suffix == "csv" else f"rows.csv.{suffix}"

    assert read(PACKERS[suffix](GERMAN.encode()), name).rows() == GERMAN_ROWS


def test_unpacks_several_gzip_members_and_what_gzip_itself_wrote(read, tmp_path):
    parts = gzip.compress(GERMAN.encode()) + gzip.compress("4;Groß;Ulm\n".encode())
    (tmp_path / "b.csv").write_text(GERMAN)
    subprocess.run(["gzip", "-9", tmp_path / "b.csv"], check=True)

    assert len(read(parts, "a.csv.gz").rows()) == 4
    assert read(None, "b.csv.gz").rows() == GERMAN_ROWS


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst"])
def test_a_cut_off_archive_gives_what_is_before_the_cut_and_fails(read, suffix):
    lines = "".join(f"{number},{number * 7919 % 104729}\n" for number in range(40_000))
    packed = PACKERS[suffix](f"a,b\n{lines}".encode())
    found = read(packed[: len(packed) * 2 // 3], f"rows.csv.{suffix}", delimiter=",")

    assert found.error is not None
    assert found.error.exit_code == 1
    assert "damaged or cut off" in str(found.error)
    (failed,) = found.events("file_failed")
    assert failed["file"].endswith(f"rows.csv.{suffix}")
    rows = found.rows()
    assert len(rows) > 10_000 or suffix in {"bz2", "zst"}  # they lose a block
    assert all(row == {"a": n, "b": n * 7919 % 104729} for n, row in enumerate(rows[:-1]))
    assert found.run.records["files"][0]["is_complete"] is False


def test_each_member_of_a_zip_archive_is_a_file(read):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.csv", "id\n1\n")
        archive.writestr("in/b.csv.gz", gzip.compress(b"id\n2\n"))
        archive.writestr("__MACOSX/in/._a.csv", "\0\0")
        archive.writestr("in/empty/", "")
    found = read(packed.getvalue(), "all.zip")
    names = [row["_sdc_source_file"].rpartition("!")[2] for row in found.rows(bare=False)]

    assert found.rows() == [{"id": 1}, {"id": 2}]
    assert names == ["in/a.csv", "in/b.csv.gz"]
    assert read(b"PK no zip", "all.zip").error.exit_code == 1


# -- other programs -----------------------------------------------------------------------------

TABLE = {
    "id": [1, 2, 3],
    "code": ["007", "+49", "12345678901234567890"],
    "text": ['say "hi"', "a,b;c", "line 1\nline 2"],
    "number": [1.25, -0.5, 1000.0],
}


@pytest.mark.parametrize("program", ["polars", "pandas", "pandas in UTF-16", "duckdb"])
def test_reads_what_other_programs_write(read, tmp_path, program):
    path = tmp_path / "rows.csv"
    module = pytest.importorskip(program.partition(" ")[0])
    if program == "polars":
        module.DataFrame(TABLE).write_csv(path)
    elif program == "duckdb":
        module.register("written", pa.table(TABLE))
        module.sql(f"copy written to '{path}' (header)")
    elif program == "pandas":
        module.DataFrame(TABLE).to_csv(path, index=False)
    else:
        frame = module.DataFrame(TABLE)
        frame.to_csv(path, index=False, sep=";", encoding="utf-16", quoting=csv.QUOTE_ALL)
    rows = [dict(zip(TABLE, cells, strict=True)) for cells in zip(*TABLE.values(), strict=True)]

    assert read(None).rows() == rows


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    table=TABLES,
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    packed=st.booleans(),
)
def test_whatever_the_csv_module_writes_comes_back(read, table, delimiter, end, packed):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    width = len(table[0])
    writer.writerows([[f"c{n}" for n in range(width)], *table])
    content = text.getvalue().encode()
    found = read(
        gzip.compress(content) if packed else content,
        types="text",
        delimiter=delimiter,
        encoding="utf-8",
    )

    assert [list(row.values()) for row in found.rows()] == table
    assert found.rejected() == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.text(st.sampled_from('a"\n\r,;é'), max_size=60))
def test_no_text_loses_a_line(read, content):
    """Every character of the file is in a row or in a rejected line."""
    found = read(content, types="text", delimiter=",", header_rows=0, encoding="utf-8")
    cells = [cell for row in found.rows() for cell in _cells(row)]
    kept = "".join(cells) + "".join(raw for _, _, raw in found.rejected())

    assert found.error is None
    assert kept.count("a") == content.count("a")
    assert kept.count("é") == content.count("é")


def _cells(row):
    extra = row.pop("_sdc_extra", [])
    return [cell for cell in [*row.values(), *extra] if cell is not None]


def test_detects_marks_before_anything_else():
    assert detect_encoding(b"\xef\xbb\xbfa") == "utf-8-sig"
    assert detect_encoding("é".encode()[:1]) == "utf-8"
    assert json.dumps(detect_encoding(b"")) == '"utf-8"'
