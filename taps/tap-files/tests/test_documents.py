# SPDX-License-Identifier: Apache-2.0
"""JSON, Parquet and Excel, as other programs write them: every digit, every shape."""

import datetime
import json
from decimal import Decimal

import openpyxl
import openpyxl.chart
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BIG = 123456789012345678901234567890
LINES = b'{"id":%d,"amount":1.10,"deep":{"x":[1e400,0.1000]},"text":"\\u00e4\xc3\xa4"}\n{ }\n' % BIG


# -- JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_the_bytes_of_a_record_stay_as_they_are(read, name):
    content = LINES if name == "rows.jsonl" else b"[%s]" % LINES.strip().replace(b"\n", b" ,\n")
    found = read(content, name)
    record = next(line for line in found.run.lines if b'"RECORD","stream":"rows"' in line)

    assert LINES.partition(b"}\n")[0] in record
    assert found.lines() == [1, 2]
    assert found.rows()[1] == {}


def test_a_line_that_is_no_object_is_rejected_and_the_others_go_on(read):
    bad = [b"", b"[1]", b'"x"', b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":2']
    content = b'\xef\xbb\xbf{"a":1}\r\n' + b"\n".join(bad) + b'\n{"a":3}'
    found = read(content, "rows.jsonl", encoding="utf-8")

    assert found.rows() == [{"a": 1}, {"a": 3}]
    assert found.lines() == [1, 9]
    assert [line for line, _, _ in found.rejected()] == [3, 4, 5, 6, 7, 8]
    assert "Record 3 is no JSON object" in found.rejected()[0][1]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_json_lines_in_other_encodings(read, encoding):
    found = read('{"a":"Köln"}\n{"a":2}\n'.encode(encoding), "rows.ndjson")

    assert found.rows() == [{"a": "Köln"}, {"a": 2}]


def test_a_json_line_that_is_too_long_is_rejected_with_its_start(read):
    content = b'{"a":"%s"}\n{"a":2}\n' % (b"x" * 5000)
    found = read(content, "rows.jsonl", settings={"max_value_bytes": 2000})
    wide = read(content.decode().encode("utf-16"), "w.jsonl", settings={"max_value_bytes": 2000})

    for one in (found, wide):
        assert one.rows() == [{"a": 2}]
        assert [(line, raw[:6]) for line, _, raw in one.rejected()] == [(1, '{"a":"')]


@pytest.mark.parametrize(
    ("content", "path", "rows"),
    [
        (b'{"data":{"items":[{"a":1},{"a":2}]}}', "data.items", [{"a": 1}, {"a": 2}]),
        (b'{"a":1}', "", [{"a": 1}]),
        (b"[]", "", []),
        (b' \n [ {"a":1} ] ', "", [{"a": 1}]),
        ('[{"a":"ü"}]'.encode("utf-16"), "", [{"a": "ü"}]),
    ],
)
def test_records_of_a_document(read, content, path, rows):
    assert read(content, "rows.json", records_path=path).rows() == rows


@pytest.mark.parametrize(
    ("content", "options", "code", "says"),
    [
        (b'[{"a":1},{"a"', {}, 1, "no JSON document"),
        (b'{"a":1}\n{"a":2}\n', {}, 1, "set 'format' to 'jsonl'"),
        (b'{"a":1}', {"records_path": "b.c"}, 78, "no member 'b'"),
        (b'{"b":[1]}', {"records_path": "b.c"}, 78, "no member 'c'"),
        (b"[" + b" " * 5000 + b"]", {}, 1, "longer than 'max_value_bytes'"),
    ],
)
def test_a_document_that_cannot_be_read_says_why(read, content, options, code, says):
    found = read(content, "rows.json", settings={"max_value_bytes": 2000}, **options)

    assert found.error.exit_code == code
    assert says in str(found.error)


def test_elements_that_are_no_objects_are_rejected(read):
    found = read(b'[{"a":1}, 2, null, [3]]', "rows.json")

    assert found.rows() == [{"a": 1}]
    assert [(line, raw) for line, _, raw in found.rejected()] == [(2, "2"), (3, "null"), (4, "[3]")]


def test_types_of_json_are_found_deep_down(read):
    content = b'{"a":1,"b":{"c":[{"d":null}]}}\n{"a":1.5,"b":{"c":[{"d":"x"}],"e":true}}\n'
    deep = {"type": ["null", "object"], "properties": {"d": {"type": ["null", "string"]}}}
    found = read(content, "rows.jsonl")

    assert found.properties() == {
        "a": {"type": ["null", "number"]},
        "b": {
            "type": ["null", "object"],
            "properties": {
                "c": {"type": ["null", "array"], "items": deep},
                "e": {"type": ["null", "boolean"]},
            },
        },
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.dictionaries(st.text("abcäö", min_size=1, max_size=3), JSON, max_size=4), max_size=5
    )
)
def test_whatever_json_writes_comes_back(read, records):
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)

    assert read(lines, "rows.jsonl").rows() == records
    assert read(json.dumps(records), "rows.json").rows() == records


# -- Parquet ------------------------------------------------------------------------------------


