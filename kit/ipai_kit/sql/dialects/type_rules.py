# SPDX-License-Identifier: Apache-2.0
"""How each type of a database is selected and written: one table of rules per database.

The tables in docs/databases.md are checked against these rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ipai_kit.sql.dialects.values import SCHEMAS, Convert, as_text

__all__ = ["TypeRule", "TypeRules", "arguments", "without_arguments"]

_ARGUMENTS = re.compile(r"\s*\(.*\)", re.DOTALL)


@dataclass(frozen=True)
class TypeRule:
    """What happens to the types of these names.

    `select` and `order` are SQL with `{}` for the column: how it is read, and what it is ordered
    and compared by. `convert` is applied to what the driver gives; `bind`, and `bound` in SQL, lead
    back from the value in a record to one that the database compares with `order`.
    """

    names: tuple[str, ...]
    kind: str
    select: str = "{}"
    convert: Convert | None = None
    order: str = "{}"
    bind: Convert | None = None
    bound: str = "{}"
    convert_of: Callable[[str], Convert] | None = None
    """Makes the conversion where it depends on the type's arguments, e.g. `bit(5)`."""
    sortable: bool = True
    shown: str = ""
    """What the documentation says about the values, where the kind does not."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON Schema fragment of the values."""
        return SCHEMAS[self.kind]

    def conversion(self, native_type: str) -> Convert | None:
        """Return what is applied to each value, if anything."""
        return self.convert_of(native_type) if self.convert_of else self.convert


class TypeRules:
    """The rules of one database; what has none is read as text."""

    def __init__(self, rules: Iterable[TypeRule], other: TypeRule | None = None) -> None:
        self.rules: Sequence[TypeRule] = tuple(rules)
        self.other = other or TypeRule((), "text", convert=as_text, sortable=False)
        self._by_name = {name: rule for rule in self.rules for name in rule.names}
        self.find = lru_cache(maxsize=1024)(self._find)

    def _find(self, native_type: str) -> TypeRule:
        """Return the rule of a type as the database writes it, with or without its arguments."""
        lowered = native_type.lower().strip()
        bare = without_arguments(lowered)
        for name in (lowered, bare, bare.partition(" ")[0]):
            if name in self._by_name:
                return self._by_name[name]
        return self.other

    def schema(self, native_type: str, *, nullable: bool) -> Mapping[str, Any]:
        """Return the JSON Schema fragment of a column."""
        schema = self.find(native_type).schema
        if nullable or "null" not in schema.get("type", ()):
            return schema
        kept = [name for name in schema["type"] if name != "null"]
        return {**schema, "type": kept[0] if len(kept) == 1 else kept}


def without_arguments(native_type: str) -> str:
    """Return `decimal` for `decimal(10,2)`, `enum` for `enum('a','b')`."""
    return _ARGUMENTS.sub("", native_type).strip()


def arguments(native_type: str) -> str:
    """Return `10,2` for `decimal(10,2)`; nothing where there are none."""
    found = re.search(r"\((.*)\)", native_type, re.DOTALL)
    return found[1] if found else ""
