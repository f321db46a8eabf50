# SPDX-License-Identifier: Apache-2.0
"""Any database with a JDBC driver, whose jar runs in a Java machine inside this process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jpype  # type: ignore[import-untyped]
import jpype.dbapi2  # type: ignore[import-untyped]
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import IdentifierPreparer, SQLCompiler

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.address import Address
from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.dialects.jdbc_types import JDBCRules, getter_of
from ipai_kit.sql.dialects.jdbc_values import READERS, Reader
from ipai_kit.sql.dialects.reading import DialectDatabase, Row, with_unique_key
from ipai_kit.sql.dialects.statements import Compiled, Statements
from ipai_kit.sql.patterns import fits

__all__ = ["JDBCDatabase"]

_BLOCK_ROWS = 500
_FETCH_ROWS = 1000
_BLOB = 2004
_NO_NULLS = 0
_STATISTIC = 0
_TABLE_KINDS = {
    "TABLE": "table",
    "BASE TABLE": "table",
    "PARTITIONED TABLE": "table",
    "FOREIGN TABLE": "table",
    "VIEW": "view",
    "MATERIALIZED VIEW": "view",
}
_SYSTEM = {"information_schema", "system_lobs", "sys", "system", "pg_catalog", "pg_toast", "mysql"}
_SYSTEM_PREFIXES = ("sys", "nullid", "sqlj")
_LIMIT = {"mysql", "mariadb", "sqlite", "hsql database engine"}
_OPTIONS = {"-Xrs", "-Djava.awt.headless=true", "-Duser.timezone=UTC", "-Dfile.encoding=UTF-8"}


class _StandardCompiler(SQLCompiler):
    """Writes FETCH FIRST, as the standard has it, instead of LIMIT."""

    def limit_clause(self, select: Any, **words: Any) -> str:
        """Return the clause behind ORDER BY."""
        written = self.fetch_clause(  # type: ignore[no-untyped-call]
            select,
            fetch_clause=select._limit_clause,  # what compilers of dialects read
            use_literal_execute_for_simple_int=True,
            **words,
        )
        return str(written)


class JDBCDatabase(DialectDatabase):
    """A database behind a driver jar."""

    rules: JDBCRules

    def __init__(self, address: Address, settings: Mapping[str, Any]) -> None:
        super().__init__(address, settings)
        self.rules = JDBCRules()

    def another(self) -> JDBCDatabase:
        """Return a further connection, which knows what this one has learned of types."""
        further = type(self)(self.address, self.settings)
        further.rules = self.rules
        return further

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that the driver raises."""
        return (jpype.dbapi2.Error, jpype.JException)

    @cached_property
    def statements(self) -> Statements:
        """What writes the selections, in the quotes that the driver names."""
        about = self.connection.connection.getMetaData()
        dialect: Dialect = DefaultDialect(paramstyle="qmark")
        product = str(about.getDatabaseProductName()).lower()
        if product not in _LIMIT:
            dialect.statement_compiler = _StandardCompiler
        quote = str(about.getIdentifierQuoteString()).strip() or '"'
        dialect.identifier_preparer = IdentifierPreparer(dialect, quote, escape_quote=quote)
        return Statements(dialect, self.rules)

    def connect(self) -> Any:
        """Start Java if need be, and connect for reading."""
        _start_java(_jars(self.settings))
        address = self.address
        properties = dict(address.options)
        if address.user:
            properties["user"] = address.user
        if address.password:
            properties["password"] = address.password
        driver = self.settings.get("jdbc_driver") or None
        connection = jpype.dbapi2.connect(address.jdbc, driver=driver, driver_args=properties)
        connection.connection.setReadOnly(True)
        return connection

    def check(self) -> None:
        """Connect, and ask whether the connection is good."""
        with self.told():
            self.connection.connection.isValid(30)

    @cached_property
    def default_schema(self) -> str:  # type: ignore[override]
        """The schema that the connection is in."""
        with self.told():
            return str(self.connection.connection.getSchema() or "")

    def rows(self, connection: Any, statement: Compiled) -> Iterator[Sequence[Row]]:
        """Run a statement and yield its rows; a cursor stays on the server where it can."""
        java = connection.connection
        prepared = java.prepareStatement(statement.text)
        try:
            prepared.setFetchSize(_FETCH_ROWS)
            for place, value in enumerate(statement.params, 1):
                _set(prepared, place, value)
            result = prepared.executeQuery()
            readers = list(enumerate(_readers(result.getMetaData()), 1))
            while True:
                block: list[Row] = []
                while len(block) < _BLOCK_ROWS and result.next():
                    block.append([read(result, place) for place, read in readers])
                if not block:
                    return
                yield block
        finally:
            prepared.close()
            if not java.getAutoCommit():
                java.rollback()  # the next statement sees what is there by then

    def tables(self, patterns: Sequence[str]) -> Sequence[Table]:
        """Return what fits; keys are asked for table by table."""
        with self.told():
            about = self.connection.connection.getMetaData()
            columns = self._columns(about)
            return [
                self._table(about, one, columns.get((one[1], one[2]), ()))
                for one in self._names(about)
                if fits(one[1], one[2], patterns)
            ]

    def catalog(self) -> Sequence[Table]:
        """Return all tables and views."""
        return self.tables(())

    def query_columns(self, sql: str) -> Sequence[Column]:
        """Return the columns that a query gives; it is only prepared where the driver can."""
        prepared = self.connection.connection.prepareStatement(sql.strip().rstrip(";"))
        try:
            prepared.setMaxRows(1)
            about = prepared.getMetaData() or prepared.executeQuery().getMetaData()
            return [
                self.column(
                    str(about.getColumnLabel(place)),
                    self.rules.learn(
                        int(about.getColumnType(place)),
                        str(about.getColumnTypeName(place)),
                        int(about.getPrecision(place)),
                        int(about.getScale(place)),
                    ),
                    nullable=int(about.isNullable(place)) != _NO_NULLS,
                )
                for place in range(1, int(about.getColumnCount()) + 1)
            ]
        finally:
            prepared.close()

    def failure(self, error: Exception) -> ConnectorError:
        """Say what an error of the driver means to the reader, by its SQLSTATE."""
        state = str(error.getSQLState() or "") if hasattr(error, "getSQLState") else ""
        reason = str(error.getMessage()) if hasattr(error, "getMessage") else str(error)
        message = f"{self.address.shown} answers: {reason.splitlines()[0][:500]} ({state})."
        if state.startswith("28"):
            return CredentialsError(message, next_step="Check user and password.")
        if state.startswith("08") and "driver" not in reason.lower():
            return TryAgainLaterError(message, next_step="Check that the server is up.")
        if state in {"42501", "90096"}:
            return StreamUnavailableError(message, next_step="Grant SELECT on it to this user.")
        if state in {"42S02", "42P01", "42S22", "42501"}:
            return StreamUnavailableError(message, next_step="Discover the tables again.")
        return ConfigurationError(
            message, next_step="Check url, jdbc_jars, jdbc_driver, the query and condition."
        )

    # -- the catalog, as drivers tell it ----------------------------------------------------

    def _names(self, about: Any) -> list[tuple[str | None, str, str, str, str]]:
        found = []
        for row in _rows_of(
            about.getTables(None, None, "%", None),
            ("TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE", "REMARKS"),
        ):
            catalog, schema, name, kind, comment = row
            place = schema or catalog or ""
            if kind in _TABLE_KINDS and not _is_system(place):
                found.append((catalog, place, name or "", _TABLE_KINDS[kind], comment or ""))
        return sorted(found, key=lambda one: one[1:3])

    def _columns(self, about: Any) -> Mapping[tuple[str, str], list[Column]]:
        wanted = (
            *("TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME"),
            *("COLUMN_SIZE", "DECIMAL_DIGITS", "NULLABLE", "REMARKS", "ORDINAL_POSITION"),
        )
        found: dict[tuple[str, str], list[tuple[int, Column]]] = defaultdict(list)
        for row in _rows_of(about.getColumns(None, None, "%", "%"), wanted):
            catalog, schema, table, name, number, type_name, size, digits, nullable, comment, at = (
                row
            )
            native = self.rules.learn(int(number or 0), type_name or "", _int(size), _int(digits))
            column = self.column(
                name or "", native, nullable=_int(nullable) != _NO_NULLS, comment=comment
            )
            found[schema or catalog or "", table or ""].append((_int(at), column))
        return {
            place: [one for _, one in sorted(columns, key=lambda pair: pair[0])]
            for place, columns in found.items()
        }

    def _table(
        self, about: Any, named: tuple[str | None, str, str, str, str], columns: Sequence[Column]
    ) -> Table:
        catalog, schema, name, kind, comment = named
        place = (catalog, None if schema == catalog else schema or None, name)
        keys: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for key, number in _rows_of(about.getPrimaryKeys(*place), ("COLUMN_NAME", "KEY_SEQ")):
            keys["primary"].append((_int(number), key or ""))
        unique: dict[str, list[tuple[int, str]]] = defaultdict(list)
        estimate = None
        if kind == "table":
            for index, column, number, is_kind, count in _rows_of(
                about.getIndexInfo(*place, True, True),
                ("INDEX_NAME", "COLUMN_NAME", "ORDINAL_POSITION", "TYPE", "CARDINALITY"),
            ):
                if _int(is_kind) == _STATISTIC:
                    estimate = _int(count)
                elif column:
                    unique[index or ""].append((_int(number), column))
        table = Table(
            schema,
            name,
            columns,
            kind="view" if kind == "view" else "table",
            primary_key=tuple(column for _, column in sorted(keys["primary"])),
            unique_keys=tuple(tuple(c for _, c in sorted(one)) for one in unique.values()),
            comment=comment,
            row_estimate=estimate,
        )
        return with_unique_key(table)


