# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL's errors mean for a run: SQLSTATEs and the words of a refused connection."""

from __future__ import annotations

import re

import psycopg

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    StreamUnavailableError,
    TryAgainLaterError,
)

__all__ = ["connection_failure", "is_passing", "statement_failure"]

_REFUSED = (
    (
        re.compile(r"valid client certificate|certificate authentication failed|alert unknown ca"),
        CredentialsError,
        "The database does not accept this user's certificate.",
        "Give PEM files as sslcert and sslkey, signed by whom the server trusts.",
    ),
    (
        re.compile(r"password authentication failed|no password supplied|authentication failed"),
        CredentialsError,
        "The database refuses the password.",
        "Correct user and password in the settings.",
    ),
    (
        re.compile(r"no pg_hba\.conf entry|is not permitted to log in"),
        CredentialsError,
        "The database does not let this user in from here.",
        "Ask for an entry in pg_hba.conf; it may demand TLS.",
    ),
    (
        re.compile(r'role ".*" does not exist'),
        CredentialsError,
        "The database does not know the user.",
        "Correct the user in the settings.",
    ),
    (
        re.compile(r'database ".*" does not exist'),
        ConfigurationError,
        "The server has no such database.",
        "Correct the database's name in the settings.",
    ),
    (
        re.compile(r"does not support SSL|certificate|root\.crt|SSL error|unsupported certificate"),
        ConfigurationError,
        "The server offers no TLS that can be trusted.",
        "Switch TLS on at the server, correct sslrootcert, or set allow_insecure: true.",
    ),
    (
        re.compile(r"could not translate host name|Name or service not known|resolve host"),
        ConfigurationError,
        "The host's name is unknown.",
        "Correct the host in the settings.",
    ),
    (
        re.compile(r"invalid connection option|invalid sslmode|invalid port|invalid integer"),
        ConfigurationError,
        "The connection options are wrong.",
        "Correct the address or its options in the settings.",
    ),
)
_PASSING = ("08", "40", "53", "57P", "57014", "58", "55P03")


def connection_failure(error: psycopg.Error, where: str) -> ConnectorError:
    """Return the error for a connection that did not come about; it names no secret."""
    text = str(error)
    for pattern, kind, message, next_step in _REFUSED:
        if pattern.search(text):
            return kind(f"{message[:-1]}: {_reason(text)!r}.", url=where, next_step=next_step)
    return TryAgainLaterError(
        f"The database cannot be reached: {_reason(text)!r}.",
        for_all=True,
        url=where,
        next_step="Check host, port and firewall; run again when it is up.",
    )


def is_passing(error: psycopg.Error) -> bool:
    """Say whether the same statement may succeed on a new connection."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(_PASSING) and not _too_large(error)


def statement_failure(error: psycopg.Error, table: str, stream: str | None) -> ConnectorError:
    """Return the error for a statement that failed."""
    state, text = error.sqlstate or "", _reason(error.diag.message_primary or str(error))
    if _too_large(error):
        return ConfigurationError(
            f"A value of {table!r} is too large to be read as JSON: {text}.",
            stream=stream,
            next_step="Deselect its column, or shorten the value in a query of your own ('sql').",
        )
    if state == "42501":
        return StreamUnavailableError(
            f"The user may not read {table!r}: {text}.",
            stream=stream,
            next_step=f"Run: grant select on {table} to the user; grant usage on its schema.",
        )
    if state in {"42P01", "3F000"} and "FROM-clause" not in text:
        return ConfigurationError(
            f"The table {table!r} is gone: {text}.",
            stream=stream,
            next_step="Run discovery again, or deselect the stream.",
        )
    if state in {"42703", "42846", "42883", "42804", "0A000"}:
        return ConfigurationError(
            f"The table {table!r} was altered: {text}.",
            stream=stream,
            next_step="Run again with a fresh catalog.",
        )
    if state.startswith("22"):
        return ConfigurationError(
            f"A position or value does not fit {table!r}: {text}.",
            stream=stream,
            next_step="If a type was changed, reset the state of this stream.",
        )
    if state.startswith("42"):
        return ConfigurationError(
            f"The database does not understand the query on {table!r}: {text}.",
            stream=stream,
            next_step="Correct 'sql' or 'where' of this stream.",
        )
    if state == "25006":
        return ConfigurationError(
            f"The query on {table!r} would write: {text}.",
            stream=stream,
            next_step="Use a query that only reads.",
        )
    if is_passing(error):
        return TryAgainLaterError(
            f"The database broke off while {table!r} was read: {text}.",
            stream=stream,
            next_step="Run again; what was read is kept.",
        )
    return InternalError(
        f"The database failed on {table!r} with {state}: {text}.",
        stream=stream,
        next_step="Report it with the log of this run.",
    )


def _too_large(error: psycopg.Error) -> bool:
    if error.sqlstate == "54000":
        return True
    text = str(error)
    return error.sqlstate in {"XX000", "53200"} and (
        "invalid memory alloc request size" in text or "string buffer" in text
    )


def _reason(text: str) -> str:
    """The first line, which says what happened; libpq's further lines are advice."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    return line.rpartition(" failed: ")[2].rstrip(".")
