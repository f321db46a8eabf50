# SPDX-License-Identifier: Apache-2.0
"""In production, a database on another host must prove who it is."""

import os
from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ipai_kit.spec import needs_proof, unverified_host
from ipai_orchestrate.exceptions import ConfigurationError


def require_proof(
    dsn: str, env: str | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Refuse what is no address, and in production one that trusts whoever answers.

    Production is what IPAI_ENV or `env` says.
    """
    environ = os.environ if environment is None else environment
    try:
        parameters = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # Not libpq's own text: it repeats the address, password and all.
        message = (
            "The address of the database (IPAI_DATABASE_URL) cannot be read. "
            "Write postgresql://user@host/name."
        )
        raise ConfigurationError(message) from error
    where = next((one for one in (env, environ.get("IPAI_ENV")) if needs_proof(one)), None)
    if where is None:
        return
    if host := unverified_host(parameters, environ):
        mode = parameters.get("sslmode") or "prefer"
        message = (
            f"The database on {host!r} is not asked to prove who it is (sslmode {mode!r}), which "
            f"{where} demands. Add sslmode=verify-full to its address (IPAI_DATABASE_URL), and "
            "sslrootcert=<file of the CA that signed its certificate>."
        )
        raise ConfigurationError(message)
