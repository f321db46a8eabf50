# SPDX-License-Identifier: Apache-2.0
"""The SELECT that a selection means, in PostgreSQL's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ipai_kit.sql.database import Selection
from ipai_kit.sql.postgres.values import ColumnType

__all__ = ["quoted_name", "quoted_text", "select_columns", "select_positions", "select_rows"]

_Types = Mapping[str, ColumnType]


def quoted_name(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(value: str) -> str:
    """Quote a text, whatever standard_conforming_strings says."""
    text = value.replace("'", "''")
    return f" e'{text}'".replace("\\", "\\\\") if "\\" in text else f"'{text}'"


def select_rows(selection: Selection, types: _Types) -> str:
    """Return the query that gives one JSON object for each row."""
    columns = ", ".join(_member(name, types[name]) for name in selection.columns)
    rest = _rest(selection, types)
    order = _order(selection.order)
    limit = f" limit {selection.limit}" if selection.limit is not None else ""
    return _as_json(f"{columns} {rest}{order}{limit}")


def select_columns(selection: Selection, types: _Types) -> str:
    """Return the query that gives the values of those JSON objects in columns."""
    names = [quoted_name(name) for name in selection.columns]
    values = ", ".join(
        f"{types[name].column_expression(quoted)} as {quoted}"
        for name, quoted in zip(selection.columns, names, strict=True)
    )
    rest, order = _rest(selection, types), _order(selection.order)
    limit = f" limit {selection.limit}" if selection.limit is not None else ""
    rows = f"select {', '.join(names)} {rest}{order}{limit}"
    return f"select {values} from ({rows}) as ipai_row_"  # noqa: S608


def select_positions(
    selection: Selection, types: _Types, *, skip: int = 0, backwards: bool = False
) -> str:
    """Return the query that gives the ordering columns of one row."""
    columns = ", ".join(_member(name, types[name]) for name in selection.order)
    rest, order = _rest(selection, types), _order(selection.order, " desc" if backwards else "")
    return _as_json(f"{columns} {rest}{order} limit 1 offset {skip}")


def _as_json(query: str) -> str:
    # A column may have any name: the alias must not be one.
    return f"select row_to_json(ipai_row_) from (select {query}) as ipai_row_"  # noqa: S608


def _member(name: str, kind: ColumnType) -> str:
    quoted = quoted_name(name)
    expression = kind.expression(f"q.{quoted}")
    return expression if expression == f"q.{quoted}" else f"{expression} as {quoted}"


def _order(names: Sequence[str], direction: str = "") -> str:
    keys = ", ".join(f"q.{quoted_name(name)}{direction}" for name in names)
    return f" order by {keys}" if keys else ""


def _rest(selection: Selection, types: _Types) -> str:
    conditions = list(_conditions(selection, types))
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return f"from {_from(selection)} as q{where}"


def _from(selection: Selection) -> str:
    table = selection.table
    if table.sql:
        return f"({table.sql}\n)"
    only = "only " if table.has_heirs else ""
    return f"{only}{quoted_name(table.schema)}.{quoted_name(table.name)}"


def _conditions(selection: Selection, types: _Types) -> Sequence[str]:
    found = []
    order = selection.order
    if selection.where:
        found.append(f"({selection.where}\n)")
    if selection.null:
        found.append(f"q.{quoted_name(selection.null)} is null")
    if selection.not_null:
        found.append(f"q.{quoted_name(selection.not_null)} is not null")
    if selection.since is not None:
        found.append(_compare(order[:1], ">=", (selection.since,), types))
    if selection.after is not None:
        found.append(_compare(order, ">", selection.after, types))
    if selection.until is not None:
        found.append(_compare(order, "<=", selection.until, types))
    return found


def _compare(names: Sequence[str], sign: str, values: Sequence[Any], types: _Types) -> str:
    left = ", ".join(f"q.{quoted_name(name)}" for name in names)
    right = ", ".join(
        types[name].literal(quoted_text(_as_text(value)))
        for name, value in zip(names, values, strict=True)
    )
    return f"({left}) {sign} ({right})"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
