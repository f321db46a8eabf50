# SPDX-License-Identifier: Apache-2.0
"""Databases other than PostgreSQL, each by its own driver; loaded when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.address import Address
from ipai_kit.sql.database import Database

__all__ = ["DIALECTS", "open_dialect"]

DIALECTS: Mapping[str, tuple[str, str, str]] = {
    "mysql": ("mysql", "MySQLDatabase", "mysql"),
    "mariadb": ("mysql", "MySQLDatabase", "mysql"),
    "sqlite": ("sqlite", "SQLiteDatabase", ""),
    "duckdb": ("duckdb", "DuckDBDatabase", "duckdb"),
    "mssql": ("mssql", "SQLServerDatabase", "mssql"),
    "oracle": ("oracle", "OracleDatabase", "oracle"),
    "jdbc": ("jdbc", "JDBCDatabase", "driver"),
}
"""By kind of address: module, class, and the extra that brings its driver."""


def open_dialect(address: Address, settings: Mapping[str, Any]) -> Database:
    """Return the database behind an address; a driver jar in the settings is used if there is."""
    kind = "jdbc" if settings.get("jdbc_jars") and address.jdbc else address.kind
    if kind not in DIALECTS:
        message = f"There is no driver for addresses of the kind {kind!r}."
        raise ConfigurationError(message, next_step="Set jdbc_jars to the jar of a JDBC driver.")
    module, name, extra = DIALECTS[kind]
    try:
        found = importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        message = f"The driver for {kind!r} is not installed: {error.name!r}."
        raise ConfigurationError(
            message, next_step=f"Install ipai-connector-jdbc[{extra}]."
        ) from error
    return cast("Database", getattr(found, name)(address, settings))
