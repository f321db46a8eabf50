# SPDX-License-Identifier: Apache-2.0
"""A decoder that takes nothing but records of a shape: the whole check is one call into C.

What it takes has the shape. What it refuses may still have it (1.0 is an integer, a name comes
that the shape wants looked at): then `deviations` decides.
"""

from typing import Any, Final, Union

import msgspec

from ipai_kit.landing.record_shape import ANYTHING, Shape

_SCALARS: Final[dict[str, Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": None,
}
SIMPLE_TYPES: Final = frozenset(("string", "integer", "boolean", "null"))
"""Types whose values come out of the decoder as they are."""


class ShapeDecoder:
    """Decodes records of a shape; `attributes` names what is decoded of the top level."""

    def __init__(self, shape: Shape) -> None:
        """Raises ValueError for a shape that has no type, for the names in it."""
        self.attributes = _attributes(shape)
        decoder = msgspec.json.Decoder(_struct(shape))
        self.decode = decoder.decode
        self.decode_lines = decoder.decode_lines


def _type_of(shape: Shape) -> Any:
    if shape.is_open:
        return msgspec.Raw
    names = shape.types - {"integer"} if "number" in shape.types else shape.types
    options: list[Any] = [_SCALARS[name] for name in names if name in _SCALARS]
    if "array" in names:
        options.append(list.__class_getitem__(_type_of(shape.items or ANYTHING)))
    if "object" in names:
        options.append(_object_type(shape))
    return Union.__getitem__(tuple(options))


def _object_type(shape: Shape) -> Any:
    if shape.others is None or _attributes(shape):
        return _struct(shape)
    return dict.__class_getitem__((str, _type_of(shape.others)))


def _struct(shape: Shape) -> type[msgspec.Struct]:
    """A struct of the members that matter; without `gc`, for it never holds a cycle."""
    attributes = _attributes(shape)
    fields: list[Any] = []
    for name, attribute in attributes.items():
        kind = _type_of(shape.properties.get(name, shape.others or ANYTHING))
        is_required = name in shape.required
        fields.append((attribute, kind) if is_required else (attribute, kind, None))
    return msgspec.defstruct(
        "Record",
        fields,
        rename={attribute: name for name, attribute in attributes.items()},
        forbid_unknown_fields=_must_see_others(shape),
        kw_only=True,
        gc=False,
    )


def _attributes(shape: Shape) -> dict[str, str]:
    """Attribute by member: those that something is asked of, or all where others are refused."""
    names = [
        name
        for name, inner in shape.properties.items()
        if _must_see_others(shape) or name in shape.required or not inner.is_open
    ]
    names += sorted(shape.required - shape.properties.keys())
    return {name: f"f{position}" for position, name in enumerate(names)}


def _must_see_others(shape: Shape) -> bool:
    return shape.is_closed or shape.others is not None
