# SPDX-License-Identifier: Apache-2.0
"""Oracle, by oracledb's thin driver; numbers and times are read as Oracle's own text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import oracledb
from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects.oracle.oracledb import OracleDialect_oracledb

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.dialects.alchemy import EngineDatabase
from ipai_kit.sql.dialects.assembling import Place, assembled
from ipai_kit.sql.dialects.queries import queries
from ipai_kit.sql.dialects.reading import Row, first_line
from ipai_kit.sql.dialects.statements import Statements
from ipai_kit.sql.dialects.type_rules import TypeRule, TypeRules
from ipai_kit.sql.dialects.values import (
    base64_text,
    exact_json,
    finite,
    float_bound,
    from_base64,
    short_float,
)

__all__ = ["ORACLE_RULES", "OracleDatabase"]

_DAY = 'SYYYY-MM-DD"T"HH24:MI:SS'
_NUMBER = "TO_CHAR({}, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')"
_REFUSED = {1005, 1017, 1045, 28000, 28001}
_NOT_ALLOWED, _ABSENT = {1031, 41900}, {904, 942}
_AWAY = {1033, 1034, 1089, 3113, 3114, 12514, 12528, 12541, 12543}


def _number(text: Any) -> str:
    """Oracle leaves out the zero before the point: `.5`, `-.5`."""
    shown = str(text)
    if shown.startswith("."):
        return f"0{shown}"
    return f"-0{shown[1:]}" if shown.startswith("-.") else shown


def _moment(text: Any) -> str:
    return str(text).strip()  # the sign's place is blank after Christ


ORACLE_RULES = TypeRules(
    (
        TypeRule(("integer",), "integer", select=_NUMBER, convert=int, shown="NUMBER(p,0), exact"),
        TypeRule(
            ("number", "float"),
            "decimal",
            select=_NUMBER,
            convert=_number,
            bound="TO_NUMBER({}, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')",
            bind=str,
            shown="every digit, up to 40",
        ),
        TypeRule(("binary_float",), "number", convert=short_float, bind=float_bound),
        TypeRule(("binary_double",), "number", convert=finite),
        TypeRule(
            ("date",),
            "timestamp",
            select=f"TO_CHAR({{}}, '{_DAY}')",
            convert=_moment,
            bind=str,
            bound=f"TO_DATE({{}}, '{_DAY}')",
            shown="Oracle's DATE has a time",
        ),
        TypeRule(
            ("timestamp",),
            "timestamp",
            select=f"TO_CHAR({{}}, '{_DAY}.FF')",
            convert=_moment,
            bind=str,
            bound=f"TO_TIMESTAMP({{}}, '{_DAY}.FF')",
            shown="every digit of the fraction",
        ),
        TypeRule(
            ("timestamp with time zone", "timestamp with local time zone"),
            "timestamptz",
            select=f"TO_CHAR(SYS_EXTRACT_UTC({{}}), '{_DAY}.FF') || '+00:00'",
            convert=_moment,
            order="SYS_EXTRACT_UTC({})",
            bind=lambda value: str(value).removesuffix("+00:00"),
            bound=f"TO_TIMESTAMP({{}}, '{_DAY}.FF')",
            shown="in UTC",
        ),
        TypeRule(
            ("interval year to month", "interval day to second", "interval year", "interval day"),
            "text",
            select="TO_CHAR({})",
            sortable=False,
        ),
        TypeRule(
            ("char", "varchar2", "nchar", "nvarchar2", "rowid", "urowid"),
            "text",
            shown="padding of CHAR kept; the empty text is null, as Oracle has it",
        ),
        TypeRule(("clob", "nclob", "long"), "text", sortable=False),
        TypeRule(("xmltype",), "text", select="{}.getClobVal()", sortable=False),
        TypeRule(
            ("raw", "long raw", "blob"),
            "binary",
            convert=base64_text,
            bind=from_base64,
            sortable=False,
        ),
        TypeRule(
            ("json",),
            "json",
            select="JSON_SERIALIZE({} RETURNING CLOB)",
            convert=exact_json,
            sortable=False,
        ),
        TypeRule(("boolean",), "boolean", sortable=False),
    )
)


class OracleDatabase(EngineDatabase):
    """Oracle. No server runs in our tests: statements are compiled, not executed."""

    rules = ORACLE_RULES
    probe = "SELECT 1 FROM dual"

    @cached_property
    def engine(self) -> Engine:
        """The engine; by TCPS on the way to another machine."""
        address = self.address
        secure = address.is_remote and not self.settings.get("allow_insecure")
        protocol = address.options.get("protocol") or ("tcps" if secure else "tcp")
        if secure and protocol != "tcps":
            message = f"The way to {address.host!r} would not be encrypted."
            raise ConfigurationError(message, next_step="Use tcps, or set allow_insecure.")
        arguments = oracledb.ConnectParams(
            host=address.host or "localhost",
            port=address.port or 1521,
            service_name=address.database,
            user=address.user or None,
            password=address.password or None,
            protocol=protocol,
        )
        return create_engine("oracle+oracledb://", connect_args={"params": arguments})

    @cached_property
    def default_schema(self) -> str:  # type: ignore[override]
        """The user's own schema."""
        return self.address.user.upper()

    @cached_property
    def statements(self) -> Statements:
        """What writes the selections."""
        dialect = OracleDialect_oracledb()  # type: ignore[no-untyped-call]
        return Statements(dialect, self.rules)

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that the driver raises."""
        return (oracledb.Error, *self.engine_errors)

    def connect(self) -> Any:
        """Return a connection whose large objects come as text and bytes."""
        connection = super().connect()
        connection.outputtypehandler = _output
        return connection

    def catalog(self) -> Sequence[Table]:
        """Return the tables and views of all schemas that are not Oracle's own."""
        columns: dict[Place, list[Column]] = defaultdict(list)
        for schema, table, name, kind, *numbers, nullable, comment in self._ask("columns"):
            native = _native(kind, *numbers)
            column = self.column(name, native, nullable=nullable == "Y", comment=comment)
            columns[schema, table].append(column)
        return assembled(self._ask("tables"), columns, self._ask("keys"))

    def query_columns(self, sql: str) -> Sequence[Column]:
        """Return the columns that a query gives; it is parsed, not run."""
        cursor = self.connection.cursor()
        try:
            cursor.parse(sql.strip().rstrip(";"))
            return [
                self.column(one[0], _native_of(one), nullable=bool(one[6]))
                for one in cursor.description
            ]
        finally:
            cursor.close()

    def failure(self, error: Exception) -> ConnectorError:
        """Say what an error of the driver means to the reader."""
        cause = getattr(error, "orig", None) or error
        detail = cause.args[0] if cause.args else cause
        number = int(getattr(detail, "code", 0) or 0)
        message = f"{self.address.shown} answers: {first_line(cause)}."
        if number in _REFUSED:
            return CredentialsError(message, next_step="Check user and password.")
        if number in _NOT_ALLOWED:
            return StreamUnavailableError(message, next_step="Grant SELECT on it to this user.")
        if number in _ABSENT:
            return StreamUnavailableError(message, next_step="Discover the tables again.")
        if number in _AWAY or isinstance(cause, oracledb.OperationalError):
            return TryAgainLaterError(message, next_step="Check that the server is reachable.")
        return ConfigurationError(message, next_step="Check the address, the query and condition.")

    def _ask(self, name: str) -> list[Row]:
        return self.fetch(queries("oracle.sql")[name])


