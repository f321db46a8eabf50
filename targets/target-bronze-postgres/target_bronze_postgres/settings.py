# SPDX-License-Identifier: Apache-2.0
"""Settings of the target: the schema that `--about` shows and the frozen values a run uses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.settings import LANDING_SETTINGS, UPSERT, LandingSettings, checked_values
from ipai_kit.spec import needs_proof, unverified_host

TARGET_NAME: Final = "target-bronze-postgres"
_LOAD_METHODS: Final = {"upsert": UPSERT, "append": "append", "append-only": "append"}

CONFIG_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "database_url": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Database URL",
            "description": "Postgres to land in. Default: IPAI_DATABASE_URL, else embedded.",
        },
        **LANDING_SETTINGS,
        "load_method": {
            "type": "string",
            "enum": list(_LOAD_METHODS),
            "default": UPSERT,
            "title": "Load method",
            "description": "upsert keeps the newest version of each key, append every version.",
        },
        "state_in_transaction": {
            "type": "boolean",
            "default": False,
            "title": "STATE in the transaction",
            "description": "Save STATE in the control plane of this database, with its rows.",
        },
        "lease_token": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Lease token",
            "description": "Token of the run's lease, for its STATE. Default: IPAI_LEASE_TOKEN.",
        },
        "hard_delete": {
            "type": "boolean",
            "default": False,
            "title": "Hard delete",
            "description": "Delete rows that a new full-table generation lacks.",
        },
    },
}


@dataclass(frozen=True)
class Lease:
    """The right to write for a run."""

    run_id: UUID
    token: UUID = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Settings(LandingSettings):
    """Checked settings of one run."""

    database_url: str
    hard_delete: bool
    lease: Lease | None = None
    """By which STATE is saved together with its rows; None where somebody else saves it."""


def read_settings(config: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Check a configuration and fill in what it leaves out."""
    values = checked_values(CONFIG_SCHEMA, config, environment)
    load_method = _LOAD_METHODS[values.pop("load_method")]
    database_url = values.pop("database_url") or find_database_url(environment)
    _require_proof(database_url, environment)
    lease = _lease(values, environment)
    return Settings(
        database_url=database_url,
        lease=lease,
        commits_state=lease is not None,
        keeps_every_version=load_method != UPSERT,
        refuses_nul=True,
        **values,
    )


def _require_proof(database_url: str, environment: Mapping[str, str]) -> None:
    """In production, a server on another host must prove who it is."""
    if not needs_proof(environment.get("IPAI_ENV")):
        return
    import psycopg  # a fifth of a second, and for this alone only in production
    from psycopg.conninfo import conninfo_to_dict

    try:
        parameters = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        return  # told when it is connected to
    if host := unverified_host(parameters, environment):
        message = f"The database on {host!r} is not asked to prove who it is."
        step = "Add sslmode=verify-full and sslrootcert=<file of its CA> to 'database_url'."
        raise ConfigurationError(message, next_step=step)


def _lease(values: dict[str, Any], environment: Mapping[str, str]) -> Lease | None:
    token = values.pop("lease_token") or environment.get("IPAI_LEASE_TOKEN")
    if not values.pop("state_in_transaction"):
        return None
    if not token or not values["run_id"]:
        message = "Setting 'state_in_transaction' needs a run and the token of its lease."
        step = "Set 'run_id' and 'lease_token', or leave STATE to whoever runs the target."
        raise ConfigurationError(message, next_step=step)
    try:
        return Lease(UUID(values["run_id"]), UUID(token))
    except ValueError as error:
        message = "Setting 'run_id' or 'lease_token' is no UUID of the control plane."
        raise ConfigurationError(message, next_step="Use those of the claimed run.") from error


def find_database_url(environment: Mapping[str, str]) -> str:
    """The database of the environment: IPAI_DATABASE_URL, else the running embedded server's."""
    if url := environment.get("IPAI_DATABASE_URL"):
        return url
    left_by_server = embedded_home(environment) / "database_url"
    try:
        url = left_by_server.read_text(encoding="utf-8").strip()
    except OSError:
        url = ""
    if not url:
        message = (
            f"No database is configured and no embedded server runs ({str(left_by_server)!r})."
        )
        step = "Set 'database_url' or IPAI_DATABASE_URL, or start one with `ipai db start`."
        raise ConfigurationError(message, next_step=step)
    return url


def embedded_home(environment: Mapping[str, str]) -> Path:
    """State directory of the embedded server."""
    if home := environment.get("IPAI_HOME"):
        return Path(home)
    return Path("/var/lib/ipai") if os.geteuid() == 0 else Path.home() / ".local/share/ipai"