def test_parquet_values_are_exact(read, tmp_path):
    moment = datetime.datetime.fromisoformat("2026-01-31T10:00:00.123456")
    table = pa.table(
        {
            "i": pa.array([2**63 - 1, None]),
            "u": pa.array([2**64 - 1, 0], pa.uint64()),
            "d": pa.array(
                [Decimal("12345678901234567890.1234567890"), None], pa.decimal128(38, 10)
            ),
            "f": pa.array([0.1, float("nan")]),
            "inf": pa.array([float("inf"), float("-inf")]),
            "ns": pa.array([1769853600123456789, None], pa.timestamp("ns")),
            "tz": pa.array([moment, None], pa.timestamp("us", "Europe/Berlin")),
            "s": pa.array([moment.replace(microsecond=0), None], pa.timestamp("s")),
            "date": pa.array([datetime.date(1500, 2, 28), None]),
            "time": pa.array([datetime.time(1, 2, 3), None]),
            "b": pa.array([b"\x00\xff", None]),
            "bool": pa.array([True, None]),
            "dict": pa.array(["x", None]).dictionary_encode(),
            "dur": pa.array([1500, None], pa.duration("ms")),
            "list": pa.array([[Decimal("1.10"), None], []], pa.list_(pa.decimal128(5, 2))),
            "struct": pa.array(
                [{"t": 1769853600123456789, "n": {"b": b"a"}}, None],
                pa.struct([("t", pa.timestamp("ns")), ("n", pa.struct([("b", pa.binary())]))]),
            ),
            "map": pa.array([[("k", 1), ("l", 2)], None], pa.map_(pa.string(), pa.int64())),
            "twice": pa.array([[("k", 1), ("k", 2)], []], pa.map_(pa.string(), pa.int64())),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    found = read(None, "rows.parquet")
    first, second = found.rows()

    assert first == {
        "i": 2**63 - 1,
        "u": 2**64 - 1,
        "d": "12345678901234567890.1234567890",
        "f": 0.1,
        "inf": "Infinity",
        "ns": "2026-01-31T10:00:00.123456789",
        "tz": "2026-01-31T10:00:00.123456+00:00",
        "s": "2026-01-31T10:00:00.000",
        "date": "1500-02-28",
        "time": "01:02:03.000000",
        "b": "AP8=",
        "bool": True,
        "dict": "x",
        "dur": "00:00:01.500",
        "list": ["1.10", None],
        "struct": {"t": "2026-01-31T10:00:00.123456789", "n": {"b": "YQ=="}},
        "map": {"k": 1, "l": 2},
        "twice": [{"key": "k", "value": 1}, {"key": "k", "value": 2}],
    }
    assert second == {
        **dict.fromkeys(first),
        "u": 0,
        "f": "NaN",
        "inf": "-Infinity",
        "list": [],
        "twice": {},
    }
    assert found.properties()["d"] == {"type": ["null", "string"], "format": "x-singer.decimal"}
    assert found.properties()["tz"] == {"type": ["null", "string"], "format": "date-time"}


@pytest.mark.parametrize("program", ["pandas", "polars", "duckdb"])
def test_reads_parquet_of_other_programs(read, tmp_path, program):
    rows = [{"id": n, "name": f"n{n}", "tags": [n, n + 1]} for n in range(5)]
    path = tmp_path / "rows.parquet"
    module = pytest.importorskip(program)
    if program == "pandas":
        module.DataFrame(rows).to_parquet(path, compression="gzip")
    elif program == "polars":
        module.DataFrame(rows).write_parquet(path, compression="zstd")
    else:
        query = "select n as id, 'n' || n as name, [n, n + 1] as tags from range(5) t(n)"
        module.sql(f"copy ({query}) to '{path}' (format parquet)")

    assert read(None, "rows.parquet").rows() == rows


def test_old_parquet_times_beyond_nanoseconds_do_not_wrap_around(read, tmp_path):
    """Where they do fit every nanosecond stays."""
    fine = pa.array([1_767_225_600_123_456_789, None], pa.timestamp("ns"))
    far = pa.array([253_402_300_799_000_000, -62_135_596_800_000_000], pa.timestamp("us"))
    table = pa.table({"fine": fine, "far": far, "in.list": pa.array([[one] for one in far])})
    pq.write_table(table, tmp_path / "rows.parquet", use_deprecated_int96_timestamps=True)

    assert read(None, "rows.parquet").rows() == [
        {
            "fine": "2026-01-01T00:00:00.123456789",
            "far": "9999-12-31T23:59:59.000000",
            "in.list": ["9999-12-31T23:59:59.000000"],
        },
        {
            "fine": None,
            "far": "0001-01-01T00:00:00.000000",
            "in.list": ["0001-01-01T00:00:00.000000"],
        },
    ]


def test_parquet_columns_of_one_name_are_all_read(read, tmp_path):
    columns = [pa.array([1]), pa.array([2]), pa.array([3]), pa.array([1], pa.bool8())]
    names = ["a", "a", "_sdc_source_line", "flag"]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "rows.parquet")
    found = read(None, "rows.parquet")
    (row,) = found.run.records["rows"]

    assert (row["a"], row["a_2"], row["_sdc_source_line_2"], row["flag"]) == (1, 2, 3, True)
    assert row["_sdc_source_line"] == 1
    assert found.properties()["flag"] == {"type": ["null", "boolean"]}


def test_parquet_goes_on_behind_the_rows_that_are_known(read, tmp_path):
    table = pa.table({"a": list(range(100))})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=10)
    first = read(None, "rows.parquet")
    (entry,) = first.state["bookmarks"]["rows"]["files"].values()
    entry |= {"done": False, "rows": 57}
    rest = read(None, "rows.parquet", state=first.state)

    assert [row["a"] for row in rest.rows()] == list(range(57, 100))
    assert rest.lines() == list(range(58, 101))


