# SPDX-License-Identifier: Apache-2.0
"""Any JSON object comes back byte for byte."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=5)
texts = st.builds(
    lambda record, is_ascii, indent: json.dumps(
        record, ensure_ascii=is_ascii, separators=indent
    ).encode("utf-8", "surrogatepass"),
    objects,
    st.booleans(),
    st.sampled_from([(",", ":"), (" , ", " : "), (",\t", ": ")]),
)
numbers = itertools.count()


@pytest.mark.parametrize("form", ["delta", "parquet"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=st.lists(texts, min_size=1, max_size=8))
def test_any_record_comes_back_as_it_was_delivered(
    lake: Any, run_target: Callable[..., Any], form: str, records: list[bytes]
) -> None:
    stream = f"things_{form}_{next(numbers)}"
    lines = [
        b'{"type":"SCHEMA","stream":"%s","schema":{"properties":{}}}' % stream.encode(),
        *(
            b'{"type":"RECORD","stream":"%s","record":%s}' % (stream.encode(), record)
            for record in records
        ),
    ]

    done = run_target(lines, dead_letter_limit=1000, validate="off")

    landed = [text.encode() for text in lake.records(stream)]
    unstorable = [record for record in records if not _is_strict(record)]
    assert done.exit_code == 0
    assert landed == [record for record in records if _is_strict(record)]
    assert done.total("dead") == len(unstorable)


def _is_strict(record: bytes) -> bool:
    """Whether the bytes are UTF-8 and no escape stands for half a character."""
    try:
        json.loads(record.decode()).__repr__().encode()
        json.dumps(json.loads(record), ensure_ascii=False).encode()
    except UnicodeError:
        return False
    return True


@pytest.mark.parametrize("form", ["delta", "parquet"])
@pytest.mark.parametrize(
    "record",
    [
        b'{"id":1,"v":"a\\u0000b"}',
        b'{"id":1,"v":12345678901234567890123456789012345678.123456789}',
        b'{"id":1,"v":1e400,"w":-0.0}',
        b'{ "id" : 1 , "v" : [ ] }',
        b'{"id":1,"v":1,"v":2}',
        '{"id":1,"v":"\U0001f600\u00e9\u6771"}'.encode(),
    ],
)
def test_odd_but_storable_records_land(
    lake: Any, run_target: Callable[..., Any], schema: Callable[..., Any], form: str, record: bytes
) -> None:
    done = run_target([schema(), b'{"type":"RECORD","stream":"things","record":%s}' % record])

    assert (done.exit_code, lake.records()) == (0, [record.decode()])
