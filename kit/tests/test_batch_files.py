# SPDX-License-Identifier: Apache-2.0
"""Records that come in files land exactly as the same records that come in lines."""

import gzip
import json
import os
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipai_kit.bronze import compile_extract, plan_stream, record_hash
from ipai_kit.bronze_block import compile_block_extract
from ipai_kit.landing.batch import FlushBatch
from ipai_kit.landing.batch_files import find_files, read_blocks
from ipai_kit.landing.intake import Intake
from ipai_kit.landing.settings import LandingSettings
from ipai_kit.singer.reader import BLOCK_BYTES, InputError, Message, MessageDecoder

WRITTEN = datetime(2026, 1, 31, 12, tzinfo=UTC)

KEYS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(0, 5),
    st.sampled_from([1.0, 1e0, 1.5, -0.0, 1e300]),
    st.booleans(),
    st.none(),
    st.text(max_size=6),
    st.just("k" * 2100),
    st.lists(st.integers(0, 2), max_size=2),
)
CURSORS = st.one_of(
    st.sampled_from(
        [
            *("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:00+02:00"),
            *("2026-01-01", "Z" * 20, "    -  -  T  :  :  Z", "2026-01-01T00:00:00ZZ"),
        ]
    ),
    st.integers(-5, 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.text(max_size=22),
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "id": KEYS,
        "part": st.integers(0, 1) | st.text(max_size=2),
        "at": CURSORS,
        "v": st.text(max_size=4) | st.just("\0") | st.just("\\u0000") | st.just([{"a": "}"}]),
    },
)


class Silent:
    """An event log that nobody reads."""

    def emit(self, event: str, **fields: Any) -> None:
        """Say nothing."""


def take(messages: list[bytes], *, keeps_every_version: bool = False, rows: int = 10**6) -> Any:
    """What an intake makes of messages: rows in order, dead letters, counts."""
    batches: list[FlushBatch] = []
    landing = LandingSettings(
        source=None,
        domain=None,
        instance_id="default",
        run_id=None,
        keeps_every_version=keeps_every_version,
        batch_size_rows=rows,
        batch_size_bytes=2**40,
        flush_seconds=3600,
        retry_seconds=0,
        dead_letter_limit=10**6,
        refuses_nul=True,
    )
    intake = Intake(landing, batches.append, Silent())
    intake.take(MessageDecoder().decode(b"".join(line + b"\n" for line in messages)))
    intake.finish(is_complete=True)
    return [
        (
            [(key, bytes(record), *rest) for key, record, *rest in stream.to_write()],
            stream.received,
            stream.dead,
            stream.size,
            stream.generation_keys,
            [(letter.reason, letter.error, letter.raw) for letter in batch.dead_letters],
        )
        for batch in batches
        for stream in batch.streams.values()
    ]


def schema(keys: list[str], cursor: str | None) -> bytes:
    properties = {"id": {}, "part": {}, "at": {}, "v": {}}
    message = {"type": "SCHEMA", "stream": "s", "schema": {"properties": properties}}
    bookmarks = [cursor] if cursor else []
    return json.dumps(
        {**message, "key_properties": keys, "bookmark_properties": bookmarks}
    ).encode()


def as_lines(records: list[bytes], version: int | None = None) -> list[bytes]:
    tail = b',"time_extracted":"%s"' % WRITTEN.isoformat().encode()
    tail += b',"version":%d' % version if version is not None else b""
    return [b'{"type":"RECORD","stream":"s","record":%s%s}' % (one, tail) for one in records]


def as_file(path: Path, data: bytes, version: int | None = None, **encoding: str) -> bytes:
    path.write_bytes(data)
    os.utime(path, (WRITTEN.timestamp(), WRITTEN.timestamp()))
    message: dict[str, Any] = {"type": "BATCH", "stream": "s", "manifest": [path.as_uri()]}
    message["encoding"] = {"format": "jsonl", **encoding}
    return json.dumps(message if version is None else {**message, "version": version}).encode()


def joined(records: list[bytes]) -> bytes:
    return b"".join(record + b"\n" for record in records)


