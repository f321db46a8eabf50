# SPDX-License-Identifier: Apache-2.0
"""Rules of a SCHEMA beyond types (format, enum, pattern, anyOf, ...), by jsonschema-rs."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.deviations import (
    ITEM,
    Deviation,
    DriftKind,
    member_path,
    type_name,
)
from ipai_kit.landing.record_shape import ANYTHING, Shape, says_more_than_types

_LONGEST: Final = 60
_TOLD_BY_SHAPE: Final = frozenset(("type", "required", "additionalProperties"))
_decode_lines: Final = msgspec.json.Decoder(float_hook=Decimal).decode_lines


@dataclass(frozen=True)
class SchemaRules:
    """The compiled rules of a stream."""

    schema: Mapping[str, Any]
    validator: Any

    def allow(self, lines: bytes) -> bool:
        """Whether every record keeps to the schema; False also where that cannot be said."""
        try:
            return all(map(self.validator.is_valid, _decode_lines(lines)))
        except (ValueError, RecursionError, ArithmeticError):
            return False

    def find(self, shape: Shape, value: Any, told: Collection[str]) -> Iterator[Deviation]:
        """What a record does against the rules, except in places already told of."""
        try:
            errors = self.validator.iter_errors(value)
        except ValueError:
            return
        for error in errors:
            path, seen = _place(shape, value, error.instance_path)
            is_told = path in told or (
                error.kind.name in _TOLD_BY_SHAPE and any(one.startswith(path) for one in told)
            )
            if not is_told:
                expected = _expected(self.schema, error.schema_path)
                yield Deviation(DriftKind.CONSTRAINT, path, expected, type_name(seen))


def compile_rules(schema: Mapping[str, Any]) -> SchemaRules | None:
    """The rules of a schema, None when it only speaks of types; ValueError when it is none."""
    if not says_more_than_types(schema):
        return None
    try:
        import jsonschema_rs
    except ImportError as error:
        text = "Setting 'validate' is 'full', which needs jsonschema-rs."
        step = "Install it beside the target, or use 'types'."
        raise ConfigurationError(text, next_step=step) from error
    make = jsonschema_rs.validator_for if "$schema" in schema else jsonschema_rs.Draft7Validator
    return SchemaRules(schema, make(dict(schema), validate_formats=True, offline=True))


def _place(shape: Shape, value: Any, steps: Collection[str | int]) -> tuple[str, Any]:
    """Path and value at the steps of an error."""
    path = ""
    for step in steps:
        value = value[step]
        if isinstance(step, int):
            path, shape = path + ITEM, shape.items or ANYTHING
        else:
            path = member_path(shape, path, step)
            shape = shape.properties.get(step) or shape.others or ANYTHING
    return path, value


def _expected(schema: Any, steps: Collection[str | int]) -> str:
    """The broken rule as the schema words it."""
    rule = schema
    keyword = str([*steps][-1]) if steps else "schema"
    for step in steps:
        try:
            rule = rule[step]
        except (KeyError, IndexError, TypeError):
            return keyword
    text = rule if isinstance(rule, str) else json.dumps(rule, separators=(",", ":"))
    return f"{keyword} {text}" if len(text) <= _LONGEST else keyword
