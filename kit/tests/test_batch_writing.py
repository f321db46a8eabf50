# SPDX-License-Identifier: Apache-2.0
"""Taps hand records over in files when they are asked to."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from singer_sdk.singerlib import RecordMessage

from ipai_kit.exceptions import ConfigurationError, InternalError, StoppedError
from ipai_kit.local import LocalStream
from ipai_kit.singer.batch_files import HandedFile, batch_folder

SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "at": {"type": "string"}, "amount": {}},
}


def rows(count):
    return [
        {"id": n, "at": f"2024-01-{n % 28 + 1:02}T00:00:00Z", "amount": Decimal("0.10")}
        for n in range(count)
    ]


def settings(folder, *, size=None, prefix=None, **encoding):
    found = {"encoding": encoding, "storage": {"root": Path(folder).as_uri(), "prefix": prefix}}
    return {"batch_config": found if size is None else {**found, "batch_size": size}}


def path_of(message):
    (address,) = message["manifest"]
    return Path(unquote(urlsplit(address).path))


def content(message):
    path, compression = path_of(message), message["encoding"]["compression"]
    if message["encoding"]["format"] == "parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    if compression == "zstd":
        data = pytest.importorskip("pyarrow").input_stream(path, compression="zstd").read()
    else:
        data = gzip.decompress(path.read_bytes()) if compression == "gzip" else path.read_bytes()
    return [json.loads(line, parse_float=Decimal) for line in data.splitlines()]


def read(output):
    return [one for message in output.of("BATCH") for one in content(message)]


@pytest.fixture
def local(demo, run_demo):
    def run(records, *, attributes=None, methods=None, **kwargs):
        class Things(LocalStream):
            name = "things"
            primary_keys = ("id",)
            replication_key = "at"
            schema = SCHEMA

            def get_records(self, context):
                yield from records

        for name, value in {**(attributes or {}), **(methods or {})}.items():
            setattr(Things, name, value)

        class Tap(demo.Tap):
            stream_types = (Things,)

        return run_demo(tap_class=Tap, **kwargs)

    return run


@pytest.mark.parametrize(
    "encoding",
    [
        {},
        {"format": "jsonl", "compression": "none"},
        {"format": "jsonl", "compression": "gzip"},
        {"format": "jsonl", "compression": "zstd"},
        {"format": "parquet", "compression": "zstd"},
        {"format": "parquet"},
    ],
)
def test_the_files_hold_what_the_lines_would(local, tmp_path, encoding):
    output = local(rows(2500), config=settings(tmp_path / "new folder", **encoding))

    assert output.error is None
    assert output.of("RECORD") == []
    assert read(output) == rows(2500)
    assert output.state == local(rows(2500)).state


def test_numbers_keep_every_digit(local, tmp_path):
    record = {"id": 1, "amount": Decimal("12345678901234567890.123456789")}

    output = local([record], config=settings(tmp_path))

    assert read(output) == [record]


def test_a_state_comes_after_the_files_it_speaks_of(local, tmp_path):
    frequent = {"STATE_MSG_FREQUENCY": 1000, "is_sorted": True}
    days = [{"id": n, "at": f"2024-01-{n // 200 + 1:02}"} for n in range(3000)]

    output = local(days, attributes=frequent, config=settings(tmp_path, size=1000))
    kinds = [message["type"] for message in output.messages]

    assert kinds[:7] == ["SCHEMA", *["BATCH", "STATE"] * 3]
    assert [len(content(message)) for message in output.of("BATCH")] == [1000] * 3


def test_files_are_named_for_tap_and_stream_and_nothing_else_is_left(local, tmp_path):
    output = local(rows(2), config=settings(tmp_path, prefix="run 7 "))

    (file,) = tmp_path.iterdir()
    assert file == path_of(output.of("BATCH")[0])
    assert file.name.startswith("run 7 tap-demo--things-")
    assert file.suffix == ".jsonl"


def test_an_error_leaves_no_file_that_nobody_was_told_of(local, tmp_path):
    def broken(_self, _context):
        yield from rows(1500)
        raise RuntimeError

    output = local([], methods={"get_records": broken}, config=settings(tmp_path))

    assert isinstance(output.error, RuntimeError)
    told = {path_of(message) for message in output.of("BATCH")}
    assert set(tmp_path.iterdir()) == told


def test_a_stream_hands_over_files_of_its_own(local, tmp_path):
    def own_files(stream, folder, _context):
        for day in ("2024-01-01", "2024-01-02"):
            with folder.create(stream.name) as (out, path):
                out.write(b'{"id":1,"at":"%s"}\n' % day.encode())
            yield HandedFile(path, records=1, latest=day)

    methods = {"get_batch_files": own_files, "is_sorted": True}
    output = local(rows(9), methods=methods, config=settings(tmp_path))

    assert read(output) == [{"id": 1, "at": "2024-01-01"}, {"id": 1, "at": "2024-01-02"}]
    assert [one["type"] for one in output.messages][:5] == ["SCHEMA", *["BATCH", "STATE"] * 2]
    assert output.state["bookmarks"]["things"]["replication_key_value"] == "2024-01-02"


def test_a_file_that_fails_on_the_way_gets_no_name(tmp_path):
    folder = batch_folder(settings(tmp_path), "tap-demo")

    with pytest.raises(StoppedError), folder.create("things") as (out, _):
        out.write(b"{")
        raise StoppedError(15)

    assert list(tmp_path.iterdir()) == []


def test_stream_maps_apply_before_the_file(local, tmp_path):
    maps = {"stream_maps": {"things": {"__alias__": "stuff", "__filter__": "id > 0"}}}
    output = local(rows(3), config={**settings(tmp_path), **maps})

    assert {message["stream"] for message in output.of("BATCH")} == {"stuff"}
    assert [one["id"] for one in read(output)] == [1, 2]


def test_a_full_table_hands_its_version_over(local, tmp_path):
    config = {**settings(tmp_path), "emit_activate_version_messages": True}
    output = local(rows(3), attributes={"replication_key": None}, config=config)

    (activated,) = output.of("ACTIVATE_VERSION")
    assert [message["version"] for message in output.of("BATCH")] == [activated["version"]]


def test_replies_of_an_api_go_into_files_as_they_are(demo, run_demo, reply, tmp_path):
    def answer(call):
        path = call.url.removeprefix("https://api.example.com").partition("?")[0]
        return reply(b'[{"id": 1, "extra": 1.50}]' if path == "/repos" else b'[{"id":7}]')

    output = run_demo(demo.Transport(answer), select={"repos", "labels"}, config=settings(tmp_path))

    assert output.error is None
    files = {message["stream"]: path_of(message).read_bytes() for message in output.of("BATCH")}
    assert files["repos"] == b'{"id": 1, "extra": 1.50}\n'
    assert json.loads(files["labels"]) == {"id": 7, "_repo": 1}
    assert output.messages[-1]["type"] in {"STATE", "BATCH"}


def test_a_record_message_goes_into_the_file_too(demo, tmp_path):
    tap = demo.Tap(config=settings(tmp_path))

    tap.write_message(RecordMessage("things", {"id": 1}))

    ((stream, _, file),) = tap.message_writer.batches.finish()
    assert (stream, file.records, file.path.read_bytes()) == ("things", 1, b'{"id":1}\n')


@pytest.mark.parametrize("root", ["s3://bucket/folder", ""])
def test_a_root_that_is_no_local_folder_is_refused(root):
    with pytest.raises(ConfigurationError, match="storage root"):
        batch_folder({"batch_config": {"storage": {"root": root}}}, "tap-demo")


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = batch_folder(settings(tmp_path / "file" / "folder"), "tap-demo")

    with pytest.raises(ConfigurationError, match="'batch_config' names the folder"):
        folder.add_lines("things", b"{}\n", 1, None)


def test_records_that_no_column_can_hold_say_what_to_set(tmp_path):
    folder = batch_folder(settings(tmp_path, format="parquet"), "tap-demo")
    folder.add_lines("things", b'{"v":1}\n{"v":"a"}\n', 2, None)

    with pytest.raises(InternalError, match="Set the format 'jsonl'"):
        list(folder.finish())
    folder.discard()


def test_without_pyarrow_an_encoding_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    folder = batch_folder(settings(tmp_path, compression="zstd"), "tap-demo")

    with pytest.raises(ConfigurationError, match="need pyarrow"):
        folder.add_lines("things", b"{}\n", 1, None)
