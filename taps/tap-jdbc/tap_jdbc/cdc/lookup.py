# SPDX-License-Identifier: Apache-2.0
"""What the log leaves out and the server is asked for: types, unchanged values, odd conversions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ipai_kit.sql.postgres import PostgresDatabase
from ipai_kit.sql.postgres.catalog import column_type, query
from ipai_kit.sql.postgres.statement import quoted_name
from ipai_kit.sql.postgres.values import ColumnType
from tap_jdbc.cdc.messages import LoggedColumn, Relation
from tap_jdbc.cdc.shape import UNCHANGED, Cells, Shape
from tap_jdbc.cdc.values import Cell

__all__ = ["Lookup"]

_ENVELOPE = len('{"v":')


class Lookup:
    """Questions to the source, over a connection beside the one that brings the log."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def types(self, relation: Relation) -> dict[str, ColumnType]:
        """Return the types of a table's columns; one that was dropped since is missing."""
        columns = relation.columns
        values = {
            "types": [column.type_oid for column in columns],
            "modifiers": [column.type_modifier for column in columns],
        }
        rows = self._database.fetch(query("types"), values)
        return {
            columns[place - 1].name: column_type(native, *about) for place, native, *about in rows
        }

    def with_generated(self, relation: Relation) -> Relation:
        """Return the table with the columns that the server computes and the log leaves out."""
        known = {column.name for column in relation.columns}
        rows = self._database.fetch(_GENERATED, {"oid": relation.oid})
        more = [
            LoggedColumn(name, oid, modifier, is_identity=False)
            for name, oid, modifier in rows
            if name not in known
        ]
        return replace(relation, columns=(*relation.columns, *more))

    def hidden(self, relation: Relation) -> set[str]:
        """Return the columns that this user may not read, though the log holds them."""
        return {name for (name,) in self._database.fetch(_HIDDEN, {"oid": relation.oid})}

    def translate(self, kind: ColumnType, cells: Sequence[Cell]) -> Sequence[bytes]:
        """Return the JSON that a snapshot has for these values."""
        distinct = sorted({cell for cell in cells if cell is not None})
        if not distinct:
            return [b"null"] * len(cells)
        value, native = (text.replace("%", "%%") for text in (kind.expression("t.v"), kind.native))
        text = f"""select replace(replace(row_to_json(r)::text, chr(13), ' '), chr(10), ' ')
            from (select {value} as v
                from (select u.v::{native} as v, u.n
                    from unnest(%(texts)s::text[]) with ordinality as u(v, n)) as t
                order by t.n) as r"""  # noqa: S608
        rows = self._database.fetch(text, {"texts": [cell.decode() for cell in distinct]})
        known: dict[Cell, bytes] = {None: b"null"}
        for cell, (row,) in zip(distinct, rows, strict=True):
            known[cell] = row[_ENVELOPE:-1].encode()
        return [known[cell] for cell in cells]

    def fill_in(self, shape: Shape, rows: Sequence[Cells]) -> Sequence[bool]:
        """Put current values in the place of unchanged ones; say which rows are still there.

        A value that changed once more meanwhile arrives early; the log brings its row again.
        """
        missing = sorted({n for row in rows for n, cell in enumerate(row) if cell is UNCHANGED})
        wanted = [n for n in missing if n in shape.places]
        found: Mapping[tuple[Cell, ...], Sequence[str | None]] = {}
        if wanted:
            found = self._current(shape, wanted, rows)
        is_there = []
        for row in rows:
            values = found.get(tuple(shape.key_of(row)))
            is_there.append(values is not None or not any(row[n] is UNCHANGED for n in wanted))
            for n in missing:
                if row[n] is UNCHANGED:
                    value = None if values is None or n not in wanted else values[wanted.index(n)]
                    row[n] = None if value is None else value.encode()
        return is_there

    def _current(
        self, shape: Shape, places: Sequence[int], rows: Sequence[Cells]
    ) -> dict[tuple[Cell, ...], Sequence[str | None]]:
        """Return the values of some columns by key, as text like the log's."""
        present = self._database.fetch(_COLUMNS, {"oid": shape.relation.oid})
        if not present:
            return {}
        names = {name for _, name in present}
        keys = [shape.names[n] for n in shape.key_places]
        if not names.issuperset(keys):
            return {}
        columns = [_as_text(shape.names[n], shape.names[n] in names) for n in places]
        match = " and ".join(
            f"t.{quoted_name(key)} = k.k{n}::{shape.types[key].native}"
            for n, key in enumerate(keys)
        )
        lists = ", ".join(f"%(k{n})s::text[]" for n in range(len(keys)))
        labels = ", ".join(f"k{n}" for n in range(len(keys)))
        table, match = (text.replace("%", "%%") for text in (present[0][0], match))
        text = f"""select {labels}, {", ".join(columns)}
            from unnest({lists}) as k({labels})
            join {table} as t on {match}"""  # noqa: S608
        values = {
            f"k{n}": [_text(row[place]) for row in rows] for n, place in enumerate(shape.key_places)
        }
        width = len(keys)
        return {
            tuple(key.encode() for key in row[:width]): row[width:]
            for row in self._database.fetch(text, values)
        }


# The table may have another name by now, and other columns.
_COLUMNS = """
select case when c.relkind = 'p' then '' else 'only ' end || a.attrelid::regclass::text, a.attname
from pg_attribute a
join pg_class c on c.oid = a.attrelid
where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
"""

_GENERATED = """
select a.attname, a.atttypid::int8, a.atttypmod
from pg_attribute a
where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped and a.attgenerated <> ''
order by a.attnum
"""

_HIDDEN = """
select a.attname
from pg_attribute a
where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
    and not has_column_privilege(a.attrelid, a.attnum, 'select')
"""


def _as_text(name: str, is_present: bool) -> str:
    """The value as its type writes it; a cast to text would cut the padding of char(n)."""
    if not is_present:
        return "null"
    column = f"t.{quoted_name(name)}".replace("%", "%%")
    return f"case when {column} is not null then format('%%s', {column}) end"


def _text(cell: Cell) -> str | None:
    return None if cell is None else cell.decode()
