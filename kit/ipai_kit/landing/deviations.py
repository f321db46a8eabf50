# SPDX-License-Identifier: Apache-2.0
"""Where a record is not what its SCHEMA says: exact, member by member, numbers of any size."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from enum import StrEnum
from typing import Any, Final

import msgspec

from ipai_kit.landing.record_shape import Shape

OTHER_MEMBER: Final = "*"
ITEM: Final = "[]"
UNREADABLE: Final = (ValueError, RecursionError, DecimalException)


class DriftKind(StrEnum):
    """How a record differs from its SCHEMA."""

    TYPE = "type"
    MISSING = "missing"
    CONSTRAINT = "constraint"
    FORBIDDEN_FIELD = "forbidden_field"
    UNKNOWN_FIELD = "unknown_field"
    REPEATED_MEMBER = "repeated_member"


LAWFUL: Final = frozenset((DriftKind.UNKNOWN_FIELD, DriftKind.REPEATED_MEMBER))
"""News that the schema does not forbid."""


@dataclass(frozen=True)
class Deviation:
    """A place in a record; holds no value of it."""

    kind: DriftKind
    path: str
    expected: str
    seen: str

    def __str__(self) -> str:
        """In words."""
        if self.kind == DriftKind.REPEATED_MEMBER:
            return f"{self.path!r} comes more than once in a record"
        if self.kind == DriftKind.UNKNOWN_FIELD:
            return f"{self.path!r} ({self.seen}) is not in the SCHEMA"
        return f"{self.path or 'record'!r} is {self.seen}, expected {self.expected}"


class Members(dict[str, Any]):
    """An object that knows which of its names came more than once."""

    repeated: tuple[str, ...] = ()


def read_exactly(record: bytes) -> Any:
    """The value of a record, no number of it rounded; raises one of UNREADABLE."""
    try:
        return _decode(record)
    except msgspec.DecodeError:  # numbers of thousands of digits, or no JSON
        return read_members(record)


def read_members(record: bytes) -> Any:
    """The same, of which every object knows its repeated names; takes ten times as long."""
    return _decoder.decode(bytes(record).decode())


def find_deviations(shape: Shape, value: Any, path: str = "") -> Iterator[Deviation]:
    """Every place where a value read by `read_exactly` does not have the shape."""
    seen = type_name(value)
    if seen not in shape.types:
        yield Deviation(DriftKind.TYPE, path, type_text(shape.types), seen)
    elif isinstance(value, dict):
        yield from _in_object(shape, value, path)
    elif isinstance(value, list) and shape.items is not None:
        for item in value:
            yield from find_deviations(shape.items, item, path + ITEM)


def find_news(shape: Shape, value: Any, path: str = "") -> Iterator[Deviation]:
    """What `read_members` reads and no schema forbids: members it does not list, repeated names."""
    if isinstance(value, Members):
        for name in value.repeated:
            yield Deviation(
                DriftKind.REPEATED_MEMBER, member_path(shape, path, name), "once", "repeatedly"
            )
        for name, member in value.items():
            inner = shape.properties.get(name)
            if inner is not None:
                yield from find_news(inner, member, member_path(shape, path, name))
            elif shape.reports_others and name not in shape.required:
                place = _joined(path, name)
                yield Deviation(DriftKind.UNKNOWN_FIELD, place, "nothing", type_name(member))
    elif isinstance(value, list) and shape.items is not None:
        for item in value:
            yield from find_news(shape.items, item, path + ITEM)


def type_name(value: Any) -> str:
    """JSON Schema's name for the type of a value."""
    if isinstance(value, Decimal):
        return "integer" if _is_whole(value) else "number"
    return _NAMES[type(value)]


def type_text(types: frozenset[str]) -> str:
    """The types as one word."""
    return "|".join(sorted(types - {"integer"} if "number" in types else types))


def member_path(shape: Shape, path: str, name: str) -> str:
    """Path of a member; a name that the schema does not list may be a value and is not shown."""
    return _joined(path, name if name in shape.properties else OTHER_MEMBER)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _in_object(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[Deviation]:
    for name in sorted(shape.required - value.keys()):
        inner = shape.properties.get(name)
        expected = type_text(inner.types) if inner else "a member"
        yield Deviation(DriftKind.MISSING, _joined(path, name), expected, "missing")
    for name, member in value.items():
        inner = shape.properties.get(name, shape.others)
        if inner is not None:
            yield from find_deviations(inner, member, member_path(shape, path, name))
        elif shape.is_closed:
            place = _joined(path, name)
            yield Deviation(DriftKind.FORBIDDEN_FIELD, place, "nothing", type_name(member))


def _is_whole(value: Decimal) -> bool:
    return value == value.to_integral_value()


def _members(pairs: list[tuple[str, Any]]) -> Members:
    members = Members(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        members.repeated = tuple(name for name, count in counts.items() if count > 1)
    return members


_NAMES: Final[dict[type, str]] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
    Members: "object",
}
_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_decoder: Final = json.JSONDecoder(
    parse_float=Decimal, parse_int=Decimal, object_pairs_hook=_members
)
