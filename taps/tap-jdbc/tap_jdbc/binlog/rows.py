# SPDX-License-Identifier: Apache-2.0
"""How the rows of one table, as the log describes it at a moment, become records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.dialects.type_rules import TypeRules, arguments, without_arguments
from ipai_kit.sql.dialects.values import Convert
from tap_jdbc.binlog.cells import VECTOR, CellReader, cell_reader

__all__ = ["RowShape", "make_shape"]

_JSON: Final = 245
_NATIVE: Final = {
    1: "tinyint",
    2: "smallint",
    9: "mediumint",
    3: "int",
    8: "bigint",
    4: "float",
    5: "double",
    10: "date",
    14: "date",
    13: "year",
    15: "varchar",
    253: "varchar",
    254: "char",
    17: "timestamp",
    18: "datetime",
    19: "time",
    247: "enum",
    248: "set",
    255: "geometry",
    _JSON: "json",
    VECTOR: "vector",
}
_BLOBS: Final = (249, 250, 251, 252)
_ALIKE: Final = {
    "char": {"uuid", "inet4", "inet6"},
    "binary": {"uuid", "inet4", "inet6"},
    "text": {"tinytext", "mediumtext", "longtext", "json", "blob"},
    "blob": {"tinyblob", "mediumblob", "longblob", "vector"},
    "geometry": {
        *("point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"),
        *("geometrycollection", "geomcollection"),
    },
}
"""What the log calls by one name and the catalog by several."""
_NAMES: Final = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True)
class RowShape:
    """The columns of a table at a moment of the log."""

    table: Table
    """With the columns as they were then."""
    readers: Sequence[CellReader]
    conversions: Sequence[Convert | None]
    wanted: Sequence[bool]

    def images(self, data: bytes, place: int) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the rows of an event, each with the place behind it."""
        names = [column.name for column in self.table.columns]
        cells = list(zip(names, self.readers, self.conversions, self.wanted, strict=True))
        nulls = (len(cells) + 7) // 8
        while place < len(data):
            bitmap = int.from_bytes(data[place : place + nulls], "little")
            place += nulls
            record: dict[str, Any] = {}
            for bit, (name, read, convert, wanted) in enumerate(cells):
                if bitmap >> bit & 1:
                    value = None
                else:
                    value, place = read(data, place)
                    if wanted and convert is not None:
                        value = convert(value)
                if wanted:
                    record[name] = value
            yield record, place


def make_shape(
    logged: Sequence[Any],
    table: Table,
    rules: TypeRules,
    charsets: Mapping[str, str],
    wanted: Mapping[str, bool],
) -> RowShape:
    """Prepare a table; what the catalog says of a column counts while the column is the same."""
    columns, readers, conversions = [], [], []
    for column in logged:
        known = table.column(column.name)
        charset = _charset(column, charsets)
        native = _native_type(column, charset, known)
        if known is not None and native == known.native_type and native.startswith(("enum", "set")):
            _take_names(column, native)
        readers.append(cell_reader(column, without_arguments(native), charset))
        is_packed = column.type == _JSON
        conversions.append(None if is_packed else rules.find(native).conversion(native))
        schema = rules.schema(native, nullable=True)
        same = known is not None and known.native_type == native
        columns.append(known if same and known else Column(column.name, native, schema))
    shape = Table(table.schema, table.name, columns, primary_key=table.primary_key)
    return RowShape(shape, readers, conversions, [wanted.get(one.name, True) for one in columns])


def _charset(column: Any, charsets: Mapping[str, str]) -> str:
    """Return the character set; the log numbers them, and new numbers may be unknown here."""
    logged = column.character_set_name or ""
    if logged == "binary":
        return logged
    return charsets.get(column.name) or logged or "utf8mb4"


def _native_type(column: Any, charset: str, known: Column | None) -> str:
    """Return the catalog's type of a column, or what can be told from the log."""
    name = _logged_type(column, charset)
    if known is not None:
        bare = without_arguments(known.native_type.lower())
        base = bare.replace(" zerofill", "").replace(" unsigned", "")
        mine = without_arguments(name).replace(" unsigned", "")
        unsigned_alike = ("unsigned" in bare) == bool(column.unsigned) or base == "year"
        exact = not name.startswith(("decimal", "bit")) or arguments(name) == arguments(
            known.native_type
        )
        if (base == mine or base in _ALIKE.get(mine, ())) and unsigned_alike and exact:
            return known.native_type
    return name


def _logged_type(column: Any, charset: str) -> str:
    if column.type in _BLOBS:
        return "blob" if charset == "binary" else "text"
    if column.type == 246:
        return f"decimal({column.precision},{column.decimals})"
    if column.type == 16:
        return f"bit({column.bits})"
    name = _NATIVE.get(column.type, "")
    if charset == "binary" and name in ("char", "varchar"):
        return {"char": "binary", "varchar": "varbinary"}[name]
    return f"{name} unsigned" if column.unsigned and name in _NATIVE.values() else name


def _take_names(column: Any, native: str) -> None:
    """The log holds the names of ENUM and SET in the column's own character set."""
    names = [one.replace("''", "'") for one in _NAMES.findall(arguments(native))]
    if native.startswith("enum") and len(names) == len(column.enum_values) - 1:
        column.enum_values = ["", *names]
    elif native.startswith("set") and len(names) == len(column.set_values):
        column.set_values = names
