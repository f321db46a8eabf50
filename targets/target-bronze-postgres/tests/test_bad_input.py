# SPDX-License-Identifier: Apache-2.0
"""Bytes that are no proper stream: one line says where, and nothing of what came before is lost."""

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def raw(record: bytes, *more: bytes) -> bytes:
    members = b"".join(b"," + member for member in more)
    return b'{"type":"RECORD","stream":"things","record":%s%s}' % (record, members)


HUGE_VERSION = b'"version":99999999999999999999'


@pytest.mark.parametrize(
    ("line", "message", "stream"),
    [
        (
            b'{"type":"SCHEMA","stream":"x","schema":{"properties":{"a":{"title":"\xff"}}}}',
            "Line 4 of the input has a SCHEMA that is not valid UTF-8.",
            "x",
        ),
        (
            b'{"type":"SCHEMA","stream":"x","schema":{"properties":{"a":{"title":"\\ud800"}}}}',
            "Line 4 of the input is not a Singer message: ",
            "x",
        ),
        (
            b'{"type":"SCHEMA","stream":"x","schema":{"properties":{}},"key_properties":["a\\"b"]}',
            "Line 4 of the input has a SCHEMA with the key or cursor 'a\"b'.",
            "x",
        ),
        (
            b'{"type":"STATE","value":"\xff"}',
            "Line 4 of the input has a STATE that is not valid UTF-8.",
            None,
        ),
        (
            b'{"type":"RECORD","stream":"\xff","record":{}}',
            "Line 4 of the input is not a Singer message: 'utf-8' codec",
            "\ufffd",
        ),
        (
            raw(b'{"id":2}', b'"time_extracted":"\xff"'),
            "Line 4 of the input is not a Singer message: 'utf-8' codec",
            "things",
        ),
        (
            raw(b'{"id":2}', HUGE_VERSION),
            "Line 4 of the input is not a Singer message: Expected `int` <= 9223372036854775807",
            "things",
        ),
        (
            b'{"type":"ACTIVATE_VERSION","stream":"things","version":1e30}',
            "Line 4 of the input is not a Singer message: Expected `float` < 9.22",
            "things",
        ),
        (
            raw(b'{"id":2}') + raw(b'{"id":3}'),
            "Line 4 of the input is not a Singer message: JSON is malformed: trailing",
            "things",
        ),
        (
            b'{"type":"RECORD","stream":"things","record":{"id":2,',
            "is not a Singer message",
            "things",
        ),
        (b'{"stream":"things","record":{}}', "missing required field `type`", None),
        (b"\x00\x00", "Line 4 of the input is not a Singer message: JSON is malformed", None),
    ],
)
def test_a_line_that_is_no_message_ends_the_run_with_its_position_and_stream(
    bronze: Any,
    run_target: Make,
    schema: Make,
    state: Make,
    line: bytes,
    message: str,
    stream: str | None,
) -> None:
    done = run_target([schema(), raw(b'{"id":1}'), state(1), line, raw(b'{"id":9}'), state(2)])

    assert (done.exit_code, done.states) == (65, [1])
    assert message in done.error
    assert done.of("failed")[0].get("stream") == stream
    assert [key for key, _ in bronze.rows("things")] == ["[1]"]


@pytest.mark.parametrize(
    ("keys", "record"),
    [
        (["id"], b'{"id":1e99999999999999999999}'),
        (["id"], b'{"id":%s}' % (b"9" * 5000)),
        (["id", "v"], b'{"id":1,"v":-1e-99999999999999999999}'),
        ([], b'{"id":1,"v":1e99999999999999999999}'),
        (["id"], b'{"id":2,"v":1e99999999999999999999}'),
    ],
)
@pytest.mark.parametrize("kind", [{}, {"type": ["integer", "number"]}])
def test_a_number_that_nothing_can_hold_is_a_dead_letter(
    bronze: Any,
    run_target: Make,
    schema: Make,
    state: Make,
    keys: list[str],
    record: bytes,
    kind: dict[str, Any],
) -> None:
    message = schema(keys=keys, cursor="v", id=kind, v=kind)

    done = run_target([message, raw(b'{"id":1,"v":1}'), raw(record), state(1)])

    assert (done.exit_code, done.states) == (0, [1])
    assert bronze.value("select count(*) from ipai_bronze_core.raw_singer_things") == 1
    assert bronze.letters() == [("things", "number_out_of_range", record)]