def _jars(settings: Mapping[str, Any]) -> list[str]:
    given = settings.get("jdbc_jars") or ()
    jars = [given] if isinstance(given, str) else [str(one) for one in given]
    for jar in jars:
        if not Path(jar).exists():
            message = f"There is no driver jar {jar!r}."
            raise ConfigurationError(message, next_step="Correct the setting 'jdbc_jars'.")
    if not jars:
        message = "A JDBC driver is needed, and the setting 'jdbc_jars' names none."
        raise ConfigurationError(message, next_step="Set jdbc_jars to the path of the jar.")
    return jars


def _start_java(jars: Sequence[str]) -> None:
    """Start the Java machine, which leaves signals to us; there is one per process."""
    if jpype.isJVMStarted():
        for jar in jars:
            jpype.addClassPath(str(Path(jar).absolute()))
        return
    try:
        jpype.startJVM(*sorted(_OPTIONS), classpath=list(jars), convertStrings=False)
    except (jpype.JVMNotFoundException, OSError) as error:
        message = f"Java cannot be started: {error}."
        raise ConfigurationError(
            message, next_step="Install a Java runtime, or set JAVA_HOME."
        ) from error


def _set(prepared: Any, place: int, value: Any) -> None:
    if isinstance(value, bytes):
        prepared.setBytes(place, value)
    elif isinstance(value, bool):
        prepared.setBoolean(place, value)
    elif isinstance(value, int) and abs(value) < 1 << 63:
        prepared.setLong(place, value)
    elif isinstance(value, float):
        prepared.setDouble(place, value)
    else:
        prepared.setString(place, str(value))


def _readers(about: Any) -> list[Reader]:
    found = []
    for place in range(1, int(about.getColumnCount()) + 1):
        number = int(about.getColumnType(place))
        kind = getter_of(
            number, str(about.getColumnTypeName(place)), int(about.getPrecision(place))
        )
        found.append(READERS["blob" if number == _BLOB else kind])
    return found


def _rows_of(result: Any, names: Sequence[str]) -> Iterator[list[str | None]]:
    try:
        while result.next():
            row = [result.getString(name) for name in names]
            yield [None if one is None else str(one) for one in row]
    finally:
        result.close()


def _int(text: str | None) -> int:
    return int(text) if text else 0


def _is_system(schema: str) -> bool:
    lowered = schema.lower()
    return lowered in _SYSTEM or lowered.startswith(_SYSTEM_PREFIXES)
