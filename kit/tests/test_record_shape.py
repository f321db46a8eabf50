# SPDX-License-Identifier: Apache-2.0
"""The compiled check of types against jsonschema: any schema, any record."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipai_kit.landing.deviations import find_deviations, read_exactly
from ipai_kit.landing.record_shape import (
    ALL_TYPES,
    record_shape,
    says_more_than_types,
)
from ipai_kit.landing.shape_decoder import ShapeDecoder

NAMES = st.sampled_from(["a", "b", "id", "é", "", 'q"'])
TYPES = st.sampled_from(sorted(ALL_TYPES))
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([2**63, 2**64, -(2**70), 10**30])
    | st.sampled_from([1.0, -0.0, 1.5, 1e3, 1e300])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "text", "1", "\x00"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def typed_schemas(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
                "properties": st.dictionaries(NAMES, inner, max_size=3),
                "items": inner,
                "required": st.lists(NAMES, max_size=2, unique=True),
                "additionalProperties": st.booleans() | inner,
                "title": st.just("words"),
            },
        )
    )
    return schema


SCHEMAS = st.recursive(st.just({}) | TYPES.map(lambda name: {"type": name}), typed_schemas)
RULES = st.sampled_from(
    [
        {"enum": [1, "text"]},
        {"const": None},
        {"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"]}]},
        {"minimum": 1},
        {"patternProperties": {"a": {"type": "string"}}},
        {"items": [{"type": "string"}]},
        {"$ref": "#/definitions/x"},
        {"not": {"type": "null"}},
    ]
)
RULED_SCHEMAS = st.recursive(
    st.builds(lambda schema, rule: schema | rule, SCHEMAS, RULES) | SCHEMAS, typed_schemas
)


def values_of(schema: Any) -> st.SearchStrategy[Any]:
    """Values that often keep to the schema."""
    if not isinstance(schema, dict):
        return VALUES
    kinds: dict[str, Any] = {
        "string": st.sampled_from(["", "text"]),
        "integer": st.sampled_from([0, 5, 1.0, 2**70]),
        "number": NUMBERS,
        "boolean": st.booleans(),
        "null": st.none(),
        "array": st.lists(values_of(schema.get("items")), max_size=2),
        "object": members_of(schema),
    }
    names = schema.get("type", sorted(ALL_TYPES))
    return st.one_of([kinds[name] for name in ([names] if isinstance(names, str) else names)])


def members_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    properties = {n: values_of(inner) for n, inner in schema.get("properties", {}).items()}
    others = schema.get("additionalProperties")
    return st.builds(
        lambda extra, known: extra | known,
        st.dictionaries(
            NAMES, values_of(others) if isinstance(others, dict) else VALUES, max_size=1
        ),
        st.fixed_dictionaries({}, optional=properties),
    )


def cases(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A schema, which is what takes time to make, and records that often fit it."""
    return typed_schemas(schemas).flatmap(
        lambda schema: st.tuples(
            st.just(schema),
            st.lists(
                members_of(schema) | st.dictionaries(NAMES, VALUES, max_size=3),
                min_size=3,
                max_size=3,
            ),
        )
    )


def is_lawful(schema: dict[str, Any], record: Any) -> bool:
    definitions = {"definitions": {"x": {"type": "integer"}}}
    validator = jsonschema.Draft7Validator({**schema, **definitions, "type": "object"})
    return bool(validator.is_valid(record))


def keeps_types(schema: dict[str, Any], text: bytes) -> bool:
    return not list(find_deviations(record_shape(schema), read_exactly(text)))


def is_decoded(schema: dict[str, Any], text: bytes) -> bool:
    try:
        ShapeDecoder(record_shape(schema)).decode(text)
    except (msgspec.DecodeError, ValueError):
        return False
    return True


@settings(max_examples=80, deadline=None)
@given(cases(SCHEMAS))
def test_a_record_keeps_its_types_exactly_when_jsonschema_says_so(
    case: tuple[dict[str, Any], list[Any]],
) -> None:
    schema, records = case

    assert not says_more_than_types(schema)
    for record in records:
        text = json.dumps(record).encode()
        assert keeps_types(schema, text) == is_lawful(schema, record)
        assert not is_decoded(schema, text) or is_lawful(schema, record)