def _output(cursor: Any, column: Any) -> Any:
    """Ask for large objects as what they hold, instead of one round trip each."""
    kinds = {
        oracledb.DB_TYPE_CLOB: oracledb.DB_TYPE_LONG,
        oracledb.DB_TYPE_NCLOB: oracledb.DB_TYPE_LONG_NVARCHAR,
        oracledb.DB_TYPE_BLOB: oracledb.DB_TYPE_LONG_RAW,
    }
    kind = kinds.get(column.type_code)
    return cursor.var(kind, arraysize=cursor.arraysize) if kind else None


def _native(kind: str, precision: int | None, scale: int | None, length: int | None) -> str:
    if kind == "NUMBER" and precision is not None:
        return f"INTEGER({precision})" if scale == 0 else f"NUMBER({precision},{scale})"
    if kind == "NUMBER":
        return "INTEGER" if scale == 0 else "NUMBER"
    return f"{kind}({length})" if length and "(" not in kind else kind


def _native_of(described: Any) -> str:
    """Return the type of a column of a result, as the driver names it."""
    name = str(described[1].name).removeprefix("DB_TYPE_")
    names = {
        "TIMESTAMP_TZ": "TIMESTAMP WITH TIME ZONE",
        "TIMESTAMP_LTZ": "TIMESTAMP WITH LOCAL TIME ZONE",
        "VARCHAR": "VARCHAR2",
        "NVARCHAR": "NVARCHAR2",
        "INTERVAL_DS": "INTERVAL DAY TO SECOND",
        "INTERVAL_YM": "INTERVAL YEAR TO MONTH",
        "LONG_RAW": "LONG RAW",
    }
    if name == "NUMBER":
        return _native(name, described[4] or None, described[5], None)
    return names.get(name, name)
