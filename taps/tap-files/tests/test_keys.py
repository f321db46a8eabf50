# SPDX-License-Identifier: Apache-2.0
"""`key_properties` that rows do not have are told, not landed."""

import json

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tap_files.tap import TapFiles


def sheet(path):
    book = openpyxl.Workbook()
    book.active.append(["id", "name"])
    book.active.append([1, "a"])
    book.save(path)


def table(path):
    pq.write_table(pa.table({"id": [1], "name": ["a"]}), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.csv", lambda path: path.write_text("id,name\n1,a\n")),
        ("rows.jsonl", lambda path: path.write_text('{"id":1,"name":"a"}\n')),
        ("rows.json", lambda path: path.write_text('[{"id":1,"name":"a"}]')),
        ("rows.parquet", table),
        ("rows.xlsx", sheet),
    ],
)
def test_a_key_that_no_column_has_is_a_wrong_setting(read, tmp_path, name, write):
    write(tmp_path / name)
    found = read(None, name, key_properties=["id", "nmae"])

    assert found.error.exit_code == 78
    for part in ("'nmae'", "'id', 'name'", str(tmp_path / name), "Correct 'key_properties'"):
        assert part in str(found.error)
    assert found.rows() == []
    assert read(None, name, key_properties=["id", "name"]).rows() == [{"id": 1, "name": "a"}]


def test_files_that_lack_the_key_column_fail_and_the_others_are_read(read):
    files = {"a.csv": b"id,n\n1,2\n", "b.csv": b"number,n\n3,4\n", "c.csv": b"id\n5\n"}
    found = read(files, key_properties=["id"])
    again = read({"b.csv": b"id,n\n3,4\n"}, key_properties=["id"], state=found.state)
    (failed,) = found.events("file_failed")

    assert sorted(row["id"] for row in found.rows()) == [1, 5]
    assert found.error.exit_code == 78
    assert failed["file"].endswith("b.csv")
    assert [row["id"] for row in again.rows()] == [3]
    assert again.error is None


def test_json_records_without_the_key_are_rejected_among_those_that_have_it(read):
    lines = ['{"a":0}', "broken", '{"id":1}', '{"id":null}', '{"a":2}', '{"id":3}']
    found = read("\n".join(lines), "rows.jsonl", key_properties=["id"])

    assert [row["id"] for row in found.rows()] == [1, None, 3]
    assert [(line, raw) for line, _, raw in found.rejected()] == [
        (1, '{"a":0}'),
        (2, "broken"),
        (5, '{"a":2}'),
    ]
    assert "has no 'id'" in found.rejected()[0][1]


def test_many_json_records_without_the_key_fail_the_file_and_fill_no_dead_letters(read):
    lines = "".join(json.dumps({"a": number}) + "\n" for number in range(5000))
    found = read(lines, "rows.jsonl", key_properties=["id"])

    assert found.error.exit_code == 78
    assert found.rejected() == []


def test_discovery_tells_of_the_wrong_key_too(tmp_path, capfd):
    (tmp_path / "rows.csv").write_text("id\n1\n")
    entry = {"name": "rows", "path": str(tmp_path / "rows.csv"), "key_properties": ["no"]}
    tap = TapFiles(config={"files": [entry]})
    (problem,) = tap.sample(tap.patterns[0]).problems

    assert problem.exit_code == 78
    assert "'no'" in str(problem)
