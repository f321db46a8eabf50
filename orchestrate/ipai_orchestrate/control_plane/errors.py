# SPDX-License-Identifier: Apache-2.0
"""Turn what the database raises into errors that say what to do."""

from __future__ import annotations

import psycopg

from ipai_orchestrate.exceptions import (
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
    return _BY_SQLSTATE.get(sqlstate, ControlPlaneError)(
        text,
        sqlstate=sqlstate,
        detail=diagnosis.message_detail or "",
        hint=diagnosis.message_hint or "",
    )
