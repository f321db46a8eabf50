# SPDX-License-Identifier: Apache-2.0
"""Turns the address of a database into the environment that transform/profiles.yml reads.

dbt takes host, port, user, password and database name one by one; every other option of the
address (sslmode, sslrootcert, options, target_session_attrs, ...) travels as libpq's own variable.
The password uses the prefix that dbt keeps out of its logs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import psycopg
from psycopg import pq

from ipai_orchestrate.exceptions import ConfigurationError

PROFILE_VARIABLES = {
    "host": "IPAI_DBT_HOST",
    "port": "IPAI_DBT_PORT",
    "user": "IPAI_DBT_USER",
    "dbname": "IPAI_DBT_DBNAME",
    "password": "DBT_ENV_SECRET_IPAI_PASSWORD",
}


def profile_environment(dsn: str) -> dict[str, str]:
    """Variables that lead dbt to this database."""
    options = _options(dsn)
    host = options["host"][0]
    environment = {
        "IPAI_DBT_HOST": host,
        "IPAI_DBT_PORT": options["port"][0] or "5432",
        "IPAI_DBT_USER": options["user"][0],
        "IPAI_DBT_DBNAME": options["dbname"][0] or options["user"][0],
        "DBT_ENV_SECRET_IPAI_PASSWORD": options["password"][0],
    }
    environment.update(
        (variable, value)
        for name, (value, variable) in options.items()
        if value and variable and name not in PROFILE_VARIABLES
    )
    return environment


def database_label(environment: Mapping[str, str]) -> str:
    """Short stable name of the database, for dbt's output folder; nothing secret goes in."""
    place = "\0".join(
        environment[variable] for name, variable in PROFILE_VARIABLES.items() if name != "password"
    )
    return f"postgres-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def _options(dsn: str) -> dict[str, tuple[str, str]]:
    """Value and libpq variable of each option: the address first, then the environment."""
    try:
        given = pq.Conninfo.parse(dsn.encode())
    except psycopg.OperationalError as error:
        # libpq repeats the address, password and all: only the kind of mistake may be told.
        message = (
            "The database address is not valid. Write it like "
            "postgresql://user@host:5432/database, with special characters URL-encoded."
        )
        raise ConfigurationError(message) from _without_address(error)
    known = {option.keyword.decode(): option for option in pq.Conninfo.get_defaults()}
    return {
        option.keyword.decode(): (
            (option.val or known[option.keyword.decode()].val or b"").decode(),
            (option.envvar or b"").decode(),
        )
        for option in given
    }


def _without_address(error: Exception) -> Exception:
    return ValueError(type(error).__name__)
