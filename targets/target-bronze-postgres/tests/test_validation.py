# SPDX-License-Identifier: Apache-2.0
"""Records that are not what their SCHEMA says: landed and told of, buried, or the run ends."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
Line = dict[str, Any]

TYPED = {
    "id": {"type": "integer"},
    "u": {"type": ["string", "null"], "format": "date-time"},
    "amount": {"type": ["number", "null"]},
    "lines": {
        "type": "array",
        "items": {"type": "object", "properties": {"n": {"type": "string"}}},
    },
    "status": {"type": "string", "enum": ["open", "closed"]},
}


@pytest.fixture
def typed(schema: Make) -> Line:
    message: Line = schema(cursor="u", **TYPED)
    del message["schema"]["properties"]["v"]
    return message


def drift(done: Any) -> list[tuple[Any, ...]]:
    """Place, types and count of every event, in order."""
    return [
        tuple(event[name] for name in ("path", "expected", "seen", "count"))
        for event in done.of("drift")
    ]


def test_a_deviating_record_lands_and_is_told_of_with_a_key_but_no_value(
    bronze: Any, run_target: Make, typed: Line, record: Make, state: Make
) -> None:
    lines = [
        typed,
        record(id=1, amount=1.5, u="2024-01-01T00:00:00Z"),
        record(id=2, amount="canary", lines=[{"n": 1}, {"n": 2}]),
        record(id=3, amount="canary"),
        record(id="four", amount=None),
        state(1),
    ]

    done = run_target(lines)

    assert (done.exit_code, done.states) == (0, [1])
    assert bronze.letters() == []
    assert bronze.rows("things", "record_key, cursor") == [
        ('["four"]', None),
        ("[1]", "2024-01-01T00:00:00.000000000Z"),
        ("[2]", None),
        ("[3]", None),
    ]
    assert drift(done) == [
        ("amount", "null|number", "string", 1),
        ("lines[].n", "string", "integer", 1),
        ("id", "integer", "string", 1),
        ("amount", "null|number", "string", 2),
    ]
    told = done.of("drift")[0]
    assert (told["stream"], told["kind"], told["example_key"]) == ("things", "type", "[2]")
    assert "canary" not in done.stderr


def test_a_buried_record_keeps_its_bytes_and_the_reason(
    bronze: Any, run_target: Make, typed: Line, record: Make
) -> None:
    lines = [
        typed,
        record(id=1),
        '{"type":"RECORD","stream":"things","record":{"id":2,"amount":"x"}}',
    ]

    done = run_target(lines, on_invalid="dead_letter")

    assert done.exit_code == 0
    assert [key for key, _ in bronze.rows("things")] == ["[1]"]
    assert bronze.letters() == [("things", "invalid", b'{"id":2,"amount":"x"}')]
    assert done.of("dead_letter")[0]["error"] == "'amount' is string, expected null|number"
    assert [done.total(name) for name in ("received", "inserted", "dead")] == [2, 1, 1]


def test_a_run_that_must_not_go_on_names_line_place_and_types(
    bronze: Any, run_target: Make, typed: Line, record: Make, state: Make
) -> None:
    lines = [typed, record(id=1), state(1), record(id=2, amount="x"), record(id=3), state(2)]

    done = run_target(lines, on_invalid="fail")

    assert (done.exit_code, done.states) == (65, [1])
    assert (
        "Line 4 of the input is not what its SCHEMA says: 'amount' is string, expected null|number."
        " (stream 'things')"
    ) in done.error
    assert [key for key, _ in bronze.rows("things")] == ["[1]"]
    assert len(bronze.letters()) == 1
    assert [done.total(name) for name in ("received", "inserted", "dead")] == [2, 1, 1]


@pytest.mark.parametrize("on_invalid", ["land", "dead_letter", "fail"])
@pytest.mark.parametrize("validate", ["types", "full", "off"])
def test_a_record_without_its_key_is_always_a_dead_letter(
    bronze: Any, run_target: Make, typed: Line, record: Make, validate: str, on_invalid: str
) -> None:
    lines = [typed, record(id=1), record(amount="x"), record(id=None)]

    done = run_target(lines, validate=validate, on_invalid=on_invalid)

    assert done.exit_code == 0
    assert [reason for _, reason, _ in bronze.letters()] == ["missing_key", "null_key"]
    assert drift(done) == []


@pytest.mark.parametrize(
    ("validate", "expected"),
    [
        ("off", []),
        ("types", [("amount", "null|number", "string")]),
        (
            "full",
            [
                ("amount", "null|number", "string"),
                ("u", "format date-time", "string"),
                ("status", 'enum ["open","closed"]', "string"),
            ],
        ),
    ],
)
def test_how_much_is_checked_is_a_setting(
    bronze: Any,
    run_target: Make,
    typed: Line,
    record: Make,
    validate: str,
    expected: list[tuple[str, ...]],
) -> None:
    lines = [typed, record(id=1, amount="5"), record(id=2, u="today"), record(id=3, status="new")]

    done = run_target(lines, validate=validate)

    assert len(bronze.rows("things")) == 3
    assert [place[:3] for place in drift(done)] == expected


def test_exact_numbers_are_what_they_are(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    rules = {"type": "number", "maximum": 0.3}
    lines = [
        schema(n={"type": "integer"}, p=rules),
        '{"type":"RECORD","stream":"things","record":{"id":1,"n":1.0,"p":0.3}}',
        '{"type":"RECORD","stream":"things","record":{"id":2,"n":%s,"p":0}}' % ("9" * 60),
        '{"type":"RECORD","stream":"things","record":{"id":3,"n":1e2,"p":0.30000000000000000001}}',
    ]

    done = run_target(lines, validate="full")

    assert len(bronze.rows("things")) == 3
    assert drift(done) == [("p", "maximum 0.3", "number", 1)]


def test_members_that_no_rule_forbids_are_news_of_the_first_records(
    bronze: Any, run_target: Make, schema: Make, record: Make
) -> None:
    inner = {"type": "object", "properties": {"a": {}}}
    lines = [
        schema(inner=inner, free={"type": "object", "additionalProperties": True}),
        record(id=1, new=5, inner={"a": 1, "b": "x"}, free={"x": 1}),
        '{"type":"RECORD","stream":"things","record":{"id":2,"v":1,"v":2}}',
        *(record(id=number, late=1) for number in range(3, 40)),
    ]

    done = run_target(lines, on_invalid="fail")

    assert done.exit_code == 0
    assert [(event["kind"], event["path"], event["count"]) for event in done.of("drift")] == [
        ("repeated_member", "v", 1),
        ("unknown_field", "new", 1),
        ("unknown_field", "inner.b", 1),
        ("unknown_field", "late", 18),
    ]


def test_a_schema_that_changes_is_checked_from_there_on(
    run_target: Make, schema: Make, record: Make
) -> None:
    lines = [
        schema(v={"type": "string"}),
        record(id=1, v=1),
        schema(v={"type": "integer"}),
        record(id=2, v=1),
        record(id=3, v="x"),
    ]

    done = run_target(lines)

    assert drift(done) == [("v", "string", "integer", 1), ("v", "integer", "string", 1)]


def test_the_total_of_a_frequent_deviation_is_told_as_it_doubles_and_at_the_end(
    run_target: Make, typed: Line, record: Make
) -> None:
    lines = [typed, *(record(id=number, amount="x") for number in range(50))]

    done = run_target(lines, batch_size_rows=10)

    assert [count for *_, count in drift(done)] == [1, 10, 20, 40, 50]


@pytest.mark.parametrize(
    ("keys", "properties"),
    [
        (["id"], {"id": {"type": "number"}}),
        (["id"], {"id": {}}),
        (["id", "k.n"], {"id": {"type": "integer"}, "k": {"type": "object"}}),
        (["id", "status"], {"id": {"type": "integer"}, "status": {"type": "string"}}),
        ([], {"id": {"type": "integer"}}),
        (["unlisted"], {}),
        (["id"], {"id": {"type": "integer"}, 'odd"name': {"type": "string"}}),
    ],
)
@pytest.mark.parametrize("cursor", [None, "u"])
def test_keys_of_every_kind_go_with_the_check(
    bronze: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    keys: list[str],
    properties: dict[str, Any],
    cursor: str | None,
) -> None:
    good = {"id": 1, "k": {"n": 1}, "status": "open", "unlisted": 1, "u": None, "v": 1}
    typed = {"v": {"type": "integer"}, "u": {"type": ["null", "string"]}, **properties}
    lines = [schema(keys=keys, cursor=cursor, **typed), record(**good)]
    bad = [record(**{**good, "v": "x", "id": 2, "unlisted": 2})]

    checked, unchecked = (run_target(lines + bad, validate=how) for how in ("types", "off"))

    assert (checked.exit_code, unchecked.exit_code) == (0, 0)
    assert unchecked.total("unchanged") == 2  # the same keys, whoever found them
    assert drift(checked)[0] == ("v", "integer", "string", 1)


def test_a_schema_that_is_none_is_checked_for_its_types_alone(
    run_target: Make, schema: Make, record: Make
) -> None:
    lines = [
        schema(v={"type": "integer"}, w={"pattern": "("}, x={"$ref": "https://example.com/s.json"}),
        record(id=1, v="x"),
    ]

    done = run_target(lines, validate="full")

    assert done.exit_code == 0
    assert drift(done) == [("v", "integer", "string", 1)]
    assert done.of("schema_not_usable")[0]["stream"] == "things"


def test_without_the_package_for_it_not_every_rule_can_be_checked(
    run_target: Make, typed: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)

    done = run_target([typed], validate="full")

    assert done.exit_code == 78
    assert "needs jsonschema-rs" in done.error


def test_the_rows_of_a_buried_record_outlive_a_new_generation(
    bronze: Any, run_target: Make, typed: Line, record: Make
) -> None:
    def generation(version: int, amount: Any) -> list[Line]:
        activate = {"type": "ACTIVATE_VERSION", "stream": "things", "version": version}
        return [typed, record(id=1, amount=amount, version=version), activate]

    run_target(generation(1, 5), on_invalid="dead_letter")
    run_target(generation(2, "x"), on_invalid="dead_letter")

    assert bronze.rows("things", "record_key, deleted_at") == [("[1]", None)]
    assert len(bronze.letters()) == 1


def test_a_nul_beside_a_deviation_is_the_reason_to_bury(
    bronze: Any, run_target: Make, typed: Line
) -> None:
    line = '{"type":"RECORD","stream":"things","record":{"id":1,"amount":"a\\u0000"}}'

    run_target([typed, line], on_invalid="dead_letter")

    assert [reason for _, reason, _ in bronze.letters()] == ["nul_character"]
