# SPDX-License-Identifier: Apache-2.0
"""Connections to PostgreSQL: TLS where the way leads out of the machine, reading only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.address import Address
from ipai_kit.sql.postgres.failures import connection_failure

__all__ = ["SESSION", "connect", "connection_options"]

# Said in every transaction instead of at the start: a pooler may hand out another session.
SESSION = (
    "begin transaction read only; "
    "set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'; "
    "set local intervalstyle = 'postgres'; set local extra_float_digits = 1; "
    "set local bytea_output = 'hex'; set local client_encoding = 'UTF8'; "
    "set local row_security = on"
)
# libpq reads as much at once as its longest message so far: a tenth of the reads of a COPY.
_WIDEN = "select repeat(' ', 300000)"
_WEAK = ("disable", "allow", "prefer")
_CONNECT_SECONDS = 30
# What JDBC calls the options that libpq has too; its other options have no meaning here.
_FROM_JDBC = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "applicationname": "application_name",
    "connecttimeout": "connect_timeout",
    "targetservertype": "",
    "options": "options",
}


def connect(address: Address, *, allow_insecure: bool) -> psycopg.Connection[Any]:
    """Open a connection; raises a ConnectorError that says what to do."""
    options = connection_options(address, allow_insecure=allow_insecure)
    try:
        connection = psycopg.connect(
            make_conninfo(**options), autocommit=True, prepare_threshold=None
        )
        connection.execute(_WIDEN)
    except psycopg.Error as error:
        raise connection_failure(error, address.shown) from error
    return connection


def connection_options(address: Address, *, allow_insecure: bool) -> dict[str, Any]:
    """Return the options for libpq."""
    given = _jdbc_options(address.options) if address.jdbc else dict(address.options)
    mode = given.get("sslmode")
    if address.is_remote and not allow_insecure:
        if mode in _WEAK:
            message = f"Setting 'url' asks for sslmode {mode!r} on the way to another machine."
            raise ConfigurationError(
                message,
                url=address.shown,
                next_step="Use sslmode=verify-full or require, or set allow_insecure: true.",
            )
        given.setdefault("sslmode", "require")
    parts = {
        "host": address.host or None,
        "port": address.port,
        "dbname": address.database or None,
        "user": address.user or None,
        "password": address.password or None,
    }
    known = {name: value for name, value in parts.items() if value is not None}
    waits = {"connect_timeout": _CONNECT_SECONDS, "keepalives_idle": 60}
    return {"application_name": "ipai", **waits, **given, **known}


def _jdbc_options(options: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        ours = _FROM_JDBC.get(name.lower())
        if ours:
            found[ours] = value
        elif name.lower() == "ssl" and value.lower() in {"", "true"}:
            found.setdefault("sslmode", "verify-full")  # as the JDBC driver has it
        elif name.lower() == "currentschema":
            found["options"] = f"-c search_path={value}"
    return found
