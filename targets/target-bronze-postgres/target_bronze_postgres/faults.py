# SPDX-License-Identifier: Apache-2.0
"""What a database error means for the run: try again, look at the data, or stop with an exit code.

Texts of the server are passed on only where they cannot carry a value of a record.
"""

import re
from enum import Enum, auto
from typing import Final

import psycopg

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    TryAgainLaterError,
)

_DISK_FULL: Final = "53100"
_COPY_REFUSED: Final = "0A000"
_LEASE_LOST: Final = "PT410"
_RETRIED_CLASSES: Final = ("08", "40", "53", "55", "57", "58")
_RETRIED_STATES: Final = frozenset({"23505", "25006", "42P01", "3F000", "25P02"})
_DATA_CLASSES: Final = ("22", "54")
_REFUSED: Final = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry"
    r"|role \".*\" (does not exist|is not permitted to log in)|authentication failed"
    r"|server requested .* authentication|permission denied",
    re.IGNORECASE,
)
_MISPLACED: Final = re.compile(
    r"could not translate host name|failed to resolve host|name or service not known"
    r"|database \".*\" does not exist|no such database|invalid [a-z ]*value|invalid port"
    r"|does not support SSL|certificate verify failed|root certificate file",
    re.IGNORECASE,
)


class StateRefusedError(ConnectorError):
    """The control plane does not take the STATE."""


class Fate(Enum):
    """What to do after a failed attempt: INSERT is the way round a table that refuses COPY."""

    RETRY = auto()
    EXAMINE_DATA = auto()
    INSERT = auto()
    STOP = auto()


def fate_of(error: psycopg.Error) -> Fate:
    """Whether the same work may succeed later, or without some of its data."""
    state = error.sqlstate
    if state is None:
        is_lost = isinstance(error, psycopg.OperationalError)
        return Fate.RETRY if is_lost and not _is_final_refusal(str(error)) else Fate.STOP
    if state == _DISK_FULL:
        return Fate.STOP
    if state == _COPY_REFUSED:
        return Fate.INSERT
    if state in _RETRIED_STATES or state.startswith(_RETRIED_CLASSES):
        return Fate.RETRY
    return Fate.EXAMINE_DATA if state.startswith(_DATA_CLASSES) else Fate.STOP


def explain(error: psycopg.Error) -> ConnectorError:
    """The error for the reader of the log, by what they can do about it."""
    state = error.sqlstate
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if state is None:
        return _explain_connection(error, text)
    if state.startswith("28"):
        return _refused(text)
    if state == "3D000":
        return _misplaced(text)
    if state == "42501":
        message = f"The database role lacks a grant: {text}."
        step = "Grant CREATE on the database (for new schemas) or USAGE, SELECT, INSERT, UPDATE."
        return CredentialsError(message, next_step=step)
    if state == _LEASE_LOST:
        message = f"STATE may not be saved any more: {text}."
        return TryAgainLaterError(message, next_step="Another worker has the run, or it is over.")
    if state.startswith("PT"):
        message = f"The control plane refuses the STATE: {text}."
        return StateRefusedError(message, next_step="Its rows were not committed either.")
    if state == _DISK_FULL:
        message = f"The database has no disk space left: {text}."
        return TryAgainLaterError(message, next_step="Free space; what was committed is safe.")
    if fate_of(error) is Fate.RETRY:
        message = f"The database could not commit in time: {text}."
        return TryAgainLaterError(message, next_step="Run again; what was committed is safe.")
    shown = "a value was refused" if state.startswith(("22", "23")) else text
    message = f"The database refused a statement with {state}: {shown}."
    return InternalError(message, next_step="Report it with the version of the database.")


def _is_final_refusal(text: str) -> bool:
    return bool(_REFUSED.search(text) or _MISPLACED.search(text))


def _explain_connection(error: psycopg.Error, text: str) -> ConnectorError:
    if isinstance(error, psycopg.ProgrammingError):
        message = "Setting 'database_url' is not a Postgres connection string."
        return ConfigurationError(message, next_step="Use postgresql://user@host:5432/database.")
    if _REFUSED.search(str(error)):
        return _refused(text)
    if _MISPLACED.search(str(error)):
        return _misplaced(text)
    if isinstance(error, psycopg.OperationalError):
        message = f"The database cannot be reached: {text}."
        return TryAgainLaterError(message, next_step="Look whether it runs, then run again.")
    return InternalError(f"The database client failed: {text}.", next_step="Report it.")


def _refused(text: str) -> CredentialsError:
    step = "Check user and password in 'database_url'."
    return CredentialsError(f"The database refuses the login: {text}.", next_step=step)


def _misplaced(text: str) -> ConfigurationError:
    step = "Check host and database in 'database_url'."
    return ConfigurationError(f"The database was not found: {text}.", next_step=step)
