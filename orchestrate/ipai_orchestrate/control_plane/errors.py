# SPDX-License-Identifier: Apache-2.0
"""Turn what the database raises into errors that say what to do."""

from __future__ import annotations

import re

import psycopg

from ipai_orchestrate.exceptions import (
    BusyError,
    ConfigurationError,
    ConflictError,
    ControlPlaneError,
    DatabaseUnavailableError,
    LeaseLostError,
    NotFoundError,
    OrchestrateError,
    RefusedError,
)

# The functions raise PT<http status>: PostgREST answers with that status, and we with these.
_BY_SQLSTATE: dict[str, type[ControlPlaneError]] = {
    "PT404": NotFoundError,
    "PT409": ConflictError,
    "PT410": LeaseLostError,
    "PT422": RefusedError,
}
# A conflict passes by itself where its hint says to wait or to do the same again.
_PASSES = re.compile(
    r"\bwait for\b|^(try|read \w+( state)?) again\b|^leave the run to", re.IGNORECASE
)
_NOT_MIGRATED = {"3F000", "42883", "42P01"}
_NOT_ALLOWED = "42501"


def translate(error: psycopg.Error) -> OrchestrateError:
    """Return our error for one of the database's; the caller raises it from the original."""
    sqlstate = error.sqlstate or ""
    diagnosis = error.diag
    text = diagnosis.message_primary or str(error) or type(error).__name__
    if sqlstate in _NOT_MIGRATED:
        return ConfigurationError(
            f"The control plane of this database is missing or older than this program: {text}. "
            "Run `ipai db migrate`."
        )
    if sqlstate == _NOT_ALLOWED:
        return ConfigurationError(
            f"The database login may not do this: {text}. Grant it the role for this task, "
            "e.g. ipai_worker or ipai_operator."
        )
    if not sqlstate or sqlstate[:2] in {"08", "57"}:
        return DatabaseUnavailableError(f"The connection to the database broke: {text}.")
    hint = diagnosis.message_hint or ""
    kind = _BY_SQLSTATE.get(sqlstate, ControlPlaneError)
    if kind is ConflictError and passes(hint):
        kind = BusyError
    return kind(text, sqlstate=sqlstate, detail=diagnosis.message_detail or "", hint=hint)


def passes(hint: str) -> bool:
    """Whether a conflict with this hint ends without anybody doing something about it."""
    return _PASSES.search(hint) is not None
