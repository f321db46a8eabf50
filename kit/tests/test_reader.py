# SPDX-License-Identifier: Apache-2.0
"""Messages out of a byte stream."""

import io
import json
import os
import tempfile
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipai_kit.singer.reader as reader
from ipai_kit.singer.reader import (
    FileDescriptorSource,
    InputError,
    LineBlocks,
    Message,
    MessageDecoder,
    RejectedMessage,
    TextSource,
    malformed_line,
    open_source,
    redacted_head,
)


def decode(text: bytes, **options: Any) -> reader.DecodedBlock:
    return MessageDecoder().decode(text, **options)


def test_a_record_stays_the_bytes_that_came() -> None:
    record = b'{ "id" : 12345678901234567890123, "d":1.10, "u":"\\u00e9\xc3\xa9" }'

    block = decode(b'{"type":"RECORD","stream":"a","record":%s,"version":3}\n' % record)

    message = block.messages[0]
    assert bytes(message.record) == record
    assert (message.stream, message.version, list(block.lines)) == ("a", 3, [1])
    assert block.fault is None


def test_other_messages_carry_their_parts_undecoded() -> None:
    lines = (
        b'{"type":"SCHEMA","stream":"a","schema":{"properties":{}},"key_properties":["id"],'
        b'"bookmark_properties":"u"}\n{"type":"STATE","value":{"n":12345678901234567890}}\n'
    )

    schema, state = decode(lines).messages

    assert (bytes(schema.schema), schema.key_properties) == (b'{"properties":{}}', ["id"])
    assert schema.bookmark_properties == "u"
    assert bytes(state.value) == b'{"n":12345678901234567890}'


def test_blank_lines_are_skipped_but_counted() -> None:
    decoder = MessageDecoder()

    first = decoder.decode(b'\n{"type":"A"}\n  \r\n{"type":"B"}\r\n')
    second = decoder.decode(b'{"type":"C"}\n')

    assert [(m.type, line) for m, line in zip(first.messages, first.lines, strict=True)] == [
        ("A", 2),
        ("B", 4),
    ]
    assert list(second.lines) == [5]


@pytest.mark.parametrize(
    "line",
    [
        b"starting up",
        b'{"type":"RECORD","stream":"a","record":{"id":1}',
        b'{"stream":"a"}',
        b"[1]",
        b'{"type":"RECORD","stream":7,"record":{}}',
        b'{"type":"RECORD","stream":"\xff","record":{}}',
        b'{"type":"STATE","value":NaN}',
        b'{"type":"RECORD","stream":"a","record":{}} {"type":"STATE","value":1}',
        b'{"type":"RECORD","version":"x","stream":"a","record":{}}',
        b'{"type":"STATE","value":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"[" * 5000,
    ],
)
def test_a_malformed_line_ends_the_block_after_what_came_before(line: bytes) -> None:
    block = decode(b'{"type":"A"}\n' + line + b'\n{"type":"B"}\n')

    assert [message.type for message in block.messages] == ["A"]
    assert block.fault is not None
    assert block.fault.exit_code == 65
    assert "Line 2 of the input is not a Singer message" in str(block.fault)


def test_two_messages_on_a_line_or_one_over_two_lines_are_malformed() -> None:
    one_line = decode(b'{"type":"A"}{"type":"B"}\n')
    two_lines = decode(b'{"type":\n"A"}\n')

    assert one_line.fault is not None
    assert two_lines.fault is not None


def test_an_input_that_ends_inside_a_message_says_so() -> None:
    block = decode(b'{"type":"A"}\n{"type":"RECORD","str', is_cut_off=True)

    assert [message.type for message in block.messages] == ["A"]
    assert "Line 2 of the input ends inside a message" in str(block.fault)


@pytest.mark.parametrize(
    "block",
    [
        b"\xef\xbb\xbf" + b'{"type": "SCHEMA", "stream": "s", "schema": {}}\n',
        '\ufeff{"type": "STATE", "value": 1}\n'.encode("utf-16-le"),
    ],
)
def test_a_byte_order_mark_at_the_start_is_named(block: bytes) -> None:
    fault = MessageDecoder().decode(block).fault

    assert fault is not None
    assert "starts with a byte order mark (BOM)" in str(fault)


def test_a_last_line_without_newline_is_a_line() -> None:
    assert decode(b'{"type":"A"}', is_cut_off=True).messages[0].type == "A"


@pytest.mark.parametrize(
    "record",
    [
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
    ],
)
def test_a_record_that_is_not_strict_json_is_kept_for_the_dead_letters(record: bytes) -> None:
    line = b'{"type":"RECORD","stream":"a","record":%s}' % record

    block = decode(b'{"type":"A"}\n' + line + b'\n{"type":"B"}\n')

    rejected = block.messages[1]
    assert [message.type for message in block.messages] == ["A", "REJECTED", "B"]
    assert isinstance(rejected, RejectedMessage)
    assert (bytes(rejected.record), rejected.stream) == (line, "a")
    assert rejected.error


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b'{"a":"\\ud800"}', "half of a surrogate pair"),
        (b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", "nested too deep"),
    ],
)
def test_why_a_record_is_not_strict_json_is_said_in_words(record: bytes, why: str) -> None:
    (rejected,) = decode(b'{"type":"RECORD","stream":"a","record":%s}\n' % record).messages

    assert isinstance(rejected, RejectedMessage)
    assert why in rejected.error


