# SPDX-License-Identifier: Apache-2.0
"""What a stream's SCHEMA says about the types of its records, without any other rule it has.

A shape never refuses what the schema allows: where a schema says something that types alone cannot
say (`$ref`, `patternProperties`, a list of `items`), the shape leaves it open.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

ALL_TYPES: Final = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))
_DEEPEST: Final = 50
_CONSTRAINTS: Final = frozenset(
    (
        *("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if"),
        *("const", "enum", "format", "pattern", "minLength", "maxLength", "contentEncoding"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "uniqueItems", "contains", "additionalItems", "prefixItems"),
        *("minProperties", "maxProperties", "patternProperties", "propertyNames"),
        *("dependencies", "dependentRequired", "dependentSchemas"),
        *("unevaluatedItems", "unevaluatedProperties", "contentMediaType"),
    )
)


@dataclass(frozen=True)
class Shape:
    """Types that a value may have, and the shapes of what is inside it."""

    types: frozenset[str] = ALL_TYPES
    properties: Mapping[str, "Shape"] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    others: "Shape | None" = None
    """Shape of the members that are not among the properties; None where any may come."""
    is_closed: bool = False
    """Whether no other members are allowed."""
    reports_others: bool = False
    """Whether the schema lists the members and is silent about others: then another one is news."""
    items: "Shape | None" = None

    @property
    def is_open(self) -> bool:
        """Whether every value has this shape."""
        return self.types == ALL_TYPES and not self.limits_members and self.items is None

    @property
    def limits_members(self) -> bool:
        """Whether something is asked of the members of an object."""
        known = any(not shape.is_open for shape in self.properties.values())
        return bool(known or self.required or self.others is not None or self.is_closed)


ANYTHING: Final = Shape()


def record_shape(schema: Mapping[str, Any], key_properties: Sequence[str] = ()) -> Shape:
    """Shape of the records of a stream; its key properties are required where they are listed."""
    shape = _shape(schema, 0)
    keys = frozenset(key for key in key_properties if key in shape.properties)
    return Shape(
        frozenset(("object",)),
        shape.properties,
        shape.required | keys,
        shape.others,
        shape.is_closed,
        shape.reports_others,
    )


def says_more_than_types(schema: Any) -> bool:
    """Whether a schema, or one inside it, has a rule that is not about types."""
    if not isinstance(schema, Mapping):
        return schema is False
    if not _CONSTRAINTS.isdisjoint(schema) or isinstance(schema.get("items"), list | bool):
        return True
    return any(says_more_than_types(inner) for inner in _inner_schemas(schema))


def _inner_schemas(schema: Mapping[str, Any]) -> Iterator[Any]:
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from properties.values()
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), Mapping):
            yield schema[keyword]


def _names(listed: Any) -> frozenset[str]:
    names = listed if isinstance(listed, list) else []
    return frozenset(name for name in names if isinstance(name, str))


def _shape(schema: Any, depth: int) -> Shape:
    if not isinstance(schema, Mapping) or "$ref" in schema or depth > _DEEPEST:
        return ANYTHING
    types = _types(schema.get("type"))
    if types is None:
        return ANYTHING
    has_patterns = "patternProperties" in schema
    listed = schema.get("properties")
    properties = listed if isinstance(listed, Mapping) else {}
    others = None if has_patterns else schema.get("additionalProperties")
    return Shape(
        types,
        {name: _shape(inner, depth + 1) for name, inner in properties.items()},
        _names(schema.get("required")),
        _shape(others, depth + 1) if isinstance(others, Mapping) else None,
        is_closed=others is False,
        reports_others=bool(properties) and others is None and not has_patterns,
        items=_items(schema, depth),
    )


def _items(schema: Mapping[str, Any], depth: int) -> Shape | None:
    items = schema.get("items")
    if not isinstance(items, Mapping) or "prefixItems" in schema:
        return None
    shape = _shape(items, depth + 1)
    return None if shape.is_open else shape


def _types(declared: Any) -> frozenset[str] | None:
    """The named types; None when one of them is none of JSON Schema."""
    if declared is None:
        return ALL_TYPES
    listed = declared if isinstance(declared, list) else [declared]
    if not listed or not all(isinstance(name, str) and name in ALL_TYPES for name in listed):
        return None
    names = frozenset(listed)
    return names | {"integer"} if "number" in names else names