@settings(max_examples=80, deadline=None)
@given(cases(RULED_SCHEMAS))
def test_the_types_never_refuse_what_jsonschema_allows(
    case: tuple[dict[str, Any], list[Any]],
) -> None:
    schema, records = case

    for record in records:
        text = json.dumps(record).encode()
        assert keeps_types(schema, text) or not is_lawful(schema, record)
        assert keeps_types(schema, text) or not is_decoded(schema, text)


PERSON = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": ["string", "null"]},
        "score": {"type": "number"},
        "address": {"type": ["object", "null"], "properties": {"zip": {"type": "string"}}},
        "tags": {
            "type": "array",
            "items": {"type": "object", "properties": {"n": {"type": "string"}}},
        },
        "marks": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "closed": {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    },
}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (b'"id":1', []),
        (b'"id":1.0,"score":5', []),
        (b'"id":%s,"score":%s' % (b"9" * 5000, b"1" + b"0" * 400), []),
        (b'"id":1,"score":1e999999', []),
        (b'"id":1,"other":[{}]', []),
        (b'"id":1,"address":{"zip":"x","more":1}', []),
        (b'"id":1,"name":null,"address":null', []),
        (b'"id":"1"', ["'id' is string, expected integer"]),
        (b'"id":1.5', ["'id' is number, expected integer"]),
        (b'"id":true', ["'id' is boolean, expected integer"]),
        (b'"name":"x"', ["'id' is missing, expected integer"]),
        (b'"id":1,"name":5', ["'name' is integer, expected null|string"]),
        (b'"id":1,"score":"5"', ["'score' is string, expected number"]),
        (b'"id":1,"address":{"zip":5}', ["'address.zip' is integer, expected string"]),
        (b'"id":1,"tags":[{"n":"x"},{"n":1}]', ["'tags[].n' is integer, expected string"]),
        (b'"id":1,"marks":{"secret":1}', ["'marks.*' is integer, expected boolean"]),
        (b'"id":1,"closed":{"b":1}', ["'closed.b' is integer, expected nothing"]),
    ],
)
def test_a_deviation_is_named_by_its_path_and_types(members: bytes, expected: list[str]) -> None:
    text = b"{%s}" % members

    found = find_deviations(record_shape(PERSON), read_exactly(text))
    assert [str(one) for one in found] == expected
    assert not expected or not is_decoded(PERSON, text)


@pytest.mark.parametrize(
    "text", [b'{"id":1,"name":"x","score":1,"tags":[{"n":"x"}],"marks":{"a":true},"new":{}}']
)
def test_a_record_as_it_should_be_takes_one_call(text: bytes) -> None:
    assert is_decoded(PERSON, text)


def test_key_properties_are_required_where_the_schema_lists_them() -> None:
    shape = record_shape({"properties": {"id": {}, "x": {}}}, ["id", "unlisted"])

    assert shape.required == {"id"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"format": {"type": "string"}}}, False),
        ({"properties": {"a": {"type": "string", "format": "date-time"}}}, True),
        ({"properties": {"a": {"items": {"enum": [1]}}}}, True),
        ({"properties": {"a": {"additionalProperties": {"minimum": 1}}}}, True),
        ({"properties": {"a": False}}, True),
        ({"properties": {"a": {"items": [{}]}}}, True),
        ({"x-ipai": {"enum": 1}, "title": "t", "properties": {}}, False),
    ],
)
def test_rules_beyond_types_are_noticed_wherever_they_are(schema: Any, expected: bool) -> None:
    assert says_more_than_types(schema) is expected


@pytest.mark.parametrize(
    "schema",
    [{"type": "any"}, {"type": []}, {"type": {"x": 1}}, {"type": 5}, {"$ref": "#"}, True, None],
)
def test_what_is_no_type_of_json_schema_leaves_the_value_open(schema: Any) -> None:
    shape = record_shape({"properties": {"a": schema}})

    assert shape.properties["a"].is_open
    assert not shape.limits_members


def test_a_schema_nested_without_end_is_checked_to_a_depth() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}

    assert is_decoded(schema, b'{"a":{"a":{}}}')
    assert not is_decoded(schema, b'{"a":{"a":5}}')
