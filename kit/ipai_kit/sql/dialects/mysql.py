# SPDX-License-Identifier: Apache-2.0
"""MariaDB and MySQL, by PyMySQL with rows left on the server until they are wanted."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

import pymysql
from pymysql.converters import encoders
from pymysql.cursors import SSCursor
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.address import Address
from ipai_kit.sql.database import Column, Table
from ipai_kit.sql.dialects.mysql_tls import tls_options, untrusted
from ipai_kit.sql.dialects.mysql_types import mysql_rules, native_type_of_field
from ipai_kit.sql.dialects.queries import queries
from ipai_kit.sql.dialects.reading import DialectDatabase, Row, with_unique_key
from ipai_kit.sql.dialects.statements import Compiled, Statements
from ipai_kit.sql.patterns import fits

__all__ = ["MySQLDatabase", "connect_options"]

_SYSTEM = ("information_schema", "performance_schema", "mysql", "sys")
_COMMENT = re.compile(r"\s*/\*.*?\*/")
_JSON_CHECK = re.compile(r"json_valid\(`(.*)`\)", re.IGNORECASE)
# The server cuts the connection of a reader that pauses longer, as one behind a slow target does.
_SESSION = "SET SESSION time_zone = '+00:00', net_write_timeout = 86400, wait_timeout = 86400"
_BLOCK_ROWS = 1000

_REFUSED = {1044, 1045, 1130, 1227, 1698, 3118}
_NOT_ALLOWED = {1142, 1143, 1356, 1370}
_ABSENT = {1051, 1054, 1109, 1146}
_AWAY = {1040, 1042, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 2002, 2003, 2006, 2013}


def connect_options(address: Address, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how PyMySQL connects; all values come as the server's text."""
    options: dict[str, Any] = {
        "user": address.user or None,
        "password": address.password,
        "database": address.database or None,
        "charset": "utf8mb4",
        "autocommit": True,
        "connect_timeout": int(address.options.get("connect_timeout") or 30),
        "conv": {**encoders, Decimal: lambda value, _: format(value, "f")},
        **tls_options(address, settings),
    }
    socket = address.options.get("unix_socket") or address.options.get("localSocket")
    if socket:
        return {**options, "unix_socket": socket}
    return {**options, "host": address.host or "localhost", "port": address.port or 3306}


