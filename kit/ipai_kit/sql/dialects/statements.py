# SPDX-License-Identifier: Apache-2.0
"""The SELECT of a selection, written by SQLAlchemy in the words of each database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql import and_, or_, tuple_
from sqlalchemy.sql.elements import quoted_name

from ipai_kit.sql.database import Position, Selection, Table
from ipai_kit.sql.dialects.type_rules import TypeRule, TypeRules

__all__ = ["Compiled", "Statements"]

_ALIAS = "q"


@dataclass(frozen=True)
class Compiled:
    """A statement and its parameters, as the driver takes them."""

    text: str
    params: Any


class Statements:
    """Writes selections for one database."""

    def __init__(self, dialect: Dialect, rules: TypeRules, *, compares_rows: bool = False) -> None:
        self.dialect = dialect
        self.rules = rules
        self.compares_rows = compares_rows
        self._doubles_percent = dialect.paramstyle in ("format", "pyformat")

    def reading(self, selection: Selection) -> Compiled:
        """Return what reads the rows of a selection."""
        statement = self._chosen(selection, selection.columns)
        statement = statement.order_by(*(self._order(selection, one) for one in selection.order))
        if selection.limit is not None:
            statement = statement.limit(selection.limit)
        return self._compile(statement)

    def position(self, selection: Selection, *, skip: int, backwards: bool) -> Compiled:
        """Return what reads the ordering columns of one row."""
        statement = self._chosen(selection, selection.order)
        for name in selection.order:
            order = self._order(selection, name)
            statement = statement.order_by(order.desc() if backwards else order)
        statement = statement.limit(1)
        return self._compile(statement.offset(skip) if skip else statement)

    def quoted(self, name: str) -> str:
        """Return an identifier in the database's quotes."""
        written = str(self.dialect.identifier_preparer.quote_identifier(name))
        return written.replace("%%", "%") if self._doubles_percent else written

    def source(self, table_: Table) -> FromClause:
        """Return what stands after FROM, under the name `q`."""
        if table_.sql:
            return table(self._verbatim(f"({table_.sql.strip().rstrip(';')}\n) {_ALIAS}"))
        schema = quoted_name(table_.schema, quote=True) if table_.schema else None
        return table(quoted_name(table_.name, quote=True), schema=schema).alias(_ALIAS)

    def _chosen(self, selection: Selection, names: Sequence[str]) -> Select[Any]:
        # Names of results would hide the columns in ORDER BY, where they are something else.
        columns = [
            self._selected(selection, name).label(f"c{place}") for place, name in enumerate(names)
        ]
        statement = select(*columns) if columns else select(literal_column("1"))
        source = self.source(selection.table)
        return statement.select_from(source).where(*self._conditions(selection))

    def _conditions(self, selection: Selection) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if selection.where:
            found.append(literal_column(f"({selection.where})"))
        if selection.null is not None:
            found.append(self._plain(selection.null).is_(None))
        if selection.not_null is not None:
            found.append(self._plain(selection.not_null).is_not(None))
        if selection.since is not None:
            first = selection.order[0]
            found.append(
                self._order(selection, first) >= self._bound(selection, 0, selection.since)
            )
        if selection.after is not None:
            found.append(self._compare(selection, selection.after, beyond=True))
        if selection.until is not None:
            found.append(self._compare(selection, selection.until, beyond=False))
        return found

    def _compare(
        self, selection: Selection, position: Position, *, beyond: bool
    ) -> ColumnElement[bool]:
        """Return `(a, b) > (x, y)` or `(a, b) <= (x, y)`, expanded where there is no such thing."""
        names = selection.order[: len(position)]
        left = [self._order(selection, name) for name in names]
        right = [self._bound(selection, place, one) for place, one in enumerate(position)]
        if len(left) == 1:
            return left[0] > right[0] if beyond else left[0] <= right[0]
        if self.compares_rows:
            rows = tuple_(*left), tuple_(*right)
            return rows[0] > rows[1] if beyond else rows[0] <= rows[1]
        options = []
        for place, (column, value) in enumerate(zip(left, right, strict=True)):
            last = column > value if beyond else column < value
            options.append(and_(*(left[i] == right[i] for i in range(place)), last))
        if not beyond:
            options.append(and_(*(a == b for a, b in zip(left, right, strict=True))))
        # The first comparison stands alone as well, so that an index on it is used.
        bound = left[0] >= right[0] if beyond else left[0] <= right[0]
        return and_(bound, or_(*options))

    def _rule(self, selection: Selection, name: str) -> TypeRule:
        column = selection.table.column(name)
        return self.rules.find(column.native_type if column else "")

    def _selected(self, selection: Selection, name: str) -> ColumnElement[Any]:
        return self._templated(self._rule(selection, name).select, name)

    def _order(self, selection: Selection, name: str) -> ColumnElement[Any]:
        return self._templated(self._rule(selection, name).order, name)

    def _plain(self, name: str) -> ColumnElement[Any]:
        return self._templated("{}", name)

    def _templated(self, template: str, name: str) -> ColumnElement[Any]:
        return literal_column(template.replace("{}", f"{_ALIAS}.{self.quoted(name)}"))

    def _bound(self, selection: Selection, place: int, value: Any) -> ColumnElement[Any]:
        rule = self._rule(selection, selection.order[place])
        compared = rule.bind(value) if rule.bind and value is not None else value
        if rule.bound != "{}":
            return _around(rule.bound, compared)
        return bindparam("p", compared, unique=True)

    def _verbatim(self, sql: str) -> quoted_name:
        return quoted_name(sql.replace("%", "%%") if self._doubles_percent else sql, quote=False)

    def _compile(self, statement: Select[Any]) -> Compiled:
        compiled = statement.compile(
            dialect=self.dialect, compile_kwargs={"render_postcompile": True}
        )
        params: Any = compiled.params
        if compiled.positiontup is not None:
            params = tuple(params[name] for name in compiled.positiontup)
        return Compiled(compiled.string, params)


def _around(template: str, value: Any) -> ColumnElement[Any]:
    """Return SQL with a parameter inside, e.g. `CAST(? AS DATE)`."""
    written = text(template.replace(":", r"\:").replace("{}", ":p"))
    return cast("ColumnElement[Any]", written.bindparams(bindparam("p", value, unique=True)))
