# SPDX-License-Identifier: Apache-2.0
"""What is read again and what is not, in runs that end well, badly, or not at all."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipai_kit.exceptions import ConfigurationError
from tap_files.exceptions import UnreadableFileError
from tap_files.patterns import read_patterns
from tap_files.stream import FileStream
from tap_files.tap import TapFiles

COMMAND = str(Path(sys.executable).parent / "tap-files")


def touch(path, seconds):
    os.utime(path, (1_800_000_000 + seconds, 1_800_000_000 + seconds))


def numbers(found):
    return [row["a"] for row in found.rows()]


def deleted(found):
    rows = found.run.records["rows"]
    return [row["_sdc_source_line"] for row in rows if "_sdc_deleted_at" in row]


def test_reads_only_new_and_changed_files_oldest_first(read, tmp_path):
    first = read({"b.csv": b"a\n1\n", "a.csv": b"a\n2\n"}, path="*.csv")
    touch(tmp_path / "b.csv", 0)
    touch(tmp_path / "a.csv", 1)
    both = read(None, "none", path="*.csv", state=first.state)
    same = read(None, "none", path="*.csv", state=both.state)
    (tmp_path / "b.csv").write_text("a\n3\n")
    (tmp_path / "c.csv").write_text("a\n4\n")
    touch(tmp_path / "c.csv", 2)
    touch(tmp_path / "b.csv", 3)
    changed = read(None, "none", path="*.csv", state=same.state)

    assert sorted(numbers(first)) == [1, 2]
    assert numbers(both) == [1, 2]
    assert numbers(same) == []
    assert numbers(changed) == [4, 3]


def test_full_refresh_reads_all_again_and_a_start_date_leaves_old_files_out(read, tmp_path):
    first = read({"a.csv": b"a\n1\n", "b.csv": b"a\n2\n"}, path="*.csv")
    again = read(None, "x", path="*.csv", state=first.state, settings={"full_refresh": True})
    os.utime(tmp_path / "a.csv", (0, 0))
    young = read(None, "x", path="*.csv", settings={"start_date": "2020-01-01T00:00:00Z"})

    assert sorted(numbers(again)) == [1, 2]
    assert numbers(young) == [2]


def test_lines_that_a_new_version_lacks_are_told_as_deleted(read, tmp_path):
    first = read("a,b\n1,x\n2,x\n3,x\n4,x\n")
    second = read('a,b\n1,"x\ny"\n5,x\n', state=first.state)
    third = read(None, state=second.state)
    fourth = read("a,b\n7,x\n8,x\n9,x\n", state=third.state)

    assert deleted(first) == []
    assert (second.lines(), deleted(second)) == ([2, 4, 3, 5], [3, 5])
    assert deleted(third) == []
    assert (numbers(fourth), deleted(fourth)) == ([7, 8, 9], [])


def test_rows_of_a_file_that_is_gone_stay_unless_told_otherwise(read, tmp_path):
    files = {"a.csv": b"a\n1\n2\n", "b.csv": b"a\n3\n"}
    first = read(files, path="*.csv")
    (tmp_path / "a.csv").unlink()
    kept = read(None, "x", path="*.csv", state=first.state)
    told = read(None, "x", path="*.csv", state=first.state, deleted_files="delete")
    (tmp_path / "b.csv").unlink()
    unmounted = read(None, "x", path="*.csv", state=first.state, deleted_files="delete")

    assert deleted(kept) == []
    assert [row["_sdc_source_file"][-5:] for row in told.run.records["rows"]] == ["a.csv"] * 2
    assert deleted(told) == [2, 3]
    assert deleted(unmounted) == []
    assert unmounted.events("all_files_gone")
    assert unmounted.state["bookmarks"]["rows"] == first.state["bookmarks"]["rows"]


def test_with_keys_nothing_is_told_as_deleted(read):
    first = read("a,b\n1,x\n2,x\n", key_properties=["a"])
    second = read("a,b\n1,y\n", key_properties=["a"], state=first.state)

    assert first.run.schemas["rows"]["key_properties"] == ["a"]
    assert second.rows() == [{"a": 1, "b": "y"}]
    assert deleted(second) == []


def test_a_file_that_grows_is_read_from_where_it_was(read):
    options = {"append_only": True}
    first = read("a,b\n1,x\n2,incompl", **options)
    same = read(None, state=first.state, **options)
    grown = read('a,b\n1,x\n2,incomplete\n3,"two\nlin', state=same.state, **options)
    more = read('a,b\n1,x\n2,incomplete\n3,"two\nlines"\n', state=grown.state, **options)
    other = read("a,b\n9,rotated\n" + "8,x\n" * 20, state=more.state, **options)

    assert numbers(first) == [1]
    assert numbers(same) == []
    assert grown.rows() == [{"a": 2, "b": "incomplete"}]
    assert more.rows() == [{"a": 3, "b": "two\nlines"}]
    assert numbers(other) == [9] + [8] * 20


def test_json_lines_that_grow_are_read_from_where_they_were(read):
    first = read('{"a":1}\n{"a":2', "rows.jsonl", append_only=True)
    more = read('{"a":1}\n{"a":2}\n', "rows.jsonl", append_only=True, state=first.state)

    assert (numbers(first), numbers(more)) == ([1], [2])


def test_one_bad_file_keeps_no_other_from_being_read(read, tmp_path):
    files = {"a.csv": b"a\n1\n", "b.csv.gz": b"\x1f\x8b broken", "c.csv": b"a\n3\n"}
    found = read(files)
    again = read(None, "x", path="*", state=found.state)
    (failed,) = found.events("file_failed")
    by_file = {row["file"].rsplit("/", 1)[1]: row for row in found.run.records["files"]}

    assert sorted(numbers(found)) == [1, 3]
    assert found.error.exit_code == 1
    assert failed["file"].endswith("b.csv.gz")
    assert by_file["b.csv.gz"]["is_complete"] is False
    assert "damaged" in by_file["b.csv.gz"]["error"]
    assert by_file["a.csv"]["rows"] == 1
    assert numbers(again) == []
    assert again.error.exit_code == 1


@pytest.mark.parametrize(
    ("name", "options", "code", "says"),
    [
        ("missing.csv", {}, 78, "There is no file"),
        ("no-*.csv", {}, 0, ""),
        ("no/such/*.csv", {}, 78, "There is no folder"),
        ("ftp://host/x.csv", {}, 78, "There is no store 'ftp'"),
        ("rows.dat", {}, 78, "Set 'format'"),
    ],
)
def test_other_streams_go_on_when_one_has_no_files(run, tmp_path, name, options, code, says):
    (tmp_path / "good.csv").write_text("a\n1\n")
    (tmp_path / "rows.dat").write_text("a\n1\n")
    path = name if "://" in name else str(tmp_path / name)
    entries = [
        {"name": "bad", "path": path, **options},
        {"name": "rows", "path": str(tmp_path / "good.csv")},
    ]
    found = run({"files": entries})

    assert found.rows() == [{"a": 1}]
    assert (found.error.exit_code if found.error else 0) == code
    assert says in str(found.error)


def test_a_file_that_is_written_while_it_is_read_is_read_again(run, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("a\n" + "1\n" * 3000)
    config = {"files": [{"name": "rows", "path": str(path)}]}
    from tap_files import stream

    read_rows, grown = stream.read_rows, []

    def grow(*args, **kwargs):
        for number, row in enumerate(read_rows(*args, **kwargs)):
            if number == 1500 and not grown:
                grown.append(path.write_text("a\n" + "2\n" * 3500))
            yield row

    monkeypatch.setattr(stream, "read_rows", grow)
    first = run(config)
    second = run(config, first.state)

    assert first.error.exit_code == 75
    assert "changed while it was read" in str(first.error)
    assert set(numbers(second)) == {2}
    assert len(numbers(second)) == 3500
    assert second.error is None


def test_what_nobody_foresaw_fails_one_file_and_asks_for_a_report(run, tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("a\n1\n")
    from tap_files import reading

    real = reading.Delimited

    def broken(content, *rest):
        if next(calls) == 2:
            raise ZeroDivisionError
        return real(content, *rest)

    calls = iter(range(9))
    monkeypatch.setattr(reading, "Delimited", broken)
    found = run({"files": [{"name": "rows", "path": str(tmp_path / "*.csv")}]})

    assert found.rows() == [{"a": 1}]
    assert found.error.exit_code == 70
    assert "ZeroDivisionError" in str(found.error)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_killed_run_goes_on_in_the_middle_of_the_file(tmp_path, run, suffix):
    """Whatever was written before its STATE is not read again; nothing behind it is missing."""
    count = 60_000
    path = tmp_path / f"rows.{suffix}"
    with path.open("w") as file:
        if suffix == "csv":
            file.write("a,b\n")
        for number in range(count):
            row = f'{number},"x\ny"\n' if suffix == "csv" else json.dumps({"a": number}) + "\n"
            file.write('"bad"row\n' if suffix == "csv" and number % 20_000 == 10_000 else row)
    config = {"files": [{"name": "rows", "path": str(path)}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    script = (
        "import sys; from tap_files.tap import TapFiles; TapFiles.state_interval = 0.0;"
        "sys.argv = ['tap-files', '--config', sys.argv[1]]; TapFiles.cli()"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "config.json")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        seen, state, before = [], None, 0
        for line in process.stdout:
            message = json.loads(line)
            if message["type"] == "STATE":
                state, before = message["value"], len(seen)
            elif message["type"] == "RECORD" and message["stream"] == "rows":
                seen.append(message["record"]["a"])
            if before > count // 3:
                os.kill(process.pid, signal.SIGKILL)
                break
    entry = state["bookmarks"]["rows"]["files"][str(path)]
    rest = run(config, state)
    bad = {10_000, 30_000, 50_000} if suffix == "csv" else set()

    assert entry["done"] is False
    assert entry["rows"] == before
    assert seen[:before] + numbers(rest) == [n for n in range(count) if n not in bad]
    final = rest.run.records["files"][0]
    assert (final["rows"], final["rejected"]) == (count - len(bad), len(bad))


def test_a_target_that_lets_wait_is_told_the_state_as_often(run, tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a":1}\n' * 20_000)
    write = FileStream._write_state_message
    monkeypatch.setattr(TapFiles, "state_interval", 0.0)
    monkeypatch.setattr(
        FileStream, "_write_state_message", lambda self: (time.sleep(0.02), write(self))
    )
    found = run({"files": [{"name": "rows", "path": str(path)}]})
    states = [line for line in found.run.lines if b'"STATE"' in line]

    assert len(states) > 10


def test_a_file_that_was_cut_off_is_read_anew_when_its_settings_were_corrected(
    read, tmp_path, monkeypatch
):
    """Else its first rows would stay as the wrong settings made them."""
    from tap_files import stream

    read_rows = stream.read_rows

    def cut(*args, **kwargs):
        yield from itertools.islice(read_rows(*args, **kwargs), 1500)
        raise UnreadableFileError("It was cut off.")

    monkeypatch.setattr(stream, "read_rows", cut)
    first = read("a;b\n" + "1;2\n" * 2500, delimiter=",")
    monkeypatch.setattr(stream, "read_rows", read_rows)
    same = read(None, delimiter=",", state=first.state)
    corrected = read(None, state=first.state)

    assert len(first.rows()) == 1500
    assert len(same.rows()) == 1000
    assert corrected.rows() == [{"a": 1, "b": 2}] * 2500
    assert "reading" not in str(corrected.state)


def test_stream_maps_and_selection_see_records(run, tmp_path, all_streams):
    (tmp_path / "rows.jsonl").write_text('{"a":1,"b":0.10}\n{"a":2,"b":1}\n[]\n')
    config = {"files": [{"name": "rows", "path": str(tmp_path / "rows.jsonl")}]}
    mapped = run({**config, "stream_maps": {"rows": {"__filter__": "a == 1", "c": "a * 2"}}})
    catalog = all_streams(config)
    (stream,) = [one for one in catalog["streams"] if one["tap_stream_id"] == "rows"]
    for entry in stream["metadata"]:
        if entry["breadcrumb"] == ["properties", "a"]:
            entry["metadata"]["selected"] = False
    selected = run(config, catalog=catalog)

    assert mapped.rows() == [{"a": 1, "b": 0.1, "c": 2}]
    assert b'"b":0.10' in b"".join(mapped.run.lines)
    assert selected.rows() == [{"b": 0.1}, {"b": 1}]
    assert len(mapped.rejected()) == len(selected.rejected()) == 1
    assert mapped.run.records["files"][0]["rows"] == 2


def test_the_catalog_decides_about_types_and_saves_looking_into_files(run, tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    config = {"files": [{"name": "rows", "path": str(tmp_path / "rows.csv")}]}
    catalog = TapFiles(config=config).catalog_dict
    (stream,) = [one for one in catalog["streams"] if one["tap_stream_id"] == "rows"]
    stream["schema"]["properties"]["a"] = {"type": ["null", "string"]}
    monkeypatch.setattr(TapFiles, "sample", lambda *_: pytest.fail("looked into a file"))

    assert run(config, catalog=catalog).rows() == [{"a": "1"}]


def test_rows_are_handed_over_in_files_on_request(run, tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n2\n")
    storage = {"root": str(tmp_path / "batches")}
    found = run(
        {
            "files": [{"name": "rows", "path": str(tmp_path / "rows.csv")}],
            "batch_config": {"storage": storage},
        }
    )
    batch = next(one for one in found.run.messages if one["type"] == "BATCH")
    lines = Path(batch["manifest"][0].removeprefix("file://")).read_text().splitlines()

    assert batch["stream"] == "rows"
    assert [json.loads(line)["a"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "a"}, "missing required field 'path'"),
        ({"name": "a", "path": "x", "colour": 1}, "unknown field 'colour'"),
        ({"name": "a b", "path": "x"}, "no stream name"),
        ({"name": "files", "path": "x"}, "is taken"),
        ({"name": "first", "path": "x"}, "is taken"),
        ({"name": "first_rejected", "path": "x"}, "rejected rows"),
        ({"name": "a", "path": ""}, "'path' is empty"),
        ({"name": "a", "path": "x", "delimiter": "||"}, "longer than one character"),
        ({"name": "a", "path": "x", "skip_rows": -1}, "negative"),
        ({"name": "a", "path": "x", "key_properties": ['"']}, "holds a quote"),
        ({"name": "a", "path": "x", "format": "xml"}, "Invalid enum value 'xml'"),
        ({"name": "a", "path": "x", "append_only": True, "format": "excel"}, "not for 'excel'"),
        (
            {"name": "a", "path": "x", "deleted_files": "delete", "key_properties": ["b"]},
            "known by file and line",
        ),
    ],
)
def test_a_wrong_setting_says_which_entry_and_why(entry, says):
    with pytest.raises(ConfigurationError) as caught:
        read_patterns([{"name": "first", "path": "x"}, entry])

    assert caught.value.message.startswith("Setting 'files[1]' is wrong")
    assert says in caught.value.message


def test_relative_paths_start_from_the_root():
    entries = [
        {"name": "a", "path": "x/*.csv"},
        {"name": "b", "path": "/y.csv"},
        {"name": "c", "path": "gs://z/q.csv"},
    ]

    assert [one.path for one in read_patterns(entries, "s3://bucket/in/")] == [
        "s3://bucket/in/x/*.csv",
        "/y.csv",
        "gs://z/q.csv",
    ]


def test_a_type_for_a_column_that_is_not_there_is_told(read):
    found = read("id,amount\n1,2\n", column_types={"amuont": "text", "id": "text"})

    assert found.error is None
    assert [one["column_types"] for one in found.events("columns_not_seen")] == [["amuont"]]


def test_an_unknown_encoding_is_named(read):
    found = read("a\n1\n", encoding="utf-9")

    assert found.error.exit_code == 78
    assert "no encoding 'utf-9'" in str(found.error)
