# SPDX-License-Identifier: Apache-2.0
"""What a statement in the log means for tables that are followed by their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Statement"]

_WORD = r"(?:`(?P<{0}q>(?:[^`]|``)+)`|(?P<{0}>[\w$]+))"
_TABLE: Final = re.compile(
    rf"\s*(?:{_WORD.format('s')}\s*\.\s*)?{_WORD.format('t')}\s*(?P<more>,?)"
)
_EMPTIES: Final = re.compile(
    r"(?:truncate(?:\s+table)?|drop\s+table(?:\s+if\s+exists)?|create\s+or\s+replace\s+table)\b",
    re.IGNORECASE,
)
_RENAMES: Final = re.compile(r"(?:rename\s|alter\s.*\brename\b)", re.IGNORECASE | re.DOTALL)
_PARTS: Final = re.compile(
    r"alter\s+(?:ignore\s+)?table\b(?P<rest>.*)\b"
    r"(?:drop|truncate|exchange|import|discard|convert)\s+(?:partition|tablespace|table)\b",
    re.IGNORECASE | re.DOTALL,
)
_WRITES: Final = re.compile(
    r"(?:insert|replace|update|delete|load\s+data)\b(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_WITHIN: Final = re.compile(r"(?:begin|start transaction|savepoint|xa\s)", re.IGNORECASE)
_XA_COMMIT: Final = re.compile(
    r"xa\s+commit\s+x'(?P<global>[0-9a-f]*)'\s*,\s*x'(?P<branch>[0-9a-f]*)'", re.IGNORECASE
)
_NOTE: Final = re.compile(r"^(?:\s|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)*", re.DOTALL)


@dataclass(frozen=True)
class Statement:
    """A statement, and the database that it was said in."""

    text: str
    schema: str

    @classmethod
    def of(cls, query: str, schema: bytes | str) -> Statement:
        """Read a statement, whatever notes stand before it."""
        place = schema.decode() if isinstance(schema, bytes) else str(schema)
        return cls(_NOTE.sub("", query, count=1), place)

    @property
    def ends_transaction(self) -> bool:
        """Whether what was logged before is complete."""
        return not _WITHIN.match(self.text)

    @property
    def committed_xa(self) -> str | None:
        """The XA transaction whose rows, logged somewhere before, become valid."""
        found = _XA_COMMIT.match(self.text)
        return f"{found['global']},{found['branch']}".lower() if found else None

    def emptied(self) -> Iterator[tuple[str, str]]:
        """Yield database and name of the tables that hold nothing any more."""
        found = _EMPTIES.match(self.text)
        place = found.end() if found else -1
        while place >= 0 and (table := _TABLE.match(self.text, place)):
            names = table["sq"] or table["s"] or self.schema, table["tq"] or table["t"]
            yield names[0].replace("``", "`"), names[1].replace("``", "`")
            place = table.end() if table["more"] else -1

    def gives_name(self, name: str) -> bool:
        """Whether some table is called so from now on."""
        if not _RENAMES.match(self.text):
            return False
        quoted = re.escape(name.replace("`", "``"))
        taken = rf"\b(?:to|as|rename)\s+(?:\S+?\s*\.\s*)?`?{quoted}`?(?![\w$`])"
        return re.search(taken, self.text, re.IGNORECASE) is not None

    def writes(self, schema: str, name: str) -> bool:
        """Whether the statement itself changes rows."""
        return self._names(_WRITES, schema, name)

    def moves_parts(self, schema: str, name: str) -> bool:
        """Whether partitions come or go with their rows."""
        return self._names(_PARTS, schema, name)

    def _names(self, kind: re.Pattern[str], schema: str, name: str) -> bool:
        found = kind.match(self.text)
        if found is None or not re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", self.text):
            return False
        return schema in (self.schema, *re.findall(r"[\w$]+", found["rest"]))