def test_a_deep_record_is_recognised_when_its_head_comes_last() -> None:
    line = b'{"record":%s%s,"type":"RECORD","stream":"a"}' % (b"[" * 3000, b"]" * 3000)

    assert decode(line + b"\n").messages[0].type == "REJECTED"


def test_escaped_nul_characters_are_looked_for_by_block() -> None:
    plain = decode(b'{"type":"RECORD","stream":"a","record":{"a":"0"}}\n')
    escaped = decode(b'{"type":"RECORD","stream":"a","record":{"a":"\\u0000"}}\n')

    assert not plain.may_hold_nul
    assert escaped.may_hold_nul


def test_the_head_of_a_malformed_line_shows_its_shape_and_no_value() -> None:
    line = b'{"type": "RECORD", "stream": "users", "record": {"password": "hunter2", "n": 5'

    head = redacted_head(line)

    assert head == '{"type": "RECORD", "stream": "xxxxx", "record": {"xxxxxxxx": "xxxxxxx", "x": x'
    assert "hunter2" not in str(malformed_line(1, line, "broken"))
    assert len(redacted_head(b"x" * 1000)) == 80


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_blocks_are_the_stream_again_however_it_is_cut(lines: list[bytes], step: int) -> None:
    stream = b"\n".join(lines)
    blocks = LineBlocks()

    fed = [blocks.feed(stream[at : at + step]) for at in range(0, len(stream), step)]

    whole, rest = [block for block in fed if block is not None], blocks.rest()
    assert b"".join(whole) + rest == stream
    assert all(block.endswith(b"\n") for block in whole)
    assert b"\n" not in rest


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 10)
    blocks = LineBlocks()

    with pytest.raises(InputError, match="longer than 10 bytes"):
        for _ in range(3):
            blocks.feed(b"12345")


def test_a_pipe_is_waited_for_read_and_interrupted() -> None:
    read_end, write_end = os.pipe()
    wake_read, wake_write = os.pipe()
    source = FileDescriptorSource(read_end, wake_read)

    started = time.monotonic()
    nothing = source.wait(0.05)
    waited = time.monotonic() - started
    os.write(write_end, b"abc")
    ready = source.wait(None)
    data = source.read()
    threading.Timer(0.05, os.write, (wake_write, b"!")).start()
    woken = source.wait(None)
    os.close(write_end)
    at_end = source.wait(5), source.read()
    for descriptor in (read_end, wake_read, wake_write):
        os.close(descriptor)

    assert (nothing, ready, data, woken, at_end) == (False, True, b"abc", False, (True, b""))
    assert 0.04 < waited < 2


def test_a_file_is_read_by_its_descriptor_and_text_in_memory_as_it_is() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        file.seek(0)
        by_descriptor = open_source(file, os.open(os.devnull, os.O_RDONLY))
        assert by_descriptor.wait(None) in {True, False}
        assert by_descriptor.read() == b"abc"

    text, data = open_source(io.StringIO("é"), -1), open_source(io.BytesIO(b"x"), -1)

    assert isinstance(text, TextSource)
    assert (text.wait(0), text.read(), text.read()) == (True, "é".encode(), b"")
    assert data.read() == b"x"


@pytest.mark.parametrize("step", [100_000, 1_500_000])
def test_a_line_in_many_parts_is_put_together(step: int) -> None:
    line = bytes(range(11, 256)) * 20_000
    text = b"short\n" + line + b"\n" + line
    blocks = LineBlocks()

    whole = [blocks.feed(text[start : start + step]) for start in range(0, len(text), step)]

    assert b"".join(filter(None, whole)) == b"short\n" + line + b"\n"
    assert blocks.rest() == line


def test_a_large_line_is_one_until_it_is_handed_over_and_not_kept() -> None:
    blocks = LineBlocks()

    blocks.feed(bytes(reader.LARGE_LINE_BYTES))
    assert not blocks.is_large
    blocks.feed(b"x")
    assert blocks.is_large

    assert len(blocks.rest()) == reader.LARGE_LINE_BYTES + 1
    assert (blocks.rest(), blocks.is_large) == (b"", False)


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.integers() | st.text(st.characters(exclude_categories=["Cs"])) | st.none(),
        )
    )
)
def test_whatever_a_tap_writes_comes_back(records: list[dict[str, Any]]) -> None:
    lines = [{"type": "RECORD", "stream": "s", "record": record} for record in records]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    messages: list[Message] = list(decode(text).messages)

    assert [json.loads(bytes(message.record)) for message in messages] == records
