# SPDX-License-Identifier: Apache-2.0
"""Types of JDBC drivers, by the numbers of `java.sql.Types` and, where those lie, by name."""

from __future__ import annotations

from collections.abc import Mapping

from ipai_kit.sql.dialects.type_rules import TypeRule, TypeRules
from ipai_kit.sql.dialects.values import from_base64

__all__ = ["JDBC_RULES", "JDBCRules", "getter_of"]

_CAST = "CAST({} AS {type})"
"""Parameters are text; only the database knows what a value of the type is."""


def _spaced(value: str) -> str:
    return str(value).replace("T", " ", 1)


JDBC_RULES: Mapping[str, TypeRule] = {
    "integer": TypeRule(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "integer", shown="exact, also unsigned"
    ),
    "decimal": TypeRule(
        ("DECIMAL", "NUMERIC"), "decimal", bind=str, bound=_CAST, shown="every digit, no exponent"
    ),
    "single": TypeRule(
        ("REAL",),
        "number",
        bind=float,
        bound=_CAST,
        shown="shortest number of the same single precision",
    ),
    "double": TypeRule(("FLOAT", "DOUBLE"), "number", bind=float),
    "boolean": TypeRule(("BOOLEAN", "BIT(1)"), "boolean", sortable=False),
    "bits": TypeRule(("BIT(n)",), "text", sortable=False, shown="binary digits"),
    "date": TypeRule(
        ("DATE",), "date", bind=str, bound=_CAST, shown="`java.time`: no shift before 1582"
    ),
    "timestamp": TypeRule(
        ("TIMESTAMP",), "timestamp", bind=_spaced, bound=_CAST, shown="nine digits"
    ),
    "timestamptz": TypeRule(
        ("TIMESTAMP_WITH_TIMEZONE",), "timestamptz", bind=_spaced, bound=_CAST, shown="in UTC"
    ),
    "text": TypeRule(
        ("CHAR", "VARCHAR", "LONGVARCHAR", "NCHAR", "NVARCHAR", "LONGNVARCHAR", "ROWID"),
        "text",
        shown="padding of CHAR kept",
    ),
    "time": TypeRule(
        ("TIME", "TIME_WITH_TIMEZONE"), "text", sortable=False, shown="as the driver prints it"
    ),
    "clob": TypeRule(("CLOB", "NCLOB", "SQLXML"), "text", sortable=False),
    "binary": TypeRule(
        ("BINARY", "VARBINARY", "LONGVARBINARY", "BLOB"), "binary", bind=from_base64, sortable=False
    ),
    "uuid": TypeRule(("UUID (by name)",), "uuid", bind=str, bound=_CAST),
    "array": TypeRule(("ARRAY",), "array", sortable=False, shown="elements by these same rules"),
    "json": TypeRule(("JSON, JSONB (by name)",), "json", sortable=False),
    "other": TypeRule(
        ("OTHER", "JAVA_OBJECT", "STRUCT"), "text", sortable=False, shown="as the driver prints it"
    ),
}
"""What becomes of each type; the names are those of `java.sql.Types`."""

_BY_NUMBER = {
    **dict.fromkeys((-6, 5, 4, -5), "integer"),
    **dict.fromkeys((2, 3), "decimal"),
    7: "single",
    **dict.fromkeys((6, 8), "double"),
    16: "boolean",
    91: "date",
    93: "timestamp",
    **dict.fromkeys((2014, -155), "timestamptz"),
    **dict.fromkeys((1, 12, -1, -15, -9, -16, -8), "text"),
    **dict.fromkeys((92, 2013), "time"),
    **dict.fromkeys((2005, 2011, 2009), "clob"),
    **dict.fromkeys((-2, -3, -4, 2004), "binary"),
    2003: "array",
}
_BY_NAME = {
    "uuid": "uuid",
    "json": "json",
    "jsonb": "json",
    "timestamptz": "timestamptz",
    "timestamp with time zone": "timestamptz",
    "datetimeoffset": "timestamptz",
}
_BIT = -7
_UNLIMITED = 1 << 30
_MOMENTS = {"timestamp": len("2020-01-01 10:00:00."), "timestamp with time zone": 26}
"""How long their text is before the fraction; some drivers tell its digits only by that."""


def getter_of(number: int, name: str, size: int) -> str:
    """Return the key in JDBC_RULES for a type as the driver describes it."""
    if number == _BIT:
        return "boolean" if size <= 1 else "bits"
    if name.lower().startswith("interval"):
        return "other"
    return _BY_NAME.get(name.lower()) or _BY_NUMBER.get(number, "other")


class JDBCRules(TypeRules):
    """Learns the types of a database from what its driver says of columns."""

    def __init__(self) -> None:
        super().__init__((), JDBC_RULES["other"])

    def learn(self, number: int, name: str, size: int, digits: int) -> str:
        """Return the type's text, e.g. `DECIMAL(38,20)`, and remember what becomes of it."""
        kind = getter_of(number, name, size)
        native = _with_arguments(name, kind, size, digits)
        rule = JDBC_RULES[kind]
        if native.lower() not in self._by_name:
            bound = rule.bound.replace("{type}", native)
            self._by_name[native.lower()] = TypeRule(
                rule.names,
                rule.kind,
                order=rule.order,
                bind=rule.bind,
                bound=bound,
                sortable=rule.sortable,
            )
            self.find.cache_clear()
        return native


def _with_arguments(name: str, kind: str, size: int, digits: int) -> str:
    if "(" in name:
        return name
    if kind == "decimal" and name.lower() in ("decimal", "numeric", "number") and size:
        return f"{name}({size},{digits})"
    if kind in ("text", "binary", "bits") and 0 < size < _UNLIMITED:
        return f"{name}({size})"
    if name.lower() in _MOMENTS:
        digits = digits or max(0, size - _MOMENTS[name.lower()])
        word, space, rest = name.partition(" ")
        return f"{word}({digits}){space}{rest}" if digits else name
    return name
