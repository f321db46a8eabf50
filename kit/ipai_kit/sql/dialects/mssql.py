# SPDX-License-Identifier: Apache-2.0
"""SQL Server, by python-tds; what Python's types would cut is read as SQL Server's own text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pytds  # type: ignore[import-untyped]
from sqlalchemy import Engine, create_engine
from sqlalchemy_pytds.dialect import MSDialect_pytds  # type: ignore[import-untyped]

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
    decimal_text,
    finite,
    float_bound,
    from_base64,
    short_float,
)

__all__ = ["MSSQL_RULES", "SQLServerDatabase"]

_ISO = 126
_OWN_TYPES = ("geometry", "geography", "hierarchyid", "sysname")
"""Types that share the number of a system type."""
_OFFSET_FETCH = (11, 0)
_REFUSED = {4060, 18452, 18456, 18486}
_NOT_ALLOWED, _ABSENT = {229, 230}, {207, 208}


def _moment(*names: str, kind: str = "timestamp", native: str = "datetime2(7)") -> TypeRule:
    return TypeRule(
        names,
        kind,
        select=f"CONVERT(varchar(33), {{}}, {_ISO})",
        bind=str,
        bound=f"CAST({{}} AS {native})",
        shown="every digit of the fraction" if kind == "timestamp" else "",
    )


MSSQL_RULES = TypeRules(
    (
        TypeRule(("tinyint", "smallint", "int", "bigint"), "integer", shown="exact"),
        TypeRule(("bit",), "boolean", convert=bool, sortable=False),
        TypeRule(("decimal", "numeric"), "decimal", convert=decimal_text, shown="every digit"),
        TypeRule(
            ("money", "smallmoney"),
            "decimal",
            select="CAST({} AS decimal(19, 4))",
            convert=decimal_text,
            shown="four decimals",
        ),
        TypeRule(("real",), "float", convert=short_float, bind=float_bound),
        TypeRule(("float",), "float", convert=finite),
        _moment("date", kind="date", native="date"),
        _moment("datetime2", "datetime", "smalldatetime"),
        TypeRule(
            ("datetimeoffset",),
            "timestamptz",
            select=f"CONVERT(varchar(33), SWITCHOFFSET({{}}, 0), {_ISO})",
            convert=lambda text: str(text).replace("Z", "+00:00"),
            bind=str,
            bound="CAST({} AS datetimeoffset(7))",
            shown="in UTC",
        ),
        TypeRule(("time",), "text", select="CAST({} AS varchar(16))", sortable=False),
        TypeRule(
            ("char", "varchar", "text", "nchar", "nvarchar", "ntext", "sysname"),
            "text",
            shown="padding of CHAR kept",
        ),
        TypeRule(
            ("uniqueidentifier",),
            "uuid",
            select="CAST({} AS char(36))",
            bound="CAST({} AS uniqueidentifier)",
            bind=str,
        ),
        TypeRule(
            ("binary", "varbinary", "image"),
            "binary",
            convert=base64_text,
            bind=from_base64,
            sortable=False,
        ),
        TypeRule(
            ("timestamp", "rowversion"),
            "binary",
            convert=base64_text,
            bind=from_base64,
            shown="eight bytes that only grow: a good cursor",
        ),
        TypeRule(("xml",), "text", select="CAST({} AS nvarchar(max))", sortable=False),
        TypeRule(("sql_variant",), "text", select="CAST({} AS nvarchar(4000))", sortable=False),
        TypeRule(
            ("geometry", "geography", "hierarchyid"),
            "text",
            select="{}.ToString()",
            sortable=False,
            shown="WKT; the path",
        ),
    )
)


class SQLServerDatabase(EngineDatabase):
    """SQL Server. No server runs in our tests: statements are compiled, not executed."""

    default_schema = "dbo"
    rules = MSSQL_RULES

    @cached_property
    def engine(self) -> Engine:
        """The engine; encrypted on the way to another machine."""
        address = self.address
        wait = int(address.options.get("connect_timeout") or 30)
        options: dict[str, Any] = {"login_timeout": wait, "use_mars": False}
        authority = address.options.get("ssl_ca")
        if address.is_remote and not self.settings.get("allow_insecure") and not authority:
            authority = _authorities()
        if authority:
            options["cafile"] = authority
            options["validate_host"] = (
                address.options.get("trustServerCertificate", "").lower() != "true"
            )
        plain = type(address)(
            "mssql", address.host, address.port, address.database, address.user, address.password
        )
        return create_engine(plain.url("mssql+pytds"), connect_args=options)

    @cached_property
    def statements(self) -> Statements:
        """What writes the selections; every server since 2012 has OFFSET and FETCH."""
        return Statements(mssql_dialect(), self.rules)

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that the driver raises."""
        return (pytds.tds_base.Error, OSError, *self.engine_errors)

    def catalog(self) -> Sequence[Table]:
        """Return the tables and views of all schemas."""
        columns: dict[Place, list[Column]] = defaultdict(list)
        for schema, table, name, kind, own, *numbers, nullable, comment in self._ask("columns"):
            native = _native(kind if own not in _OWN_TYPES else own, *numbers)
            column = self.column(name, native, nullable=bool(nullable), comment=comment)
            columns[schema, table].append(column)
        return assembled(self._ask("tables"), columns, self._ask("keys"))

    def query_columns(self, sql: str) -> Sequence[Column]:
        """Return the columns that a query gives."""
        text = queries("mssql.sql")["query_columns"]
        return [
            self.column(name, native, nullable=bool(nullable))
            for name, native, nullable in self.fetch(text, (sql,))
        ]

    def failure(self, error: Exception) -> ConnectorError:
        """Say what an error of the driver means to the reader."""
        cause = getattr(error, "orig", None) or error
        number = int(getattr(cause, "number", 0) or 0)
        message = f"{self.address.shown} answers: {first_line(cause)} ({number})."
        if number in _REFUSED or isinstance(cause, pytds.tds_base.LoginError):
            return CredentialsError(message, next_step="Check user, password and database.")
        if number in _NOT_ALLOWED:
            return StreamUnavailableError(message, next_step="Grant SELECT on it to this user.")
        if number in _ABSENT:
            return StreamUnavailableError(message, next_step="Discover the tables again.")
        if isinstance(cause, OSError | pytds.tds_base.OperationalError):
            return TryAgainLaterError(message, next_step="Check that the server is reachable.")
        return ConfigurationError(message, next_step="Check the address, the query and condition.")

    def _ask(self, name: str) -> list[Row]:
        return self.fetch(queries("mssql.sql")[name])


def mssql_dialect() -> MSDialect_pytds:
    """Return the dialect for servers since 2012."""
    dialect = MSDialect_pytds()
    dialect.server_version_info = _OFFSET_FETCH
    dialect._supports_offset_fetch = True  # set when connecting, which is later
    return dialect


def _native(kind: str, precision: int, scale: int, length: int) -> str:
    if kind in ("decimal", "numeric"):
        return f"{kind}({precision},{scale})"
    if kind in ("datetime2", "datetimeoffset", "time"):
        return f"{kind}({scale})"
    if kind in ("char", "varchar", "binary", "varbinary"):
        return f"{kind}({'max' if length < 0 else length})"
    if kind in ("nchar", "nvarchar"):
        return f"{kind}({'max' if length < 0 else length // 2})"
    return kind


def _authorities() -> str:
    import certifi

    return certifi.where()