@settings(max_examples=120, deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=8),
    keys=st.sampled_from([["id"], ["id", "part"], ["part"], []]),
    cursor=st.sampled_from(["at", None]),
    loose=st.booleans(),
    keeps_every_version=st.booleans(),
    version=st.sampled_from([None, 3]),
    rows=st.sampled_from([2, 10**6]),
)
@example([{"id": 1, "at": "2026-01-01T00:00:00Z"}] * 3, ["id"], "at", False, False, None, 10**6)
@example([{"id": "a"}, {"id": 1}], ["id"], None, False, False, 3, 2)
def test_a_file_and_the_same_lines_make_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[Any],
    keys: list[str],
    cursor: str | None,
    loose: bool,
    keeps_every_version: bool,
    version: int | None,
    rows: int,
) -> None:
    separators = (", ", ": ") if loose else (",", ":")
    texts = [
        json.dumps(one, ensure_ascii=loose, separators=separators).encode("utf-8", "replace")
        for one in records
    ]
    file = as_file(tmp_path_factory.getbasetemp() / "same.jsonl", joined(texts), version)
    head = schema(keys, cursor)
    choices = {"keeps_every_version": keeps_every_version, "rows": rows}

    assert take([head, file], **choices) == take([head, *as_lines(texts, version)], **choices)


@pytest.mark.parametrize("keys", [["id"], ["id", "part"]])
def test_the_usual_block_is_taken_at_once_as_one_by_one(keys: list[str]) -> None:
    plan = plan_stream("s", {"properties": {}}, key_properties=keys, bookmark_properties=["at"])
    records = [
        b'{"id":%d,"part":"\xc3\xa9\\"%d","at":"2026-01-01T00:00:%02dZ"}' % (n, n, n)
        for n in range(50)
    ]
    extract = compile_extract(plan)

    found = compile_block_extract(plan, hashed=True)(joined(records))

    assert found is not None
    assert found.rows(repeat(7)) == [
        (*extract(one)[:1], one, 7, *extract(one)[1:], record_hash(one)) for one in records
    ]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"id":1}', id="no newline at the end"),
        pytest.param(b'{"id":1}\n\n', id="an empty line"),
        pytest.param(b'{"id":1} \n', id="a blank at the end"),
        pytest.param(b'{"id":1}\r\n', id="a carriage return"),
        pytest.param(b'{"id":1}{"id":2}\n', id="two in a line"),
        pytest.param(b'{"id":1,"v":[{}\n{}]}\n', id="one in two lines"),
        pytest.param(b'{"id":1}\n[{"id":2}\n', id="a list"),
        pytest.param(b'{"id":1}\n{"id":}\n', id="no JSON"),
        pytest.param(b'{"id":1}\n{"v":2}\n', id="no key"),
        pytest.param(b'{"id":1}\n{"id":1.0}\n', id="a key of another type"),
        pytest.param(b'{"id":"%s"}\n' % (b"k" * 2001), id="a long key"),
    ],
)
def test_an_unusual_block_is_left_to_be_taken_one_by_one(block: bytes) -> None:
    plan = plan_stream("s", {"properties": {}}, key_properties=["id"])

    assert compile_block_extract(plan, hashed=True)(block) is None


def batch_message(path: Path, **encoding: Any) -> Message:
    line = {"type": "BATCH", "stream": "s", "manifest": [str(path)], "encoding": encoding}
    return msgspec.json.decode(json.dumps(line), type=Message)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_file_of_many_blocks_is_read_whole(tmp_path: Path, compression: str) -> None:
    data = joined([b'{"id":%d}' % number for number in range(40_000)])[:-1]
    assert len(data) > 3 * BLOCK_BYTES
    path = tmp_path / "many.jsonl"
    if compression == "zstd":
        pa = pytest.importorskip("pyarrow")
        with pa.output_stream(path, compression="zstd") as out:
            out.write(data)
    else:
        path.write_bytes(gzip.compress(data) if compression == "gzip" else data)

    (file,) = find_files(batch_message(path, format="jsonl", compression=compression), line=7)

    assert b"".join(read_blocks(file)) == data


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        pytest.param(b"{}\n", {"format": "jsonl", "compression": "gzip"}, id="not gzip"),
        pytest.param(gzip.compress(b"{}" * 99)[:-9], {"format": "jsonl", "compression": "gzip"}),
        pytest.param(b"{}\n", {"format": "jsonl", "compression": "zstd"}, id="not zstd"),
        pytest.param(b"{}\n", {"format": "parquet"}, id="not parquet"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, encoding: Any) -> None:
    path = tmp_path / "damaged.bin"
    path.write_bytes(content)
    (file,) = find_files(batch_message(path, **encoding), line=7)

    with pytest.raises(InputError, match=r"'damaged.bin' of a BATCH cannot be read \(line 7 "):
        list(read_blocks(file))