class MySQLDatabase(DialectDatabase):
    """MariaDB or MySQL."""

    def __init__(self, address: Address, settings: Mapping[str, Any]) -> None:
        super().__init__(address, settings)
        self.default_schema = address.database
        self.rules = mysql_rules(tinyint1_as_boolean=bool(settings.get("tinyint1_as_boolean")))

    @cached_property
    def statements(self) -> Statements:
        """What writes the selections."""
        return Statements(MySQLDialect_pymysql(), self.rules)

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that the driver raises."""
        return (pymysql.err.Error, OSError)

    def connect(self) -> Any:
        """Return a new connection, in UTC."""
        options = connect_options(self.address, self.settings)
        try:
            connection = pymysql.connect(**options)
        except RuntimeError as error:  # a package that the driver misses
            message = f"The user's password cannot be sent without TLS: {error}."
            raise ConfigurationError(
                message, next_step="Add sslmode=require to the URL, or install cryptography."
            ) from error
        with connection.cursor() as cursor:
            cursor.execute(_SESSION)
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
        return connection

    def rows(self, connection: Any, statement: Compiled) -> Iterator[Sequence[Row]]:
        """Run a statement and yield its rows as they are read from the server."""
        cursor = connection.cursor(SSCursor)
        try:
            cursor.execute(statement.text, statement.params)
            while found := cursor.fetchmany(_BLOCK_ROWS):
                yield found
        except GeneratorExit:
            _abandon(connection)
            raise
        finally:
            cursor.close()

    @cached_property
    def server(self) -> str:
        """The server's version, e.g. `10.11.6-MariaDB`."""
        return str(self.fetch("SELECT version()")[0][0])

    @property
    def is_mariadb(self) -> bool:
        """Whether this is MariaDB."""
        return "mariadb" in self.server.lower()

    def tables(self, patterns: Sequence[str]) -> Sequence[Table]:
        """Return what fits; of other databases than the URL's only for patterns with a dot."""
        far = [one for one in patterns if "." in one and not one.startswith("!")]
        near = self.default_schema
        with self.told():
            found = self._tables_of(near if near and not far else "")
        return [
            one
            for one in found
            if fits(one.schema, one.name, patterns)
            and (near in ("", one.schema) or fits(one.schema, one.name, far))
        ]

    def catalog(self) -> Sequence[Table]:
        """Return the tables of all databases."""
        return self._tables_of("")

    def _tables_of(self, schema: str) -> Sequence[Table]:
        columns, keys = self._columns(schema), self._keys(schema)
        found = []
        for schema_name, name, kind, rows, comment in self._ask("tables", schema):
            place = (schema_name, name)
            unique = keys.get(place, {})
            table = Table(
                schema_name,
                name,
                columns.get(place, ()),
                kind="view" if kind == "VIEW" else "table",
                primary_key=unique.get("PRIMARY", ()),
                unique_keys=tuple(unique.values()),
                comment="" if kind == "VIEW" else comment or "",
                row_estimate=int(rows) if rows is not None else None,
                replica_identity="" if kind == "VIEW" else "binlog",
            )
            found.append(with_unique_key(table))
        return found

    def query_columns(self, sql: str) -> Sequence[Column]:
        """Return the columns that a query gives."""
        text = sql.strip().rstrip(";")
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM ({text}) q LIMIT 0")  # noqa: S608  # the user's own
            fields = cursor._result.fields  # the only place with flags
        return [
            self.column(one.name, native_type_of_field(one), nullable=not one.flags & 1)
            for one in fields
        ]

    def failure(self, error: Exception) -> ConnectorError:
        """Say what an error of the driver means to the reader."""
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        reason = str(error.args[1]) if len(error.args) > 1 else str(error)
        message = f"{self.address.shown} answers: {reason} ({code})."
        if (doubt := untrusted(error)) is not None:
            return ConfigurationError(
                f"{self.address.shown} offers no TLS that can be trusted: {doubt}.",
                next_step="Switch TLS on at the server, correct ssl_ca or the host's name,"
                " or set allow_insecure: true.",
            )
        if code in _REFUSED:
            return CredentialsError(message, next_step="Check user, password and grants.")
        if code in _NOT_ALLOWED:
            return StreamUnavailableError(message, next_step="Grant SELECT on it to this user.")
        if code in _ABSENT:
            return StreamUnavailableError(message, next_step="Discover the tables again.")
        if code in _AWAY or (isinstance(error, OSError) and not code):
            return TryAgainLaterError(
                message, next_step="Check that the server is up and reachable."
            )
        return ConfigurationError(message, next_step="Check the address, the query and condition.")

    def _ask(self, name: str, schema: str) -> list[Row]:
        text = queries("mysql.sql")[name]
        place = "constraint_schema" if name == "json_checks" else "table_schema"
        if schema:
            return self.fetch(
                text.replace("%", "%%").replace("{schemas}", f"{place} = %s"), (schema,)
            )
        excluded = ", ".join(f"'{one}'" for one in _SYSTEM)
        return self.fetch(
            text.replace("%", "%%").replace("{schemas}", f"{place} NOT IN ({excluded})"), ()
        )

    def _columns(self, schema: str) -> Mapping[tuple[str, str], list[Column]]:
        json_columns = self._json_columns(schema)
        found: dict[tuple[str, str], list[Column]] = defaultdict(list)
        for schema_name, table, name, native_type, nullable, comment in self._ask(
            "columns", schema
        ):
            shown = _COMMENT.sub("", native_type)
            if shown == "longtext" and (schema_name, table, name) in json_columns:
                shown = "json"
            found[schema_name, table].append(
                self.column(name, shown, nullable=nullable == "YES", comment=comment)
            )
        return found

    def _json_columns(self, schema: str) -> set[tuple[str, str, str]]:
        if not self.is_mariadb:
            return set()
        found = set()
        for schema_name, table, clause in self._ask("json_checks", schema):
            column = _JSON_CHECK.fullmatch(clause)
            if column:
                found.add((schema_name, table, column[1].replace("``", "`")))
        return found

    def _keys(self, schema: str) -> Mapping[tuple[str, str], dict[str, tuple[str, ...]]]:
        parts: dict[tuple[str, str], dict[str, list[str | None]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for schema_name, table, index, column in self._ask("keys", schema):
            parts[schema_name, table][index].append(column)
        return {
            place: {
                index: tuple(str(one) for one in columns)
                for index, columns in indexes.items()
                if None not in columns
            }
            for place, indexes in parts.items()
        }


def _abandon(connection: Any) -> None:
    """Drop a connection without reading the rows that are still on their way."""
    result = connection._result  # closing the cursor would read them all
    if result is not None:
        result.unbuffered_active = False
        result.connection = None
    connection._force_close()