def test_a_damaged_page_of_parquet_fails_the_file(read, tmp_path):
    table = pa.table({"a": [f"text {n}" * 9 for n in range(5000)]})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=1000, compression="gzip")
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    found = read(bytes(content), "rows.parquet")

    assert found.error.exit_code == 1
    assert all(row["a"].startswith("text") for row in found.rows())


def test_parquet_that_is_none_says_so(read, tmp_path):
    found = read(b"PAR1 no", "rows.parquet")

    assert found.error.exit_code == 1
    assert "no Parquet file" in str(found.error)


# -- Excel --------------------------------------------------------------------------------------


@pytest.fixture
def workbook(tmp_path):
    """A book whose first sheet is empty, with a title above a header of two rows."""
    book = openpyxl.Workbook()
    book.active.title = "Empty"
    sheet = book.create_sheet("2026-01")
    sheet.append(["Report of January"])
    sheet.append(["Item", None, "Sales", None, None])
    sheet.append(["id", "name", "net", "at", "done"])
    moment = datetime.datetime.fromisoformat("2026-01-31T10:30:00")
    sheet.append([1, "Müller", 12.5, moment, True])
    sheet.append([None] * 5)
    sheet.append([2, "007", 3, datetime.date(2026, 2, 1), False, "more"])
    sheet.append([3, "#DIV/0!", 10**15, None, None])
    sheet.merge_cells("A2:B2")
    sheet.merge_cells("C2:E2")
    other = book.create_sheet("2026-02")
    other.append(["x"])
    other.append(["y"])
    book.create_chartsheet("Chart").add_chart(openpyxl.chart.BarChart())
    book.save(tmp_path / "rows.xlsx")
    return "rows.xlsx"


def test_the_first_sheet_that_holds_anything_is_read(read, workbook):
    found = read(None, workbook, skip_rows=1, header_rows=2)

    names = ["Item id", "Item name", "Sales net", "Sales at", "Sales done"]
    rows = [
        [1, "Müller", 12.5, "2026-01-31T10:30:00", True],
        [2, "007", 3, "2026-02-01T00:00:00", False],
        [3, "#DIV/0!", 10**15, None, None],
    ]

    assert [list(map(row.get, names)) for row in found.rows()] == rows
    assert [row.get("_sdc_extra") for row in found.rows()] == [None, ["more"], None]
    assert found.lines() == [4, 6, 7]


def test_sheets_are_found_by_pattern_and_named_in_rows(read, workbook):
    found = read(None, workbook, sheet="2026-*", header_rows=0, skip_rows=3)
    missing = read(None, workbook, sheet="2027-*")

    assert {row["_sdc_source_sheet"] for row in found.run.records["rows"]} == {"2026-01"}
    assert missing.error.exit_code == 78
    assert "there are 'Empty', '2026-01', '2026-02'" in str(missing.error)


def test_rows_of_several_sheets_are_numbered_through(read, workbook):
    found = read(None, workbook, sheet="2026-0?", header_rows=1)

    assert len(set(found.lines())) == len(found.lines())
    assert found.run.records["rows"][-1]["x"] == "y"


def test_everything_of_a_workbook_as_text(read, workbook):
    found = read(None, workbook, sheet="2026-01", skip_rows=2, types="text", null_values=["007"])

    assert [list(row.values())[:5] for row in found.rows()[:2]] == [
        ["1", "Müller", "12.5", "2026-01-31T10:30:00", "true"],
        ["2", None, "3", "2026-02-01T00:00:00", "false"],
    ]


def test_a_row_with_half_a_character_is_rejected(read, tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["a"])
    book.active.append(["_xD83D_"])
    book.active.append(["whole"])
    book.save(tmp_path / "rows.xlsx")
    found = read(None, "rows.xlsx")

    assert found.rows() in ([{"a": "whole"}], [{"a": "_xD83D_"}, {"a": "whole"}])
    assert len(found.rows()) + len(found.rejected()) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Save it as .xlsx"),
        (b"PK\x03\x04 broken", "no Excel workbook"),
        (b"", "no Excel workbook"),
    ],
)
def test_other_workbooks_are_refused_with_advice(read, content, says):
    found = read(content, "rows.xlsx")

    assert found.error.exit_code == 1
    assert says in str(found.error)
