# SPDX-License-Identifier: Apache-2.0
"""Settings of the target: the schema that `--about` shows and the frozen values a run uses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.settings import LANDING_SETTINGS, UPSERT, LandingSettings, checked_values

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
        "hard_delete": {
            "type": "boolean",
            "default": False,
            "title": "Hard delete",
            "description": "Delete rows that a new full-table generation lacks.",
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Settings(LandingSettings):
    """Checked settings of one run."""

    database_url: str
    hard_delete: bool


def read_settings(config: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Check a configuration and fill in what it leaves out."""
    values = checked_values(CONFIG_SCHEMA, config, environment)
    load_method = _LOAD_METHODS[values.pop("load_method")]
    database_url = values.pop("database_url") or find_database_url(environment)
    return Settings(
        database_url=database_url,
        keeps_every_version=load_method != UPSERT,
        refuses_nul=True,
        **values,
    )


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
